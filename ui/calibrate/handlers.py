"""What the Calibrate tab may ask for: one command in, one answer out. Commands come from the network: checked."""

from __future__ import annotations

import math

from m3po.calibration import AUDIT, FLIPS, KNOBS, TARGET
from m3po.errors import UsageError
from m3po.settings import RULES
from m3po.studio import Studio
from ui.calibrate.view import draw_auto, draw_counts, draw_empty, draw_evidence, draw_flips
from ui.framed import BROKEN, FramedHandler
from ui.markup import Markup

PAGE = 20  # flips at a time


class CalibrateHandler(FramedHandler):
    """Commands of the Calibrate tab on one Studio: new `parts` of the page by id, as HTML."""

    def __init__(self, studio: Studio) -> None:
        super().__init__(
            "calibrate", open=self._open, what_if=self._what_if, apply=self._apply, accept=self._accept,
            accept_none=self._accept_none, audit=self._audit,
        )  # fmt: skip
        self.studio = studio

    def _open(self, data: dict, annotator: str, message: str = "") -> dict:
        report = self.studio.calibration.report(_number(data, "target", TARGET))
        current = self.studio.calibration.current()
        empty = draw_empty(report)
        if empty:
            return {"parts": {"calibrate-empty": empty}, "current": current, "empty": True, "message": message}
        auto, allowed = report["auto"], report["threshold"]
        return {
            "parts": {
                "calibrate-empty": Markup(""),
                "calibrate-evidence": draw_evidence(report),
                "calibrate-auto": draw_auto(report),
            },
            "current": current,
            "empty": False,
            "score": (auto or allowed or {}).get("score"),
            "auto": auto is not None,
            "message": message,
        }

    def _what_if(self, data: dict, annotator: str) -> dict:
        which = data.get("which") if data.get("which") in FLIPS else "all"
        offset = int(_number(data, "offset", 0))
        if offset < 0:
            raise UsageError(BROKEN)
        found = self.studio.calibration.what_if(**_knobs(data), which=which, offset=offset, limit=PAGE)
        return {
            "parts": {"calibrate-counts": draw_counts(found), "calibrate-flips": draw_flips(found)},
            "selection_id": found["selection_id"],
        }

    def _apply(self, data: dict, annotator: str) -> dict:
        seen = data.get("selection_id")
        if not isinstance(seen, int) or isinstance(seen, bool):
            raise UsageError(BROKEN)
        done = self.studio.calibration.apply(**_knobs(data), selection_id=seen)
        return self._open(data, annotator, f"Selected: {done['message']}. Decisions stay as they are.")

    def _accept(self, data: dict, annotator: str) -> dict:
        score = None if data.get("score") is None else _number(data, "score", 0.0)
        self.studio.calibration.accept_above(score, target=_number(data, "target", TARGET), annotator=annotator)
        return self._open(data, annotator)

    def _accept_none(self, data: dict, annotator: str) -> dict:
        self.studio.calibration.accept_none(annotator=annotator)
        return self._open(data, annotator)

    def _audit(self, data: dict, annotator: str) -> dict:
        size, seed = _number(data, "size", AUDIT), _number(data, "seed", 0)
        self.studio.calibration.draw_audit(int(size), seed=max(0, int(seed)), annotator=annotator)
        return self._open(data, annotator)


def _knobs(data: dict) -> dict:
    given = data.get("knobs")
    if not isinstance(given, dict) or given.get("rule") not in RULES:
        raise UsageError(BROKEN)
    return {"rule": given["rule"], **{name: _number(given, name, None) for name in KNOBS if name != "rule"}}


def _number(data: dict, name: str, default: float | None) -> float | None:
    value = data.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > 1e9:
        raise UsageError(BROKEN)
    return value
