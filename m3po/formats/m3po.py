"""Our own JSON Lines: one object a line, everything known of an instruction; the contract for scripts.

    {"id", "images": [path], "instruction", "split",
     "candidates": [{"id", "text", "source", "votes", "mas", "mas_minimum", "logp_sum", "n_tokens",
                     "logp_mean", "confidence", "good", "hard",
                     "samplers": [{"sampler", "policy", "settings", "votes"}],
                     "sampler_logp_sum": as a remote policy's server told it}],
     "pair": {"chosen", "rejected", "m3p_score", "logp_margin"} or null, "no_pair_reason",
     "decision": {"verdict", "agreed", "chosen", "rejected", "annotator", "reason", "note", "at"} or null}

with, where there are any: `system`, `turns` ([{"role", "text"}]), `decisions` (the standing vote of each annotator,
as `decision`, with `seconds` and `reason`; a curator's last word stands beside her vote and has the `role`
"adjudicated"; `blind` is true where scores and the machine's pick were hidden), `given` (the preference that the data
came with, likewise), `tags` ([name]), the truth `answer`, `objects`, `category`; and of a candidate `ratings` ({name:
number}), `claims` ([{"text", "upheld", "p_yes"}]) of a judge, `same_as` and `group_votes` of a grouping by meaning.
Read back, `instruction` alone is required and candidates need only `text`; votes, given preferences and ratings are
taken over. Sample counts, scores and pairs are not: they belong to the models and the selection of the workspace that
wrote them, tags to its people; `decision` only says what stood there. Image paths are taken from the file's folder;
an absolute path may also name an image in a workspace, known by its file name being its SHA-256.
"""

from __future__ import annotations

from pathlib import Path

from m3po.errors import BadInputError
from m3po.formats.blocks import Plain
from m3po.formats.checks import check_text, finite_number
from m3po.formats.conversations import read_role_turns
from m3po.formats.lines import type_name
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields
from m3po.formats.votes import read_standing, read_time
from m3po.images import ImageInfo
from m3po.imported import ImportedDecision
from m3po.types import TRAINING_VERDICTS, VERDICTS

_OF_A_WORKSPACE = ("votes", "mas", "logp_sum", "good", "hard")
PLAIN = Plain(
    image_keys=("images", "image"), other_keys=("turns", "candidates", "pair", "decision", "decisions", "given")
)
NOT_TAKEN_OVER = "Sample counts, scores and pairs of the file are not taken over: score and select here."


COLUMNS = {
    name: (name,)
    for name in ("id", "instruction", "system", "turns", "answer", "objects", "category", "candidates", "split")
} | {"image": ("images", "image")}


def parse(record: dict, source: str) -> Fields:
    if "instruction" not in record:
        raise BadInputError("it has no instruction; add the question or task under that key")
    candidates = _read_candidates(record.get("candidates"))
    places = {c["id"]: n for n, c in enumerate(candidates) if c.get("id") is not None}
    ratings = [c.get("ratings") or {} for c in candidates]
    return {
        "id": record.get("id"),
        "ratings": ratings if any(ratings) else (),
        "decisions": [
            *_read_votes(record.get("decisions"), places, given=False),
            *_read_votes(record.get("given"), places, given=True),
        ],
        "images": image_list(record, ("images", "image")),
        "instruction": record["instruction"],
        "system": record.get("system"),
        "turns": read_role_turns(record.get("turns")),
        "split": record.get("split"),
        "answer": record.get("answer"),
        "objects": record.get("objects"),
        "category": record.get("category"),
        "candidates": [c["text"] for c in candidates],
        "human": [c["text"] for c in candidates if c.get("source") == "human"],
        "warnings": (NOT_TAKEN_OVER,) if _says_more(record, candidates) else (),
    }


def _read_votes(value: object, places: dict, *, given: bool) -> list[ImportedDecision]:
    """Votes as the export writes them; `places`: of the candidates by their ids in the file."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(vote, dict) for vote in value):
        raise BadInputError("decisions and given must be lists of objects; correct them")
    votes = []
    for number, vote in enumerate(value, 1):
        verdict = vote.get("verdict")
        if verdict not in VERDICTS:
            raise BadInputError(
                f"decision {number} has the verdict {verdict!r:.60}; write one of {', '.join(VERDICTS)}"
            )
        sides = {side: vote.get(side) for side in ("chosen", "rejected")}
        if any(id is not None and (not isinstance(id, str | int) or id not in places) for id in sides.values()):
            raise BadInputError(f"decision {number} speaks of a candidate that the row does not have; add it")
        if verdict in TRAINING_VERDICTS and None in sides.values():
            raise BadInputError(f"decision {number} is {verdict} without chosen and rejected; add them")
        votes.append(
            ImportedDecision(
                verdict,
                *(None if id is None else places[id] for id in sides.values()),
                annotator=check_text(vote.get("annotator") or "", "the annotator"),
                at=read_time(vote.get("at")),
                seconds=finite_number(vote.get("seconds")),
                note=check_text(vote.get("note") or "", "the note"),
                given=given,
                **({} if given else read_standing(vote)),
            )
        )
    return votes


def _says_more(record: dict, candidates: list[dict]) -> bool:
    """Whether the row holds what belongs to the workspace that wrote it."""
    if record.get("pair"):
        return True
    return any(candidate.get(name) is not None for candidate in candidates for name in _OF_A_WORKSPACE)


def recognises(record: dict) -> bool:
    """Whether a JSON line looks like this format's."""
    return "instruction" in record


def is_workspace_image(path: Path, info: ImageInfo) -> bool:
    """An image of a workspace is named by its own hash, so naming it shows that one has seen it already."""
    return path.stem == info.sha256 and any((folder / "m3po.duckdb").is_file() for folder in path.parents[:4])


def _read_candidates(value: object) -> list[dict]:
    """Objects with `text`, which is checked with the row, and with an `id` that can be spoken of, or none."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInputError(f"candidates must be a list, not {type_name(value)}; correct it")
    for number, candidate in enumerate(value, 1):
        if not isinstance(candidate, dict) or "text" not in candidate:
            raise BadInputError(f"candidate {number} must be an object with text; correct it")
        id = candidate.get("id")
        if id is not None and not isinstance(id, str | int):
            raise BadInputError(f"candidate {number} has an id that is {type_name(id)}; write text or a whole number")
    return value
