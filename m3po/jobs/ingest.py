"""How a worker's events become rows: one transaction for the events read at a time, exactly once after any kill."""

from __future__ import annotations

import datetime as dt

import pyarrow.parquet as pq

from m3po.errors import BadInputError
from m3po.jobs import margins
from m3po.jobs.folder import RunFolder
from m3po.store import candidates, groups, judged, pair_findings, runs
from m3po.store.connection import Connection

ENDS = {"finished": "finished", "failed": "failed", "stopped": "stopped"}


class Tail:
    """What the runner remembers of a run between two looks: where its rate is measured from."""

    def __init__(self) -> None:
        self.base: tuple[float, int] | None = None
        self.unit = ""

    def rate(self, t: float, done: int, unit: str = "") -> float | None:
        """Units a second since this attempt's first progress in them: pairs a second say nothing of steps."""
        if self.base is None or done < self.base[1] or unit != self.unit:
            self.base, self.unit = (t, done), unit
            return None
        seconds = t - self.base[0]
        return (done - self.base[1]) / seconds if seconds > 0.5 and done > self.base[1] else None


def ingest_events(con: Connection, run_id: int, kind: str, config: dict, folder: RunFolder, tail: Tail) -> dict | None:
    """Read the events after the stored offset, store what they say and the new offset. Returns the ending event."""
    events, offset = folder.read_events(runs.event_offset(con, run_id))
    if not events:
        return None
    values: dict[str, object] = {"event_offset": offset}
    points: list[tuple[int, str, float | None]] = []
    warnings: list[str] = []
    ending = None
    for event in events:
        name = event["event"]
        if name == "started":
            ending = None
            tail.base = None
        elif name == "progress":
            loading = event["done"] == 0 and event.get("message")
            values.update(done=event["done"], total=event["total"], unit=event["unit"])
            if not folder.stop_path.exists():  # else it says that it stops
                values["message"] = event.get("message", "")
            values["rate"] = None if loading else tail.rate(event["t"], event["done"], event["unit"])
        elif name == "metrics":
            points += [(event["step"], key, value) for key, value in event["values"].items()]
        elif name == "shard":
            if runs.shard_is_new(con, run_id, event["name"]):
                _ingest_shard(con, run_id, kind, config, folder.shards_path / event["name"])
        elif name == "scorer" and kind == "score":
            candidates.set_scorer_range(con, config["mas_scorer"], event.get("low"), event.get("high"))
        elif name == "warning":
            warnings.append(event["message"])
        elif name in ENDS:
            ending = event
    runs.add_metrics(con, run_id, points)
    if ending:
        values["state"] = ENDS[ending["event"]]
        values["message"] = ending.get("message", "")
        values["ended_at"] = dt.datetime.fromtimestamp(ending["t"], dt.UTC).replace(tzinfo=None)
        if ending.get("final"):
            values["result"] = {"final": True}
        if ending["event"] == "finished":
            values["result"] = ending.get("result") or {}
            if kind == "train":
                warnings += _ingest_margins(con, run_id, folder)
            if kind == "score" and config.get(
                "activate", True
            ):  # another scorer takes over when all its values are there, not while they trickle in
                candidates.activate_scorers(con, config["logp_scorer"], config["mas_scorer"])
                if config.get("group_scorer"):
                    candidates.activate(con, "group", config["group_scorer"])
    runs.add_warnings(con, run_id, warnings)
    runs.update_run(con, run_id, **values)
    return ending


def _ingest_margins(con: Connection, run_id: int, folder: RunFolder) -> list[str]:
    """With the run's end, so that a finished run has them; what is wrong with them takes nothing from the adapter."""
    try:
        margins.ingest_margins(con, run_id, folder)
    except BadInputError as error:
        return [str(error)]
    return []


def _ingest_shard(con: Connection, run_id: int, kind: str, config: dict, path) -> None:
    if kind == "sample":
        candidates.ingest_samples(con, path, config["sampler"], run_id)
    elif kind == "score" and config.get("group_scorer"):
        groups.ingest_groups(con, path, config["group_scorer"], run_id)
    elif kind == "score":
        candidates.ingest_scores(con, path, config["logp_scorer"], config["mas_scorer"], run_id)
        if config.get("activate", True):
            candidates.activate_scorers(con, config["logp_scorer"], config["mas_scorer"], only_first=True)
    elif kind == "evaluate":
        runs.add_answers(con, run_id, pq.read_table(path))
    elif kind == "judge":
        judged.add_judged(con, run_id, path)
    elif kind == "preflight":
        pair_findings.add_findings(con, run_id, path)
