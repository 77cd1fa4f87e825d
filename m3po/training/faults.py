"""What ends a training run, in words that name the step and the remedy."""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Iterator
from pathlib import Path

from m3po.errors import JobError
from m3po.models.memory import is_out_of_memory
from m3po.settings import TrainConfig
from m3po.training.checkpoints import count_done, find_checkpoint, remove_torn, say_kept
from m3po.training.presets import uses_checkpointing
from m3po.training.reporting import Phases

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What the writers of safetensors and torch raise in the place of an OSError; torch's does not say why it could not.
_NOT_WRITTEN = re.compile(r"os error (?:28|122|27)\b|no space left|disk quota|unexpected pos|iostream error|Stream"
                          r"Writer failed", re.IGNORECASE)  # fmt: skip


@contextlib.contextmanager
def told_in_words(config: TrainConfig, phases: Phases, folder: Path) -> Iterator[None]:
    """Out of memory and a disk that takes no more become a JobError with a remedy; what else is raised goes through.

    Half of a checkpoint is removed first: the one before it needs the room to be told of.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise JobError(f"The device ran out of memory {phases.at}: {memory_remedy(config)}") from error
        if is_disk_full(error):
            remove_torn(folder / "checkpoints")
            raise JobError(
                f"The disk is full, or its quota used up, {phases.after}: free some space, then resume this run; "
                f"{say_kept(folder)}."
            ) from error
        raise


def is_disk_full(error: BaseException) -> bool:
    """Whether a file could not be written for lack of room, by whichever library it was."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            return True
        if type(error).__name__ in ("SafetensorError", "RuntimeError") and _NOT_WRITTEN.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def memory_remedy(config: TrainConfig) -> str:
    """What to set for less memory, the mildest first: what moves no figure, then what changes the run."""
    ways = []
    if config.batch_size > 1:
        batch = config.batch_size // 2
        accumulation = -(-config.batch_size * config.gradient_accumulation // batch)
        what = "instructions" if config.method == "grpo" else "pairs"
        ways.append(f"batch_size={batch} with gradient_accumulation={accumulation} (as many {what} a step)")
    if not uses_checkpointing(config):
        ways.append("gradient_checkpointing=true")
    ways.append("a smaller max_pixels, where the model takes images of any size")
    if config.method == "grpo":
        ways.append("fewer or shorter answers (trl.num_generations, trl.max_completion_length)")
    if config.dtype == "float32":
        ways.append("dtype=bfloat16")
    if not config.quantise:
        ways.append("on a GPU quantise=4bit")
    return f"start a new run with {'; or '.join(ways)}. Or end what else uses the device's memory, and resume this run."


def not_finite(what: str, value: float, step: int, folder: Path) -> JobError:
    """The loss or gradient of `step` is no number. The checkpoint of the step before may be what it is computed from,
    so the one before that is the last good one."""
    found = find_checkpoint(folder / "checkpoints", before=step - 1)
    kept = ""
    if found is not None:
        place = Path(folder.parent.name) / folder.name / "checkpoints" / found.name
        kept = f" The adapter as it was after step {count_done(found)} is kept in the workspace's {place}."
    return JobError(
        f"The {what} became {value} at step {step}, so nothing more could be learned: lower the learning rate "
        f"(--set learning_rate=...) or raise beta, then start a new run.{kept}"
    )
