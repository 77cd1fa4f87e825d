"""How long a reviewer waits, on a workspace of a million instructions: p50 and p95 of each thing that one does.

    python benchmarks/review_latency.py [--workspace DIR | --instructions 1000000] [--repeats 40] [--no-memory]

Without a workspace one is made (benchmarks/make_million.py) in a temporary folder and removed. The server half asks
m3po.studio.Studio as the page does, while nothing else runs in the process. Before every question what the server keeps
of earlier ones (items, orders, views, findings) is forgotten, so that p50 and p95 are of what nobody asked before;
`again` is p95 of the same question asked once more at once. The memory is the peak of a real `python app.py` that
starts, shows its first item and searches all answers, both asked over HTTP as the page does, and selects anew; what
opening the page costs is timed there, too, by HTTP, with what that app keeps. Each figure stands beside its goal and
beside the load of the machine: read it with that. Where one plain DuckDB statement says nearly the same, it is timed in
the same run, and `ratio` is our p50 to its own: below 1 we are faster. Exit 1 where a p95 is worse than twice its goal.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).parent))

import httpx  # noqa: E402
from make_million import ADJECTIVES, NOUNS, VERBS, make_workspace  # noqa: E402
from twenty_reviewers import Reviewer, review_component  # noqa: E402

from m3po.errors import SearchCancelled  # noqa: E402
from m3po.settings import SelectConfig  # noqa: E402
from m3po.studio import Studio  # noqa: E402
from m3po.types import Area, Range, ReviewView  # noqa: E402


@dataclass(frozen=True)
class Figure:
    """What one does, how long each time took (ms; MB for memory), and what p95 is to stay under."""

    name: str
    values: tuple[float, ...]
    goal: float
    unit: str = "ms"
    plain: tuple[float, ...] = ()  # ms of the plain statement beside which it stands
    again: tuple[float, ...] = ()  # of the same question once more, from what is kept

    @property
    def is_fine(self) -> bool:
        return _quantile(self.values, 0.95) <= 2 * self.goal

    def row(self) -> str:
        p50, p95 = (_quantile(self.values, share) for share in (0.5, 0.95))
        verdict = "yes" if p95 <= self.goal else f"{p95 / self.goal:.1f}x"
        again = f"{_quantile(self.again, 0.95):,.0f}" if self.again else ""
        figures = f"{len(self.values)} | {p50:,.0f} | {p95:,.0f} | {self.goal:,.0f} {self.unit} | {verdict} | {again}"
        row = f"| {self.name} | {figures} |"
        if not self.plain:
            return f"{row} | |"
        plain = statistics.median(self.plain)
        return f"{row} {plain:,.0f} ms | {p50 / plain:.2f} |"


def _quantile(values: tuple[float, ...], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


HEAD = "| what | n | p50 | p95 | goal | met | again | plain | ratio |\n|---|---|---|---|---|---|---|---|---|"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workspace", type=Path, metavar="DIR")
    parser.add_argument("--instructions", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--no-memory", action="store_true", help="do not start the app to measure it")
    options = parser.parse_args()
    with _workspace(options.workspace, options.instructions) as folder:
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
        print(HEAD)
        fine = True
        for figure in itertools.chain(
            measure_server(folder, options.repeats),
            () if options.no_memory else measure_app(folder, options.repeats),
        ):
            print(figure.row(), flush=True)
            fine = fine and figure.is_fine
        print(f"load {os.getloadavg()[0]:.1f} at the end")
    sys.exit(0 if fine else 1)


@contextlib.contextmanager
def _workspace(given: Path | None, instructions: int) -> Iterator[Path]:
    if given is not None:
        yield given
        return
    with tempfile.TemporaryDirectory() as temporary:
        make_workspace(Path(temporary) / "workspace", instructions)
        yield Path(temporary) / "workspace"


def measure_server(folder: Path, repeats: int) -> Iterator[Figure]:
    """What the page asks of m3po.studio.Studio; decisions are undone again, selections stay."""
    studio, draw = Studio.open(folder), random.Random(time.time_ns())
    try:
        start = time.perf_counter()
        studio.review_item()
        yield Figure("start: index made, first item", ((time.perf_counter() - start) * 1000,), 10_000)
        ids = studio.review_index.ids
        plain = _plain_statements(studio, draw)
        for name, goal, question in _questions(studio, draw, ids):
            fresh, again = _fresh_and_again(studio, question, repeats)
            yield Figure(name, fresh, goal, plain=_times(plain.get(name), max(3, repeats // 8)), again=again)
        taken = tuple(_decide(studio, int(draw.choice(ids))) for _ in range(repeats))
        yield Figure("a decision, on what is shown", taken, 50)
        yield Figure("search in answers given up", _times(lambda: _give_up(studio, draw), max(3, repeats // 8)), 300)
        for name, goal, ask in _slow_questions(studio, draw):
            ask()  # once untimed: the rule's pool of values may have to be made
            yield Figure(name, _times(ask, max(3, repeats // 8)), goal, plain=_times(plain.get(name), 3))
    finally:
        studio.close()


Question = tuple[str, float, Callable[[], Callable[[], object]]]


def _questions(studio: Studio, draw: random.Random, ids) -> Iterator[Question]:
    """(what, goal in ms, what draws a question: it returns what asks it)."""

    def look(**conditions: object) -> Callable[[], object]:
        return lambda: studio.review_item(ReviewView(**conditions))

    def number(low: float, high: float) -> float:
        return round(draw.uniform(low, high), 6)

    def ranges() -> tuple[Range, ...]:
        return Range("m3p_score", number(0.4, 0.6), None), Range("length_ratio", None, number(1, 2))

    def lasso() -> Area:
        turns = [2 * math.pi * k / 100 for k in range(100)]
        x, y, r = number(0.3, 0.8), number(0.15, 0.35), number(0.05, 0.1)
        return Area("rejected", tuple((x + 3 * r * math.cos(t), y + r * math.sin(t)) for t in turns))

    def jump() -> Callable[[], object]:
        name = studio.review_item(ReviewView(), int(draw.choice(ids))).instruction.external_id
        return lambda: studio.review_item(ReviewView(), studio.find_instruction(name))

    def step() -> Callable[[], object]:
        here = int(draw.choice(ids))
        return lambda: studio.review_item(ReviewView("unreviewed"), here, 1)

    orders, filters = ("m3p_score", "logp_margin", "mas_gap", "id"), ("all", "unreviewed", "reviewed", "flagged")
    yield "open: first item of all", 300, look
    yield "sort", 300, lambda: look(order=draw.choice(orders))
    yield "filter: decisions", 300, lambda: look(filter=draw.choice(filters), order=draw.choice(orders))
    yield "filter: range", 300, lambda: look(ranges=ranges())
    yield "filter: lasso of 100 corners", 300, lambda: look(area=lasso())
    yield "jump to an id", 300, jump
    yield "next item", 300, step
    words = lambda: f"{draw.choice(ADJECTIVES)} {draw.choice(NOUNS)}{draw.choice(' ?')}"  # noqa: E731
    yield "search in instructions", 300, lambda: look(search=words())
    in_answers = lambda: f"{draw.choice(NOUNS)} {draw.choice(VERBS)}"  # noqa: E731
    yield "search in answers", 1000, lambda: look(search=in_answers(), search_in="answers")


def _fresh_and_again(
    studio: Studio, question: Callable[[], Callable[[], object]], repeats: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Milliseconds of each question when nothing like it was asked before, and of the same one at once after."""
    both = []
    for _ in range(repeats):
        ask = question()
        _forget(studio)
        both.append(_times(ask, 2))
    fresh, again = zip(*both, strict=True)
    return fresh, again


def _forget(studio: Studio) -> None:
    """All that the server keeps of questions it has answered; what it keeps of the workspace itself (the index of the
    instructions, who decided what) stays, as it does between two people."""
    index, items = studio.review_index, studio._items
    for kept in (index._orders, index._walks, index._points, index.searches._found, items._kept):
        kept.clear()
    items._characters = 0


def _decide(studio: Studio, instruction_id: int) -> float:
    """Milliseconds of a decision on an item that was looked at, as every one is; it is undone again."""
    item = studio.review_item(ReviewView(), instruction_id)
    start = time.perf_counter()
    studio.decide(item.instruction.id, "flag")
    taken = (time.perf_counter() - start) * 1000
    studio.undo()
    return taken


def _slow_questions(studio: Studio, draw: random.Random) -> Iterator[Question]:
    def config() -> SelectConfig:
        return SelectConfig(weight_chosen=round(draw.uniform(0.5, 0.9), 4), delta=round(draw.uniform(0.2, 0.5), 4))

    yield (
        "what another weight would change",
        1500,
        lambda: studio.calibration.what_if(weight_chosen=config().weight_chosen, delta=config().delta),
    )
    yield "select by another weight", 1500, lambda: studio.select(config())
    yield "status after a selection", 5000, studio.status


def _give_up(studio: Studio, draw: random.Random) -> None:
    """How long a search takes to end once it is given up: told as the time of the whole, less the wait before."""
    view = ReviewView(search=f"{draw.choice(NOUNS)} {draw.random()}", search_in="answers")

    def search() -> None:
        with contextlib.suppress(SearchCancelled):
            studio.review_item(view, client="benchmark")

    thread = threading.Thread(target=search)
    thread.start()
    while thread.is_alive() and not studio.cancel_search("benchmark"):
        time.sleep(0.001)
    thread.join()


# One rule over all candidates of a pool, computed and not stored.
_PLAIN_PICK = """
    WITH v AS (
        SELECT instruction_id, unnest(candidate_ids) AS id, unnest(n_tokens) AS tokens, unnest(a) AS a, unnest(b) AS b
        FROM pool_values WHERE pool_id = $pool AND reason IS NULL),
    best AS (
        SELECT instruction_id, arg_max(struct_pack(id := id, a := a, b := b, tokens := tokens),
                                       $w * a + (1 - $w) * b) AS c
        FROM v GROUP BY 1),
    pairs AS (
        SELECT instruction_id, any_value(c.id) AS chosen, arg_max(v.id, 0.5 * (1 - v.a) + 0.5 * v.b) AS rejected
        FROM v JOIN best USING (instruction_id)
        WHERE c.a - v.a >= $delta AND v.id <> c.id
          AND greatest(tokens, c.tokens) <= 3 * least(tokens, c.tokens)
        GROUP BY 1)
    SELECT count(*), sum(chosen), sum(rejected) FROM pairs
"""


def _plain_statements(studio: Studio, draw: random.Random) -> dict[str, Callable[[], object]]:
    """By question the statement that one would write without this product, its result fetched and thrown away."""

    def run(sql: str, **parameters: object) -> object:
        return studio.db.read(lambda con: con.execute(sql, parameters).fetchall())

    def newest(what: str) -> int:
        return run(f"SELECT max({what}) FROM selections")[0][0]

    def pick() -> object:
        weights = {"w": draw.uniform(0.5, 0.9), "delta": draw.uniform(0.2, 0.5)}
        return run(_PLAIN_PICK, pool=newest("pool_id"), **weights)

    ordered = "SELECT * FROM selection_pairs WHERE selection_id = $s ORDER BY m3p_score DESC LIMIT 1"
    found = "SELECT DISTINCT instruction_id FROM {} WHERE {} ILIKE $words"
    return {
        "sort": lambda: run(ordered, s=newest("selection_id")),
        "search in instructions": lambda: run(
            found.format("instructions", "instruction"), words=f"%{draw.choice(ADJECTIVES)} {draw.choice(NOUNS)}%"
        ),
        "search in answers": lambda: run(
            found.format("candidates", "text"), words=f"%{draw.choice(NOUNS)} {draw.choice(VERBS)}%"
        ),
        "what another weight would change": pick,
        "select by another weight": pick,
    }


def _times(ask: Callable[[], object] | None, repeats: int) -> tuple[float, ...]:
    """Milliseconds of each time; nothing where there is nothing to ask."""
    found = []
    for _ in range(repeats if ask else 0):
        start = time.perf_counter()
        ask()
        found.append((time.perf_counter() - start) * 1000)
    return tuple(found)


def measure_app(folder: Path, repeats: int) -> Iterator[Figure]:
    """The peak of resident memory (MB) of the app (its start, the first item, a search in all answers, a selection),
    then what opening the page asks of it."""
    command = [sys.executable, str(ROOT / "app.py"), "--workspace", str(folder), "--port", "0", "--no-browser"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as app:
        try:
            line = app.stdout.readline()
            assert "http" in line, line
            with httpx.Client(base_url=re.search(r"http://[\d.:]+", line)[0], timeout=300) as client:
                page = Reviewer("me", client, review_component(client))
                for view in ({}, {"search": f"{ADJECTIVES[0]} {NOUNS[0]}", "search_in": "answers"}):
                    shown = page.send(op="show", instruction_id=None, view=view)
                    assert "item" in shown and "error" not in shown, shown
                asked = [sys.executable, "-m", "m3po", "select", str(folder), "--weight-chosen", "0.75", "--json"]
                subprocess.run(asked, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                status = Path(f"/proc/{app.pid}/status").read_text()
                yield Figure("memory of the app", (int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1e3,), 1500, "MB")
                for name, ask in (
                    ("the page by HTTP: /", lambda: client.get("/").raise_for_status()),
                    ("the page by HTTP: /config", lambda: client.get("/config").raise_for_status()),
                    ("the page by HTTP: first drawing", lambda: page.send(op="open", instruction_id=None, view={})),
                ):
                    ask()  # once untimed: the selection above made the index of the instructions old
                    yield Figure(name, _times(ask, repeats), 300)
        finally:
            app.send_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
