"""A workspace of a million instructions with eight scored candidates each, to measure what must stay fast.

    python benchmarks/make_million.py DIR [--instructions 1000000] [--candidates 8] [--images 300] [--decisions 2000]

The pictures are the demo's, stored as an import stores them; questions and answers are sentences put together by
chance, every answer with its tokens' log-probs, votes and MAS, and the pairs are selected and some decided by the
product's own code. Without DIR the workspace is made in a temporary folder, timed and removed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from m3po.demo.models import demo_models  # noqa: E402
from m3po.demo.workspace import write_demo_source  # noqa: E402
from m3po.images import inspect_image  # noqa: E402
from m3po.store import bulk, candidates, imports, runs  # noqa: E402
from m3po.store.answers import allocate  # noqa: E402
from m3po.store.connection import Connection, scalar  # noqa: E402
from m3po.store.instructions import StoredImage, now  # noqa: E402
from m3po.studio import Studio  # noqa: E402
from m3po.text import asked_content  # noqa: E402
from m3po.types import ReviewView  # noqa: E402
from m3po.workspace_config import WorkspaceConfig  # noqa: E402

BATCH = 25_000  # instructions a transaction


def _words(text: str) -> list[str]:
    return text.split()


ADJECTIVES = _words(
    "red blue green yellow white black small large old new wooden striped round bright dark empty broken shiny "
    "rusty folded painted tall narrow heavy wet dusty quiet distant modern plain"
)
NOUNS = _words(
    "boat fish bridge tree house car bicycle dog cat bird horse cow sheep bench lamp table chair cup bottle book "
    "clock window door fence road river lake mountain cloud kite ball child woman man farmer sailor baker driver "
    "train bus truck plane lighthouse tower church market garden flower basket apple pear cake plate spoon knife "
    "hat coat shoe umbrella suitcase phone camera mirror painting piano guitar drum candle rope ladder barrel "
    "wheel anchor net tent flag sign statue fountain well gate"
)
PREPOSITIONS = _words("near under behind beside above below before opposite on inside")
VERBS = _words("rests waits stands leans shines moves turns falls floats hangs sleeps waves")
ADVERBS = _words("slowly quietly alone now again nearby together still")
PLACES = _words("shore street field harbour square corner station hill yard forest kitchen hall")
ASKS = ("Is", "Where is", "What is beside", "Describe", "How many signs show")

WORDS = sorted({"The", "the", "is", "and", *ADJECTIVES, *NOUNS, *PREPOSITIONS, *VERBS, *ADVERBS, *PLACES})
PLACE_OF = {word: place for place, word in enumerate(WORDS)}
LENGTHS = np.array([len(word) for word in WORDS])
# A sentence is as many of these as it is long: eight, thirteen or sixteen words.
TEMPLATE = (
    ["The"], ADJECTIVES, NOUNS, ["is"], PREPOSITIONS, ["the"], ADJECTIVES, NOUNS,
    ["and"], ["the"], ADJECTIVES, NOUNS, VERBS, ADVERBS, PREPOSITIONS, PLACES,
)  # fmt: skip
SIZES = (8, 8, 13, 16)
SUBJECT = 2  # the place in the template that no two answers to one question share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    parser.add_argument("--instructions", type=int, default=1_000_000)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--decisions", type=int, default=2000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "workspace"
        made = make_workspace(folder, options.instructions, options.candidates, options.images, options.decisions)
        for step, seconds in made.items():
            print(f"{step:12s} {seconds:8.1f} s")
        print(f"memory peak  {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:8.0f} MB")
        print(f"database     {(folder / 'm3po.duckdb').stat().st_size / 1e6:8.0f} MB in {folder}")


def make_workspace(folder: Path, instructions: int, per: int = 8, images: int = 300, decisions: int = 2000) -> dict:
    """Seconds by step. Raises ValueError for more candidates than there are subjects to tell them apart by."""
    if not 2 <= per <= len(NOUNS):
        raise ValueError(f"Give 2 to {len(NOUNS)} candidates.")
    spent, start = {}, time.perf_counter()

    def note(step: str) -> None:
        nonlocal start
        spent[step], start = time.perf_counter() - start, time.perf_counter()

    policy, mas = map(str, demo_models())
    studio = Studio.open(Studio.create(folder, WorkspaceConfig(policy=policy, mas=mas)))
    try:
        stored = store_pictures(studio, images)
        note("pictures")
        ids = studio.db.write(lambda con: add_makers(con, policy, mas, per))
        draw = np.random.default_rng(0)
        for first in range(0, instructions, BATCH):
            count = min(BATCH, instructions - first)
            studio.db.write(lambda con, f=first, n=count: add_instructions(con, draw, stored, ids, f, n, per))
        note("rows")
        studio.select()
        note("selection")
        decide(studio, draw, decisions)
        note("decisions")
    finally:
        studio.close()
    return spent


def store_pictures(studio: Studio, count: int) -> list[StoredImage]:
    """The demo's pictures, copied to their content addresses."""
    with tempfile.TemporaryDirectory() as source:
        write_demo_source(Path(source), n_train=count, n_tune=0, n_heldout=0)
        return [studio.workspace.store_image(path, inspect_image(path)) for path in sorted(Path(source).glob("*.png"))]


def add_makers(con: Connection, policy: str, mas: str, per: int) -> dict[str, int]:
    """The sampler, the scorers and the finished runs that everything is by."""
    ids = {
        "sampler": candidates.sampler_id(con, "million", {"k": per, "temperature": 1.0, "seed": 0}, policy),
        "logp": candidates.scorer_id(con, "logp", policy, "million-policy"),
        "mas": candidates.scorer_id(con, "mas", mas, "million-scorer"),
    }
    candidates.set_scorer_range(con, ids["mas"], -1.0, 1.0)
    candidates.activate_scorers(con, ids["logp"], ids["mas"])
    for kind in ("sample", "score"):
        ids[kind] = runs.add_run(con, kind, {"policy": policy}, "benchmarks/make_million.py")
        runs.update_run(con, ids[kind], state="finished", started_at=now(), ended_at=now())
    return ids


def add_instructions(
    con: Connection, draw: np.random.Generator, images: list[StoredImage], ids: dict, first: int, count: int, per: int
) -> None:
    """`count` questions from number `first` on, and all that is known of their answers."""
    texts = ask(draw, first, count)
    numbers = draw.integers(0, len(images), count)
    shas = [images[number].sha256 for number in numbers]
    rows = pa.table(
        {
            "n": np.arange(count),
            "id": [f"million-{number}" for number in range(first, first + count)],
            "images": pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32), numbers.astype(np.int32)),
            "instruction": texts,
            "split": ["train"] * count,
            "content": [asked_content([sha], "", (), text, "train") for sha, text in zip(shas, texts, strict=True)],
            "turns": [json.dumps([])] * count,
        }
    )
    missing = [field for field in imports.ROWS if field.name not in rows.column_names]
    for field in missing:
        rows = rows.append_column(field, pa.nulls(count, field.type))
    report = imports.add_batch(con, "million", imports.Batch(rows.select(imports.ROWS.names), images), all_new=True)
    assert report.added == count
    # One batch at a time: its ids are the newest, in a row.
    newest = scalar(con, "SELECT max(instruction_id) FROM instructions")
    instruction_ids = np.arange(newest - count + 1, newest + 1)
    add_candidates(con, draw, ids, instruction_ids, per)


def ask(draw: np.random.Generator, first: int, count: int) -> list[str]:
    """Questions; one in a hundred names its own number, so that a search can find one of a million."""
    asks, adjectives, nouns, prepositions, others = (
        draw.integers(0, len(words), count) for words in (ASKS, ADJECTIVES, NOUNS, PREPOSITIONS, NOUNS)
    )
    found = [
        f"{ASKS[a]} the {ADJECTIVES[b]} {NOUNS[c]} {PREPOSITIONS[d]} the {NOUNS[e]}?"
        for a, b, c, d, e in zip(asks, adjectives, nouns, prepositions, others, strict=True)
    ]
    for place in range(-first % 100, count, 100):
        found[place] += f" It has the number {first + place}."
    return found


def add_candidates(con: Connection, draw: np.random.Generator, ids: dict, owners: np.ndarray, per: int) -> None:
    """`per` different answers to each of the questions `owners`: texts, votes, log-probs with their tokens, MAS."""
    count = len(owners) * per
    words = np.column_stack([_draw(draw, choices, count) for choices in TEMPLATE])
    start = draw.integers(0, len(NOUNS), len(owners))[:, None] + 7 * np.arange(per)  # 7: no divisor of the number
    words[:, SUBJECT] = np.array([PLACE_OF[word] for word in NOUNS])[start.ravel() % len(NOUNS)]
    sizes = np.array(SIZES)[draw.integers(0, len(SIZES), count)]
    used = np.arange(len(TEMPLATE)) < sizes[:, None]
    ends = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    spoken = pa.array(WORDS).take(pa.array(words[used]))
    texts = pc.binary_join_element_wise(pc.binary_join(pa.ListArray.from_arrays(ends, spoken), " "), ".", "")
    first = allocate(con, "candidate_ids", count)
    candidate_ids, when = np.arange(first, first + count), pa.scalar(now())
    kept = draw.random(count) > 0.02
    bulk.insert_table(
        con,
        "candidates",
        pa.table(
            {
                "candidate_id": candidate_ids,
                "instruction_id": np.repeat(owners, per),
                "text": texts,
                "same_key": texts,  # single blanks, nothing to fold
                "origin": pa.array(["sampled"]).take(pa.array(np.zeros(count, np.int8))),
                "finish_reason": pa.array(["length", "stop"]).take(pa.array(kept.astype(np.int8))),
                "created_at": pa.repeat(when, count),
            }
        ),
    )
    sampler = np.full(count, ids["sampler"])
    votes = draw.integers(1, 4, count).astype(np.int32)
    bulk.insert_table(con, "votes", pa.table({"candidate_id": candidate_ids, "sampler_id": sampler, "votes": votes}))
    n_sampled = {"sampler_id": sampler[: len(owners)], "instruction_id": owners}
    bulk.insert_table(con, "sampled", pa.table(n_sampled | {"run_id": np.full(len(owners), ids["sample"])}))
    add_scores(con, draw, ids, candidate_ids, words, used, when)


def add_scores(
    con: Connection, draw: np.random.Generator, ids: dict, candidate_ids: np.ndarray, words: np.ndarray,
    used: np.ndarray, when: pa.Scalar
) -> None:  # fmt: skip
    """A token a word, and the end of turn."""
    count = len(candidate_ids)
    tokens = np.concatenate([words, np.zeros((count, 1), words.dtype)], axis=1)
    there = np.concatenate([used, np.ones((count, 1), bool)], axis=1)
    truth = draw.standard_normal(count)
    scale = np.exp(-0.5 * draw.standard_normal(count) - 0.3 * truth - 1.0)
    logps = -draw.exponential(scale[:, None], tokens.shape).astype(np.float32)
    n_tokens = there.sum(axis=1)
    ends = np.concatenate([[0], np.cumsum(n_tokens)]).astype(np.int32)
    starts = np.cumsum(np.where(used, LENGTHS[words] + 1, 0), axis=1)  # a blank, or the full stop, behind each word
    offsets = np.concatenate([np.zeros((count, 1), np.int64), starts], axis=1)
    offsets[:, -1] = starts[:, -1]

    def scored(signal: str) -> dict:
        """What every score has: whose it is, by whom and when."""
        same = {"scorer_id": np.full(count, ids[signal]), "run_id": np.full(count, ids["score"])}
        return {"candidate_id": candidate_ids, **same, "created_at": pa.repeat(when, count)}

    def flat(values: np.ndarray) -> pa.ListArray:
        return pa.ListArray.from_arrays(ends, pa.array(values[there]))

    bulk.insert_table(
        con,
        "logprobs",
        pa.table(
            scored("logp")
            | {
                "logp_sum": np.add.reduceat(logps[there].astype(np.float64), ends[:-1]),
                "n_tokens": n_tokens.astype(np.int32),
                "token_ids": flat(tokens.astype(np.int32)),
                "token_logps": flat(logps),
                "token_offsets": flat(offsets.astype(np.int32)),
            }
        ),
    )
    bulk.insert_table(
        con,
        "mas_scores",
        pa.table(
            scored("mas")
            | {
                "mas": np.clip(0.25 + 0.05 * truth + 0.03 * draw.standard_normal(count), -1, 1),
            }
        ),
    )


def _draw(draw: np.random.Generator, choices: list[str], count: int) -> np.ndarray:
    places = np.array([PLACE_OF[word] for word in choices], np.int32)
    return places[draw.integers(0, len(places), count)] if len(places) > 1 else np.full(count, places[0])


def decide(studio: Studio, draw: np.random.Generator, count: int) -> None:
    """Some items are decided already, most as the machine picked."""
    view = ReviewView("unreviewed")
    item = studio.review_item(view)
    for _ in range(count):
        if item is None:
            return
        verdict = ("accept", "accept", "accept", "override", "tie", "flag")[draw.integers(0, 6)]
        pair = item.pair
        if pair is None:
            studio.decide(item.instruction.id, "flag")
        elif verdict == "override":
            studio.decide(item.instruction.id, verdict, chosen=pair.rejected, rejected=pair.chosen)
        else:
            studio.decide(item.instruction.id, verdict)
        item = studio.review_item(view, item.instruction.id, int(draw.integers(1, 20)))


if __name__ == "__main__":
    main()
