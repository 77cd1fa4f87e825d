"""A worker whose disk fills up: what it still says is read, and what it said before is not lost."""

from __future__ import annotations

import resource

import pytest

from m3po.jobs.folder import RunFolder
from m3po.jobs.ingest import Tail
from m3po.jobs.worker import DISK_FULL, Worker, sentence_for


def test_an_event_that_the_disk_cuts_off_does_not_swallow_the_next(tmp_path):
    """The limit on a file's size makes the kernel write a part and return, as a disk does that fills up."""
    folder = RunFolder(tmp_path / "000001")
    folder.write_config({})
    job = Worker(folder)
    job.emit("started", pid=1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (folder.events_path.stat().st_size + 20, limits[1]))
    try:
        with pytest.raises(OSError) as full:
            job.metrics(1, loss=0.5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sentence_for(full.value) == DISK_FULL
    job.emit("failed", message=sentence_for(full.value))
    events, offset = folder.read_events()
    assert [event["event"] for event in events] == ["started", "failed"]
    assert offset == folder.events_path.stat().st_size


def test_the_time_left_is_measured_in_what_is_counted_now():
    tail = Tail()
    assert tail.rate(0, 8, "pairs") is None and tail.rate(1, 16, "pairs") == 8
    assert tail.rate(10, 40, "steps") is None  # resumed at step 40: nothing was done in these ten seconds
    assert tail.rate(12, 44, "steps") == 2
