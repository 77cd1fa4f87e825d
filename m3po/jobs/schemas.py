"""Columns of the Parquet files that cross the border between server and worker, one schema a direction.

`messages` is JSON text: a list of `{"role", "content"}`, content a list of `{"type": "image"}` and
`{"type": "text", "text": ...}` parts, ending with the user turn that is to be answered; `images` are absolute
paths, in the order of the image parts. `name` is what a warning calls the instruction: its own id and its source.
"""

import pyarrow as pa

_PROMPT = [
    ("instruction_id", pa.int64()),
    ("name", pa.string()),
    ("images", pa.list_(pa.string())),
    ("messages", pa.string()),
]

NO_INPUT = pa.schema([("instruction_id", pa.int64())])  # of a run whose config says all

SAMPLE_INPUT = pa.schema(_PROMPT)
# One row a distinct answer (see m3po.text.same_answer_key): `votes` of the K samples were this text.
SAMPLE_OUTPUT = pa.schema(
    [
        ("instruction_id", pa.int64()),
        ("text", pa.string()),
        ("votes", pa.int32()),
        ("finish_reason", pa.string()),  # "stop" | "length"
        # What a remote policy's server says, null elsewhere: the text's log-prob, and on the first row of an
        # instruction the tokens that all its answers cost.
        ("sampler_logp_sum", pa.float64()),
        ("sampler_n_tokens", pa.int32()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
    ]
)

# The lists run in parallel, one entry a candidate.
SCORE_INPUT = pa.schema(
    [
        *_PROMPT,
        ("candidate_ids", pa.list_(pa.int64())),
        ("texts", pa.list_(pa.string())),
        ("truncated", pa.list_(pa.bool_())),  # finish_reason = length: scored without an end-of-turn token
        ("want_logp", pa.list_(pa.bool_())),
        ("want_mas", pa.list_(pa.bool_())),
    ]
)
# Null where that signal was not asked for.
SCORE_OUTPUT = pa.schema(
    [
        ("instruction_id", pa.int64()),
        ("candidate_id", pa.int64()),
        ("logp_sum", pa.float64()),
        ("n_tokens", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("token_logps", pa.list_(pa.float32())),
        (
            "token_offsets",
            pa.list_(pa.int32()),
        ),  # start offset of each token in the text; end-of-turn: len(text)
        ("mas", pa.float64()),
        ("same_as", pa.int64()),  # the lowest candidate that means the same, where answers were grouped
        ("mas_minimum", pa.float64()),  # of the worst part, where the answer was judged in parts
        (
            "claims",
            pa.list_(pa.struct([("text", pa.string()), ("upheld", pa.bool_()), ("p_yes", pa.float64())])),
        ),
    ]
)

TRAIN_INPUT = pa.schema(
    [
        *_PROMPT,
        ("chosen_id", pa.int64()),
        ("rejected_id", pa.int64()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("chosen_truncated", pa.bool_()),  # cut off by the token limit: no end-of-turn token is learned
        ("rejected_truncated", pa.bool_()),
        ("human", pa.bool_()),
    ]
)

# The training set with the pairs that are excluded from it, and before it the images that are measured by (`split` tune
# or heldout), which have no answers.
PREFLIGHT_INPUT = pa.schema([*TRAIN_INPUT, ("split", pa.string()), ("excluded", pa.bool_())])
# One row a pair, also where nothing was found. Token counts are null where it could not be read so far.
PREFLIGHT_OUTPUT = pa.schema(
    [
        ("instruction_id", pa.int64()),
        ("chosen_id", pa.int64()),
        ("rejected_id", pa.int64()),
        ("name", pa.string()),
        ("excluded", pa.bool_()),
        ("prompt_tokens", pa.int32()),  # with its image tokens
        ("chosen_tokens", pa.int32()),
        ("rejected_tokens", pa.int32()),
        ("findings", pa.list_(pa.struct([("kind", pa.string()), ("detail", pa.string())]))),
    ]
)

EVALUATE_INPUT = pa.schema(
    [
        *_PROMPT,
        ("instruction", pa.string()),
        ("answer", pa.string()),  # truth, nullable
        ("objects", pa.list_(pa.string())),  # truth: what is in the image, nullable
        ("category", pa.string()),  # nullable
    ]
)
EVALUATE_OUTPUT = pa.schema([("instruction_id", pa.int64()), ("text", pa.string())])
