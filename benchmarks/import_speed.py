"""How fast a large JSON Lines file goes in, beside a bare loop of `json.loads` plus SHA-256 over the same files.

    python benchmarks/import_speed.py [--rows 100000] [--images 200] [--repeats 1]

Ours: the run that `import` and the page start (count the lines, read, check, store, commit, tell progress, write the
refused rows down), into a fresh workspace while an annotator decides ten times a second; then the same file again, of
which everything is there. One row in a thousand is broken and refused. The peer, in the same run: one thread,
`json.loads` of every line and SHA-256 of the JSON Lines file and of every image file once; and, for those who would
read the images a row at a time, the same with SHA-256 of the image that each row names. Prints rows a second, the
ratios, the peak of the memory that the import took beyond what the process had, and the slowest decision.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from m3po.studio import Studio  # noqa: E402

REFUSED_EACH = 1000  # one row in so many has no instruction
WORDS = ("red", "boat", "water", "near", "two", "small", "trees", "under", "large", "bird", "left", "right")


def write_source(folder: Path, rows: int, images: int) -> Path:
    """A million questions about the same two hundred pictures."""
    (folder / "images").mkdir(parents=True)
    for number in range(images):
        picture = Image.effect_noise((160, 120), 60 + number % 40).convert("RGB")
        picture.save(folder / "images" / f"{number}.jpg", quality=85)
    draw = random.Random(0)
    path = folder / "rows.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = f"Question {number}: {' '.join(draw.choices(WORDS, k=12))}?"
            text = text if number % REFUSED_EACH else ""
            image = f"images/{draw.randrange(images)}.jpg"
            file.write(json.dumps({"id": f"row-{number}", "images": [image], "instruction": text}) + "\n")
    return path


def bare_loop(path: Path, *, image_a_row: bool) -> float:
    """Seconds."""
    start = time.perf_counter()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for line in file:
            record = json.loads(line)
            digest.update(line)
            if image_a_row:
                for image in record["images"]:
                    hashlib.sha256((path.parent / image).read_bytes()).hexdigest()
    if not image_a_row:
        for image in (path.parent / "images").iterdir():
            hashlib.sha256(image.read_bytes()).hexdigest()
    return time.perf_counter() - start


class Annotator(threading.Thread):
    """Decides ten times a second; how long each took, in milliseconds."""

    def __init__(self, studio: Studio, instruction_id: int) -> None:
        super().__init__(daemon=True)
        self.studio, self.instruction_id, self.waits, self.done = studio, instruction_id, [], threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.1):
            start = time.perf_counter()
            self.studio.decide(self.instruction_id, "flag")
            self.waits.append((time.perf_counter() - start) * 1000)


class Memory(threading.Thread):
    """The most resident memory beyond what there was at the start, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.base, self.most, self.done = self.resident(), 0.0, threading.Event()

    @staticmethod
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    def run(self) -> None:
        while not self.done.wait(0.02):
            self.most = max(self.most, self.resident() - self.base)


def measure_import(studio: Studio, path: Path, instruction_id: int) -> tuple[float, float, list[float], int]:
    """(seconds, MB, waits in ms, rows added) of an import run, from its start to its end."""
    annotator, memory = Annotator(studio, instruction_id), Memory()
    annotator.start()
    memory.start()
    start = time.perf_counter()
    run = studio.start_import(path)
    while (run := studio.run(run.id)).active:
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    for thread in (annotator, memory):
        thread.done.set()
        thread.join()
    assert run.state == "finished", run.message
    return seconds, memory.most, annotator.waits, run.result["added"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_source(Path(folder) / "source", options.rows, options.images)
        small = Path(folder) / "one.jsonl"
        small.write_text(json.dumps({"instruction": "What is it?", "split": "train"}) + "\n")
        ratios = []
        for repeat in range(options.repeats):
            studio = Studio.open(Studio.create(Path(folder) / f"workspace-{repeat}"))
            studio.import_source(small)
            item = studio.review_item().instruction.id
            once = bare_loop(path, image_a_row=False)
            seconds, megabytes, waits, added = measure_import(studio, path, item)
            again, more, waits_again, none = measure_import(studio, path, item)
            once = min(once, bare_loop(path, image_a_row=False))
            each = bare_loop(path, image_a_row=True)
            studio.close()
            assert (added, none) == (options.rows - -(-options.rows // REFUSED_EACH), 0)
            ratios.append(once / seconds)
            print(f"{options.rows} rows, {options.images} images, {path.stat().st_size / 1e6:.0f} MB")
            print(f"  bare loop, each file once     {options.rows / once:10,.0f} rows/s")
            print(f"  bare loop, an image a row     {options.rows / each:10,.0f} rows/s")
            print(f"  import                        {options.rows / seconds:10,.0f} rows/s, {seconds:.1f} s")
            print(f"  ratio                         {once / seconds:10.2f} (an image a row: {each / seconds:.2f})")
            print(f"  the same again                {options.rows / again:10,.0f} rows/s, ratio {once / again:.2f}")
            print(f"  memory beyond the start       {megabytes:10,.0f} MB, again {more:,.0f} MB")
            for name, found in (("import", waits), ("again", waits_again)):
                print(f"  decisions beside the {name:9s}{len(found):10d}, median {statistics.median(found):.0f} ms, "
                      f"slowest {max(found):.0f} ms")  # fmt: skip
        print(f"ratio, median of {options.repeats}: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
