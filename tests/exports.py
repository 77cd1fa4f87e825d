"""A workspace with pairs to export, for the tests of exports."""

import json
import time

from workspaces import make_images

from m3po.settings import SelectConfig
from m3po.store import runs
from m3po.studio import Studio


def fill(studio, folder, n=5):
    """`n` pairs that came with their preference, one of them decided upon here."""
    images = make_images(folder / "images", 2)
    rows = [
        {"id": f"r{i}", "image": f"images/{images[i % 2].name}", "question": f"What is {i}?", "split": "train",
         "chosen": f"A boat {i}.", "rejected": "A car."}
        for i in range(n)
    ]  # fmt: skip
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert studio.import_source(folder / "pairs.jsonl").added == n
    studio.select(SelectConfig(rule="given"))
    item = studio.review_item()
    studio.decide(item.instruction.id, "override", chosen=item.given[1], rejected=item.given[0])
    return studio


def open_pairs(folder):
    """A Studio on such pairs, for a fixture: yields it once and closes it."""
    studio = Studio.open(Studio.create(folder / "ws"))
    yield fill(studio, folder)
    studio.close()


def wait(studio, run):
    """Until its end is in the database: a moment before that it is only shown."""
    deadline = time.monotonic() + 120
    while studio.db.read(lambda con: runs.read_run(con, run.id)).active:
        assert time.monotonic() < deadline, studio.run(run.id)
        time.sleep(0.02)
    return studio.run(run.id)
