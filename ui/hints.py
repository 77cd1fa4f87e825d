"""What the fields of the forms mean, with unit and direction: the tooltip of each, by its element id."""

from __future__ import annotations

import json

HINTS = {
    "import-strict": (
        "On: if one row cannot be used, none goes in. Off: the others go in, and each refused row is named."
    ),
    "import-images": "Where relative image paths start. Empty: the folder that the file lies in.",
    "export-only": (
        "All: human decisions, and the machine's pair where nobody decided. Reviewed: what somebody decided on. "
        "Accepted or corrected: only what trains. Accepted, and auto-accepted: those, and the machine's pairs from "
        "Calibrate's threshold on."
    ),
    "export-images": "Files beside the data, bytes inside it, or the workspace's own paths.",
    "sample-k": "Answers sampled for each instruction. More find harder negatives and take longer.",
    "sample-temperature": "Above 1 more varied, towards 0 always the likeliest answer.",
    "sample-top-p": "Of each next token only the likeliest ones that together have this probability; 1: all.",
    "sample-max-tokens": "The longest answer, in tokens; an answer that it cuts off is in no machine pair.",
    "sample-limit": "How many train instructions this sampler answers in all; 0: every one.",
    "sample-seed": "The same seed and settings give the same answers on the same machine.",
    "sample-policy": (
        "A model that answers in place of the Score card's policy: a folder, a hub id or remote:MODEL@URL."
    ),
    "sample-adapter": "The folder of a LoRA adapter on the policy that answers.",
    "sample-system": "Replaces each instruction's own system text while answers are sampled.",
    "sample-prompt": "Words around the instruction while answers are sampled; {instruction} stands once in it.",
    "data-policy": (
        "The model that is trained: a folder or a hub id. It answers, and its log-probs say what it believes."
    ),
    "data-mas": (
        "Who rates how well an answer fits image and instruction: a CLIP or SigLIP folder or hub id; vqa:MODEL or "
        "claims:MODEL, a judge; column:NAME, an imported rating; remote:MODEL@URL; or a mean, 0.7*clip:A + "
        "0.3*vqa:B."
    ),
    "data-group": "Answers that mean the same share their votes: embed:MODEL or judge:MODEL finds them; off ends it.",
    "data-scorer": "Whose MAS is shown in the review, and used when you press Select.",
    "select-rule": (
        "How chosen and rejected are picked. m3po: the best-aligned answer against the confident wrong one; rm_dpo: "
        "highest against lowest MAS; vanilla_dpo: two at random, ordered by MAS; confident: highest MAS against the "
        "most believed; mean_2sd: against the one near mean minus two deviations; given: the pair that the data "
        "came with."
    ),
    "select-weight-chosen": (
        "0 to 1: weight of alignment (MAS) in choosing, the rest on the model's belief. 1: MAS alone."
    ),
    "select-weight-rejected": (
        "0 to 1: weight of misalignment in rejecting, the rest on the model's belief. Lower: more confident mistakes."
    ),
    "select-delta": (
        "0 to 1: the rejected answer's normalised MAS must lie at least this far below the chosen one's. Higher: "
        "fewer and clearer pairs."
    ),
    "select-length-ratio": "The longer answer of a pair has at most so many times the tokens of the shorter; 0: any.",
    "select-normalise": (
        "How MAS and confidence become 0 to 1 before they are weighed: rank over the train split (percentile), as "
        "they are (raw), or stretched within each instruction (minmax)."
    ),
    "train-only": (
        "All: the machine's pairs too, where nobody decided. Reviewed only: pairs that a human accepted or corrected. "
        "Accepted, and auto-accepted: those, and the machine's pairs from Calibrate's threshold on."
    ),
}


def write_script() -> str:
    """The hints as a script that page.js reads; `<` is written so that no text can end the script."""
    return f"window.m3poHints = {json.dumps(HINTS, ensure_ascii=False)};".replace("<", "\\u003c")
