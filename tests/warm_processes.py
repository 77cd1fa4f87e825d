"""Processes that begin as forks of this one, which has imported all: the seconds that `python -m ...` takes to start
are left out, and nothing else. A run's worker, accelerate's launcher and torchrun's agent work in them as they do."""

from __future__ import annotations

import contextlib
import os
import runpy
import subprocess
import sys
import time
import traceback
import warnings

import accelerate.commands.launch  # noqa: F401 -- every process of a run imports one of these two
import pytest
import torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler as torchrun
from accelerate.state import AcceleratorState

import m3po.training.dpo  # noqa: F401


class WarmPopen:
    """What is used of subprocess.Popen, for `[python, ..., "-m", MODULE, ...]`."""

    def __init__(
        self, args, *, env=None, stdout=None, stderr=None, preexec_fn=None, start_new_session=False, **_
    ) -> None:
        self.args, self.returncode = args, None
        self.pid = os.fork()
        if self.pid:
            return
        status = 1
        try:
            if start_new_session:
                os.setsid()
            if preexec_fn:
                preexec_fn()
            for stream, place in ((stdout, 1), (stderr, 2)):
                if stream is not None:
                    os.dup2(1 if stream == subprocess.STDOUT else stream.fileno(), place)
            sys.stdout, sys.stderr = (os.fdopen(os.dup(place), "w", buffering=1) for place in (1, 2))
            status = _run(args[args.index("-m") + 1 :], os.environ if env is None else env)
        finally:
            os._exit(status)  # whatever else the test's process would do at its end is not this one's

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _run(words: list[str], environment: dict[str, str]) -> int:
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [words[0], *words[1:]]
    AcceleratorState._reset_state(reset_partial_state=True)  # what the test's process trained alone
    warnings.simplefilter("ignore")
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def start_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on `subprocess.Popen` starts processes so, here and in those that it has started."""
    monkeypatch.setattr(subprocess, "Popen", WarmPopen)
    monkeypatch.setattr(torchrun, "Popen", WarmPopen)
