"""How long 50,000 pairs take to be written, and how much memory: the export beside a bare loop that writes them.

    python benchmarks/export_speed.py [--pairs 50000] [--images 200] [--formats mmpr trl]

Ours: the whole export (read, name the images, write, card) as a run in the background of a workspace whose pairs came
from a file. The peer, in the same run: `json.dumps` of the same records, held in memory, and one copy of each image.
Prints seconds, rows a second, and the peak of the memory beyond what the process had.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from import_speed import Memory  # noqa: E402

from m3po.settings import SelectConfig  # noqa: E402
from m3po.studio import Studio  # noqa: E402


def write_pairs(folder: Path, pairs: int, images: int) -> Path:
    (folder / "images").mkdir(parents=True)
    for number in range(images):
        Image.effect_noise((336, 336), 60 + number % 40).convert("RGB").save(folder / "images" / f"{number}.jpg")
    path = folder / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for number in range(pairs):
            row = {
                "id": f"r{number}",
                "image": f"images/{number % images}.jpg",
                "question": f"What is in it, {number}?",
            }
            row |= {"chosen": f"A red boat on the water, {number}.", "rejected": f"A car, {number}.", "split": "train"}
            file.write(json.dumps(row) + "\n")
    return path


def bare_loop(path: Path, out: Path) -> float:
    records = [json.loads(line) for line in path.open("rb")]
    start = time.perf_counter()
    (out / "images").mkdir(parents=True)
    for image in (path.parent / "images").iterdir():
        shutil.copyfile(image, out / "images" / image.name)
    with (out / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=50_000)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--formats", nargs="+", default=["mmpr", "trl"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_pairs(folder / "source", options.pairs, options.images)
        studio = Studio.open(Studio.create(folder / "workspace"))
        assert studio.import_source(path).added == options.pairs
        studio.select(SelectConfig(rule="given"))
        bare = bare_loop(path, folder / "bare")
        print(f"{options.pairs} pairs, {options.images} images; a bare loop {bare:.1f} s")
        for format in options.formats:
            memory = Memory()
            memory.start()
            start = time.perf_counter()
            run = studio.start_export(folder / format, format=format)
            while studio.run(run.id).active:
                time.sleep(0.05)
            seconds = time.perf_counter() - start
            memory.done.set()
            memory.join()
            run = studio.run(run.id)
            assert run.result["rows"] == options.pairs, run
            size = sum(file.stat().st_size for file in (folder / format).rglob("*") if file.is_file()) / 1e6
            print(f"  {format:14s} {seconds:6.1f} s, {options.pairs / seconds:8,.0f} rows/s, {size:6,.0f} MB written, "
                  f"{memory.most:5,.0f} MB of memory beyond the start")  # fmt: skip
        studio.close()


if __name__ == "__main__":
    main()
