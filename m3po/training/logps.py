"""Every pair's log-probs beside the training: under the reference before it, under the policy behind it.

Those of the reference are kept batch by batch, a line a pair, so that a stop or a kill costs the present batch alone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from m3po.errors import BadImageError, BadInputError, RunStopped
from m3po.models.policy import Policy
from m3po.training import ranks
from m3po.training.batches import PairCollator
from m3po.training.encoding import EncodedPair
from m3po.training.pair_checks import PairProblem, check_length, length_limit
from m3po.training.reporting import Reporter, tell_left_out
from m3po.training.trainer import PairTrainer

MARGINS = pa.schema(
    [
        ("instruction_id", pa.int64()),
        ("chosen_id", pa.int64()),
        ("rejected_id", pa.int64()),
        ("ref_chosen_logp", pa.float64()),
        ("ref_rejected_logp", pa.float64()),
        ("chosen_logp", pa.float64()),
        ("rejected_logp", pa.float64()),
        ("logp_margin_before", pa.float64()),  # nats; below 0: the model preferred the rejected answer
        ("logp_margin_after", pa.float64()),
        ("reward_margin", pa.float64()),  # beta * (after - before); 0 before the training by definition
    ]
)
_REFERENCE = pa.schema(list(MARGINS)[:5])


def add_reference_logps(
    trainer: PairTrainer,
    collator: PairCollator,
    pairs: list[EncodedPair],
    path: Path,
    policy: Policy,
    reporter: Reporter,
    max_length: int = 0,
) -> list[int]:
    """Fill in the reference's log-probs, from `path` or the lines beside it where an earlier attempt left them, and
    return the rows that can be used: a pair whose image cannot be read, or that is too long for the model, is told and
    left out. Of several processes each computes all, and the first writes.
    """
    if path.exists():
        return _fill_in(pq.read_table(path).to_pylist(), pairs)
    lines = path.with_suffix(".jsonl")
    known = set(_fill_in(_read_lines(lines), pairs))
    trainer.accelerator.wait_for_everyone()  # of several processes all have read before the first writes more
    readable = []
    for row, pair in enumerate(pairs):
        try:
            if row not in known:
                collator.read_images(row)
            readable.append(row)
        except BadImageError as error:
            tell_left_out(reporter, pair.name, str(error))
    reporter.progress(len(known), len(readable), "pairs", message="reference log-probs")
    kept = set(known)
    size = 2 * trainer.args.per_device_train_batch_size
    limit = length_limit(max_length, policy.max_positions)

    def refuse(row: int, problem: str) -> None:
        tell_left_out(reporter, pairs[row].name, problem)

    for done, rows, batch in _batches(collator, readable, size, reporter, refuse, known):
        lengths = batch["attention_mask"].sum(1).view(2, -1).amax(0).tolist()
        fits = []
        for row, length in zip(rows, lengths, strict=True):
            answer = pairs[row].longer_answer
            try:
                check_length(length - answer, answer, limit, asked=limit != policy.max_positions)
                fits.append(row)
            except PairProblem as problem:
                refuse(row, str(problem))
        if not fits:
            continue
        if len(fits) < len(rows):
            rows, batch = fits, collator([{"row": row} for row in fits])
        chosen, rejected = trainer.reference_logps(batch)
        for row, *logps in zip(rows, chosen.tolist(), rejected.tolist(), strict=True):
            pairs[row].ref_chosen_logp, pairs[row].ref_rejected_logp = logps
        _append_lines(lines, [_reference_row(pairs[row]) for row in rows])
        kept.update(rows)
        reporter.progress(done, len(readable), "pairs", message="reference log-probs")
    _write_table(path, [_reference_row(pairs[row]) for row in sorted(kept)], _REFERENCE)
    if not ranks.rank():
        lines.unlink(missing_ok=True)
    return sorted(kept)


def write_margins(
    trainer: PairTrainer,
    collator: PairCollator,
    pairs: list[EncodedPair],
    rows: list[int],
    path: Path,
    reporter: Reporter,
) -> None:
    """Every trained pair's log-probs before and after, and the reward margin that the training gave it."""
    table = []
    for done, batch_rows, batch in _batches(collator, rows, 2 * trainer.args.per_device_train_batch_size, reporter):
        chosen, rejected = trainer.sum_logps(batch)
        for row, chosen_logp, rejected_logp in zip(batch_rows, chosen.tolist(), rejected.tolist(), strict=True):
            pair = pairs[row]
            before = pair.ref_chosen_logp - pair.ref_rejected_logp
            after = chosen_logp - rejected_logp
            table.append(
                {
                    **_reference_row(pair),
                    "chosen_logp": chosen_logp,
                    "rejected_logp": rejected_logp,
                    "logp_margin_before": before,
                    "logp_margin_after": after,
                    "reward_margin": trainer.beta * (after - before),
                }
            )
        reporter.progress(done, len(rows), "pairs", message="margins after the training")
    _write_table(path, table, MARGINS)


def _batches(
    collator: PairCollator,
    rows: list[int],
    size: int,
    reporter: Reporter,
    refuse: Callable[[int, str], None] | None = None,
    known: Collection[int] = (),
):
    """(rows done after it, its rows, batch), in order; RunStopped between two when asked to stop. With `refuse`, a row
    that the model's processor does not take is left out, and handed to it with the reason. Rows that are `known` are
    passed over; the others are batched as if none were, since a pair's log-prob moves by rounding with its batch."""
    for start in range(0, len(rows), size):
        if reporter.stop_requested:
            raise RunStopped("Stopped by the user; what was finished is kept and the run can be resumed.")
        done = min(start + size, len(rows))
        part = [row for row in rows[start:done] if row not in known]
        if not part:
            continue
        try:
            batch = collator([{"row": row} for row in part])
        except BadInputError:
            if refuse is None:
                raise
            refused = {row: why for row in part if (why := collator.refusal(row))}
            for row, why in refused.items():
                refuse(row, why)
            part = [row for row in part if row not in refused]
            if not part:
                continue
            batch = collator([{"row": row} for row in part])
        yield done, part, batch


def _read_lines(path: Path) -> list[dict]:
    """What an earlier attempt computed; a line that a kill or a full disk cut off is passed over."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [row for row in found if isinstance(row, dict) and row.keys() == set(_REFERENCE.names)]


def _append_lines(path: Path, rows: list[dict]) -> None:
    """In one write, begun on a line of its own whatever was cut off before. Of several processes the first writes."""
    if ranks.rank():
        return
    with path.open("ab", buffering=0) as file:
        file.write(b"\n" + b"\n".join(json.dumps(row).encode() for row in rows) + b"\n")


def _fill_in(stored: list[dict], pairs: list[EncodedPair]) -> list[int]:
    """Give the pairs their stored log-probs; returns the rows that have them."""
    by_pair = {(row["instruction_id"], row["chosen_id"], row["rejected_id"]): row for row in stored}
    kept = []
    for number, pair in enumerate(pairs):
        row = by_pair.get((pair.instruction_id, pair.chosen_id, pair.rejected_id))
        if row is not None:
            pair.ref_chosen_logp, pair.ref_rejected_logp = row["ref_chosen_logp"], row["ref_rejected_logp"]
            kept.append(number)
    return kept


def _reference_row(pair: EncodedPair) -> dict:
    return {name: getattr(pair, name) for name in _REFERENCE.names}


def _write_table(path: Path, rows: list[dict], schema: pa.Schema) -> None:
    """Whole or not at all: a kill must not leave half a file that a resumed run would trust. Of several processes,
    which all have the same rows, the first writes."""
    if ranks.rank():
        return
    part = path.with_suffix(".part")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)
    part.rename(path)
