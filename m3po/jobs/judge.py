"""Worker that judges the answers of two evaluations: `python -m m3po.jobs.judge runs/<id>`; as m3po.jobs.score, whose
input, config and output it has. Candidate 0 is the first evaluation's answer, 1 the second's."""

from __future__ import annotations

from m3po.jobs.score import run
from m3po.jobs.worker import main

if __name__ == "__main__":
    main(run)
