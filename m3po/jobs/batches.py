"""Walking through a job's instructions in batches, so that one bad item or a full memory never ends the job.

An image that cannot be read, or a prompt that the model cannot take, costs that instruction and a warning
that names it; out of memory costs half of the batch size, and alone that instruction. What is done is written to a
shard every few seconds.
"""

from __future__ import annotations

import asyncio
import json
import time
import warnings
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from PIL import Image

from m3po.errors import BadInputError
from m3po.images import load_rgb
from m3po.jobs.worker import Worker
from m3po.models.memory import is_out_of_memory, release_memory
from m3po.text import counted

PACKAGE = Path(__file__).resolve().parents[1]

SHARD_SECONDS = 2.5
SHARD_INSTRUCTIONS = 64
HOPELESS = 20  # instructions that did not fit into memory, before any that did: the others will not, either
STOP_SECONDS = 5.0  # for answers that are under way when the user stops the run


_TOO_LARGE = BadInputError(
    "it does not fit into memory, even alone. Make its image smaller or its text shorter, or take a smaller model or a "
    "larger device."
)


@dataclass(frozen=True)
class Item:
    """One instruction of the input: its `row`, chat `messages`, and `images` as RGB."""

    row: dict
    messages: list[dict]
    images: list[Image.Image]

    @property
    def id(self) -> int:
        return self.row["instruction_id"]


Work = Callable[[list[Item]], Sequence[list[dict]]]
Ask = Callable[[dict], Awaitable[list[dict]]]  # a row of the input -> its output rows


def run_batches(
    job: Worker,
    rows: list[dict],
    work: Work,
    schema: pa.Schema,
    *,
    batch_size: int,
    done: int,
    total: int,
    message: str = "",
) -> tuple[int, int]:
    """Give `rows` to `work` in batches; it returns output rows for each item. Returns (finished, skipped)
    instructions.

    `done` of `total` were finished by an earlier attempt; `message` is told until the first batch is done. Raises
    RunStopped when asked to stop, after writing what was done. Where no instruction at all fits into memory,
    raises what the device raised.
    """
    shards = _Shards(job, schema)
    skipped = 0
    whole, too_large = batch_size, 0
    lost: Exception | None = None
    queue: deque[list[dict]] = deque([rows])
    job.progress(done, total, "instructions", message=message)
    with ThreadPoolExecutor(2) as pool, warnings_told(job.emit), shards:
        loading: dict[int, list[Future]] = {}
        while queue:
            job.check_stop()
            pending = queue.popleft()
            batch, rest = pending[:batch_size], pending[batch_size:]
            if rest:
                queue.appendleft(rest)
            items = []
            for row in batch:
                futures = loading.pop(row["instruction_id"], None) or _load(pool, row)
                try:
                    images = [future.result() for future in futures]
                except BadInputError as error:
                    skipped += _skip(job, row, error)
                    continue
                items.append(Item(row, json.loads(row["messages"]), images))
            for row in queue[0][:batch_size] if queue else []:  # decoded while the model works
                if row["instruction_id"] not in loading:
                    loading[row["instruction_id"]] = _load(pool, row)
            if not items:
                job.progress(done + shards.finished + skipped, total, "instructions")
                continue
            try:
                results = work(items)
            except BadInputError as error:
                if len(items) == 1:
                    skipped += _skip(job, items[0].row, error)
                    continue
                queue.extendleft(reversed(_halves([item.row for item in items])))
                continue
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                lost = error.with_traceback(None)  # which holds the tensors
                if len(items) > 1:
                    batch_size = max(1, len(items) // 2)
                    queue.extendleft(reversed(_halves([item.row for item in items])))
            else:
                shards.add(results)
                job.progress(done + shards.finished + skipped, total, "instructions")
                continue
            release_memory()  # after the except clause: its traceback holds the tensors
            if len(items) > 1:
                going_on = counted(batch_size, "instruction")
                job.emit("warning", message=f"Out of memory: going on with {going_on} at a time.")
                continue
            too_large += 1
            skipped += _skip(job, items[0].row, _TOO_LARGE)
            if not shards.finished and too_large >= HOPELESS:
                raise lost
            batch_size = whole  # it was this one's fault
        if lost is not None and too_large and not shards.finished:
            raise lost
    return shards.finished, skipped


async def walk_concurrently(
    job: Worker, rows: list[dict], ask: Ask, schema: pa.Schema, *, concurrency: int, done: int, total: int
) -> tuple[int, int]:
    """As run_batches, for work that is waiting, not computing: up to `concurrency` rows are asked at once, and answers
    are taken as they come. Asked to stop it starts no more, gives those under way a moment, and calls off the rest.
    """
    waiting = deque(rows)
    asked: dict[asyncio.Task, dict] = {}
    skipped = 0
    job.progress(done, total, "instructions")

    def take(finished: set[asyncio.Task]) -> None:
        nonlocal skipped
        fatal = None
        for task in finished:
            row = asked.pop(task)
            try:
                shards.add([task.result()])
            except BadInputError as error:
                skipped += _skip(job, row, error)
            except Exception as error:
                fatal = fatal or error
        job.progress(done + shards.finished + skipped, total, "instructions")
        if fatal is not None:
            raise fatal

    with warnings_told(job.emit), _Shards(job, schema) as shards:
        try:
            while waiting or asked:
                while waiting and len(asked) < concurrency and not job.stop_requested:
                    row = waiting.popleft()
                    asked[asyncio.create_task(ask(row))] = row
                if job.stop_requested:
                    if asked:
                        take((await asyncio.wait(asked, timeout=STOP_SECONDS))[0])
                    job.check_stop()
                take((await asyncio.wait(asked, timeout=0.2, return_when=asyncio.FIRST_COMPLETED))[0])
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
    return shards.finished, skipped


class _Shards:
    """Results waiting to be written; closing writes the rest, also when the job stops or fails."""

    def __init__(self, job: Worker, schema: pa.Schema) -> None:
        self.finished = 0
        self._job, self._schema = job, schema
        self._rows: list[dict] = []
        self._waiting = 0
        self._since = time.monotonic()

    def add(self, results: Sequence[list[dict]]) -> None:
        for rows in results:
            self._rows += rows
        self.finished += len(results)
        self._waiting += len(results)
        if self._waiting >= SHARD_INSTRUCTIONS or time.monotonic() - self._since >= SHARD_SECONDS:
            self._write()

    def _write(self) -> None:
        if self._rows:
            self._job.write_shard(self._rows, self._schema)
        self._rows, self._waiting, self._since = [], 0, time.monotonic()

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._write()


def _load(pool: ThreadPoolExecutor, row: dict) -> list[Future]:
    return [pool.submit(load_rgb, path) for path in row["images"] or []]


def _skip(job: Worker, row: dict, error: Exception) -> int:
    job.emit("warning", message=f"Instruction {row['name']} is skipped: {error}")
    return 1


def _halves(rows: list[dict]) -> list[list[dict]]:
    middle = (len(rows) + 1) // 2
    return [part for part in (rows[:middle], rows[middle:]) if part]


@contextmanager
def warnings_told(emit: Callable[..., None]) -> Iterator[None]:
    """What our own models warn of reaches the page, each sentence once, as the event `warning` with its `message`;
    other libraries' warnings go to the log.
    """
    told: set[str] = set()
    show = warnings.showwarning

    def tell(message, category, filename, lineno, file=None, line=None) -> None:
        text = str(message)
        if PACKAGE in Path(filename).parents and text not in told:
            told.add(text)
            emit("warning", message=text)
        show(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.showwarning = tell
        yield
