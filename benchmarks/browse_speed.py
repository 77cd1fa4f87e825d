"""What one brush on Browse costs: the density and all histograms of a million pairs, against numpy's histogram2d.

    python benchmarks/browse_speed.py [--pairs 1000000]

Both count the same pairs, under two ranges and a lasso, in the same run; the times are CPU times: a busy machine
tells the same.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from m3po.browsing import BINS, COLUMNS, ROWS
from m3po.store.review_index import ReviewIndex
from m3po.studio import Studio
from m3po.types import PAIR_MEASURES, Area, Range, ReviewView
from m3po.workspace_config import WorkspaceConfig

TIMES = 9
LASSO = tuple((0.6 + 0.3 * math.cos(k / 6), 0.1 + 0.3 * math.sin(k / 6)) for k in range(38))
VIEW = ReviewView(ranges=(Range("m3p_score", 0.4), Range("logp_margin", None, 0.5)), area=Area("rejected", LASSO))


class Drawn(ReviewIndex):
    """An index of pairs drawn by chance, whatever the database says."""

    def __init__(self, pairs: int) -> None:
        super().__init__()
        draw = np.random.default_rng(0)
        self.ids = np.arange(1, pairs + 1)
        self.has_pair = np.ones(pairs, bool)
        self.measures = {name: draw.normal(0.5, 0.3, pairs) for name in PAIR_MEASURES}
        beliefs = draw.beta(5, 2, (2, pairs)).astype(np.float32)
        aligned = draw.normal(0.1, 0.2, (2, pairs)).astype(np.float32)
        self.points = {role: (beliefs[n], aligned[n]) for n, role in enumerate(("chosen", "rejected"))}
        self._forget_decisions()

    def refresh(self, con: object) -> None:
        pass


def clock(work: Callable[[], object]) -> tuple[float, float]:
    """Median CPU milliseconds of the calls after the first, and those of the first."""
    taken = []
    for _ in range(TIMES):
        begin = time.process_time()
        work()
        taken.append((time.process_time() - begin) * 1e3)
    return median(taken[1:]), taken[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=1_000_000)
    index = Drawn(parser.parse_args().pairs)
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio.open(Studio.create(Path(folder) / "workspace", WorkspaceConfig()))
        try:
            studio.browsing._index = index
            everything, lasso = ReviewView(), index._in_area(VIEW.area)
            confidence, mas = index.points["rejected"]
            ranged = (index.measures["m3p_score"] >= 0.4) & (index.measures["logp_margin"] <= 0.5)

            def peer() -> None:
                np.histogram2d(confidence[ranged], mas[ranged], (ROWS, COLUMNS))
                for values in index.measures.values():
                    np.histogram(values[ranged & lasso], BINS)

            rows = [
                ("all pairs", clock(lambda: studio.browsing.look(everything))),
                ("two ranges and a lasso", clock(lambda: studio.browsing.look(VIEW))),
                ("numpy's histograms, masks ready", clock(peer)),
            ]
        finally:
            studio.close()
    print(f"{len(index.ids):,} pairs; CPU milliseconds{'':10}{'median':>8}{'first':>8}")
    for name, (middle, first) in rows:
        print(f"{name:40}{middle:8.0f}{first:8.0f}")
    print(f"ratio to numpy's {rows[1][1][0] / rows[2][1][0]:.2f}")


if __name__ == "__main__":
    main()
