"""Yes/no questions about objects, as POPE asks them (Li et al. 2023, arXiv 2305.10355).

The reading of an answer is the published script's, word for word, so that figures compare across papers: only the
words `No`, `no` and `not` of the first sentence mean no. "There isn't a boat" is therefore a yes; a model that
speaks so is misread by the protocol, not by us.
"""

from __future__ import annotations


def parse_yes_no(text: str) -> bool:
    """True for yes. First sentence (up to the first full stop), commas removed, split at blanks."""
    words = text.split(".")[0].replace(",", "").split(" ")
    return not ("No" in words or "not" in words or "no" in words)
