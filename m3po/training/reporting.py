"""What a training run tells while it works: its figures step by step, how fast it is, and what they warn of."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import Protocol

import torch
from transformers import Trainer, TrainerCallback

from m3po.training.curves import KEPT
from m3po.training.signs import Signs

SAMPLED = ("reward", "reward_std", "kl", "completions/mean_length")  # of answers that GRPO sampled
REPORTED = (*KEPT, *SAMPLED, "seconds", "tokens_per_second", "memory_gib")
GIB = 1024**3


class Reporter(Protocol):
    """Whoever wants to know how the run goes; m3po.jobs.worker.Worker is one."""

    @property
    def stop_requested(self) -> bool: ...
    def emit(self, event: str, **values: object) -> None: ...
    def progress(self, done: int, total: int, unit: str, *, message: str = "") -> None: ...
    def metrics(self, step: int, **values: float) -> None: ...


def tell_left_out(reporter: Reporter, name: str, problem: str) -> None:
    """Of the instruction `name`, which cannot be trained on."""
    reporter.emit("warning", message=f"Instruction {name} is left out: {problem.rstrip('.')}.")


class Phases:
    """A reporter that passes everything on and remembers what the run is at and after, in the words of a fault."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self.emit, self.metrics = reporter.emit, reporter.metrics
        self.at = self.after = "while the model was loaded"

    @property
    def stop_requested(self) -> bool:
        return self._reporter.stop_requested

    def progress(self, done: int, total: int, unit: str, *, message: str = "") -> None:
        if unit == "steps":  # `done` of them are behind it
            self.after = f"after step {done} of {total}"
            self.at = f"at step {done + 1} of {total}" if done < total else self.after
        else:
            self.at = self.after = f"at the {message}, after {done} of {total} {unit}"
        self._reporter.progress(done, total, unit, message=message)


class Pace:
    """Seconds, tokens a second and memory of a run that may have been broken off and gone on with."""

    def __init__(self) -> None:
        self.begin({})

    def begin(self, last: dict) -> None:
        """Go on from the last step's entry in the trainer's log; an empty one: from nothing."""
        self._seconds, self._tokens = last.get("seconds", 0.0), last.get("num_tokens", 0.0)
        self._then = time.monotonic()

    def measure(self, tokens: float) -> dict[str, float]:
        """`seconds` of training so far, waits between attempts left out; `tokens_per_second` since the last call;
        `memory_gib` at its peak: the GPU's, or the process's where there is none. `tokens` counts all so far."""
        now = time.monotonic()
        passed, new = now - self._then, tokens - self._tokens
        self._seconds, self._tokens, self._then = self._seconds + passed, tokens, now
        return {"seconds": self._seconds, "tokens_per_second": new / max(passed, 1e-9), "memory_gib": peak_memory()}


def peak_memory() -> float:
    """GiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / GIB


class StepReport(TrainerCallback):
    """Tells every step and what it warns of, and ends the run behind a checkpoint when it is asked to stop. `track`
    gets every step's figures, too."""

    def __init__(
        self,
        trainer: Trainer,
        reporter: Reporter,
        total: int,
        signs: Signs,
        track: Callable[[int, dict[str, float]], None] | None,
    ) -> None:
        self._track = track
        self._trainer = trainer
        self._signs = signs
        self._reporter = reporter
        self._total = total
        self.stopped = False

    def on_train_begin(self, args, state, control, **kwargs):
        steps = [entry for entry in state.log_history if "loss" in entry]  # of the attempts before this one
        for entry in steps:
            self._signs.add(entry["step"], reported_metrics(entry))  # what they warned of was told then
        self._trainer.begin_counting(steps[-1] if steps else {})

    def on_step_end(self, args, state, control, **kwargs):
        self._reporter.progress(state.global_step, self._total, "steps", message="training")
        if self._trainer.agree(self._reporter.stop_requested) and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True

    def on_log(self, args, state, control, logs=None, **kwargs):
        values = reported_metrics(logs or {})
        if "loss" in values:
            self._reporter.metrics(state.global_step, **values)
            if self._track:
                self._track(state.global_step, values)
            text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
            print(f"step {state.global_step}/{self._total}  {text}", flush=True)
            for sentence in self._signs.add(state.global_step, values):
                self._reporter.emit("warning", message=sentence)


def reported_metrics(logs: dict) -> dict[str, float]:
    """What of TRL's log entry goes into the curves; `num_tokens` is called `tokens` (all so far)."""
    values = {name: float(logs[name]) for name in REPORTED if name in logs}
    if "num_tokens" in logs:
        values["tokens"] = float(logs["num_tokens"])
    return values
