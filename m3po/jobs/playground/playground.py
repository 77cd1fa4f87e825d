"""The playground: any image and question, one model or two side by side. The models live in a process of their own
(m3po.jobs.playground.asking), which is kept for the next question and let go when nobody asks for a while.

Images are uploads, kept here in memory, or the workspace's own by their address: no path comes from the page.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import math
import secrets
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from m3po.errors import BadImageError, BadInputError, JobError, M3poError, UsageError
from m3po.images import inspect_bytes
from m3po.jobs.playground.asking_process import AskingProcess
from m3po.jobs.playground.speakers import Side, describe, has_adapter, name_side, resolve, usable_scorer
from m3po.jobs.runner import JobRunner
from m3po.jobs.worker import OFFLINE
from m3po.scorer_spec import short_name
from m3po.store import instructions, runs
from m3po.store.workspace import Workspace
from m3po.text import build_messages, check_typed
from m3po.types import ImageRef, Instruction, Run
from m3po.users import OWNER
from m3po.workspace_config import WorkspaceConfig

IDLE_SECONDS = 600.0
STOP_SECONDS = 3.0  # after which a process that does not stop, as while it loads a model, is ended
MOST_BYTES = 25 * 2**20  # of an upload
MOST_UPLOADS = 12  # kept, the newest
MOST_IMAGES = 8
MOST_QUESTION = 20_000  # characters
SLOW = "A run is at work on this machine: answers come more slowly."


@dataclass
class _Answer:
    """A side as it is told: what it is called, what it said so far, and its figures when it is done."""

    name: str
    state: str = "Waiting"
    text: str = ""
    tokens: int | None = None
    seconds: float | None = None
    finish_reason: str = ""
    logp_mean: float | None = None
    by_server: bool = False
    mas: float | None = None
    error: str = ""
    whole: bool = False


@dataclass
class _Question:
    id: str
    asked_by: str
    sides: list[_Answer]
    places: list[int]  # of the sides that the process was given
    notes: list[str] = field(default_factory=list)
    scorer: str = ""
    done: bool = False
    version: int = 0
    stopped: bool = False


_TOLD = {field.name for field in dataclasses.fields(_Answer)} - {"name", "whole"}


class Playground:
    """One question at a time; the last one asked can be looked at until the next."""

    def __init__(self, workspace: Workspace, runner: JobRunner) -> None:
        self._workspace, self._runner = workspace, runner
        self._change = threading.Condition()
        self._process: AskingProcess | None = None
        self._offline = False
        self._question: _Question | None = None
        self._uploads: OrderedDict[str, bytes] = OrderedDict()
        self._idle: threading.Timer | None = None
        self._adapted: set[int] = set()  # finished runs whose adapter was seen: it stays

    # ---- what can be chosen -----------------------------------------------------------------------------------

    def choices(self) -> dict:
        """`policy` (the workspace's own, or ""), `runs` (finished trainings with their adapters, newest first: `run`,
        `name`, `began`), `scorer` (whose MAS each answer gets, or ""), `why_no_mas`, `loaded` (whether a process holds
        models), `busy` (whether a run is at work: SLOW)."""
        config = self._workspace.read_config()
        found = self._workspace.db.read(lambda con: runs.read_runs(con, ("train",), limit=1000))
        scorer, why = usable_scorer(self._workspace, config)
        with self._change:
            loaded = self._process is not None and self._process.alive
        return {
            "policy": config.policy or "",
            "runs": [describe(run) for run in found if self._has_adapter(run)],
            "scorer": short_name(scorer.mas) if scorer else "",
            "why_no_mas": why,
            "loaded": loaded,
            "busy": SLOW if self._run_at_work() else "",
        }

    def _has_adapter(self, run: Run) -> bool:
        if run.id not in self._adapted:
            if not has_adapter(self._runner, run):
                return False
            self._adapted.add(run.id)
        return True

    def upload(self, data: bytes, name: str = "upload") -> str:
        """Keep an image for the next questions; returns its address, the SHA-256. Raises BadImageError."""
        if len(data) > MOST_BYTES:
            raise BadImageError(
                f"Image {name} has {len(data) / 2**20:.0f} MiB, and an upload at most {MOST_BYTES // 2**20}: scale it "
                "down."
            )
        sha256 = inspect_bytes(data, name=name).sha256
        with self._change:
            self._uploads[sha256] = data
            self._uploads.move_to_end(sha256)
            while len(self._uploads) > MOST_UPLOADS:
                self._uploads.popitem(last=False)
        return sha256

    def uploaded(self, sha256: str) -> bytes | None:
        """The bytes of an image that was uploaded, as long as it is kept."""
        with self._change:
            return self._uploads.get(sha256)

    def item(self, text: str) -> Instruction:
        """An instruction of the workspace by its id, with its images. Raises BadInputError where there is none."""
        found = self._workspace.db.read(lambda con: instructions.find_instruction(con, text))
        if found is None:
            raise BadInputError(f"No instruction has the id {text!r:.80}.")
        return self._read(found)

    def next_heldout(self, after: int | None = None) -> Instruction:
        """The first instruction of the held-out split whose images are others than those of instruction `after`, behind
        it; from the beginning again after the last. Raises BadInputError where the split has no image."""
        found = self._workspace.db.read(lambda con: instructions.next_pictured(con, "heldout", after))
        if found is None:
            raise BadInputError("The held-out split has no image: import some with split = heldout.")
        return self._read(found)

    def _read(self, instruction_id: int) -> Instruction:
        images = self._workspace.images
        return self._workspace.db.read(lambda con: instructions.read_instruction(con, instruction_id, images))

    # ---- asking -----------------------------------------------------------------------------------------------

    def ask(
        self,
        question: str,
        sides: Sequence[Side | Mapping],
        *,
        images: Sequence[str] = (),
        item: int | None = None,
        temperature: float = 0.0,
        max_new_tokens: int = 128,
        seed: int = 0,
        mas: bool = True,
        options: Mapping | None = None,
        asked_by: str = OWNER.name,
    ) -> str:
        """Begin to answer; returns the question's id, for `look`.

        `images`: addresses. `item`: the instruction that image and question are of; where they are, its system text and
        earlier turns come along, as in an evaluation. `options`: model options of both sides; without them a run's are
        those that it was trained with. Raises M3poError in one sentence.
        """
        _check_number("temperature", temperature, 0, 10)
        _check_number("max_new_tokens", max_new_tokens, 1, 8192, whole=True)
        _check_number("seed", seed, 0, 2**63 - 1, whole=True)
        check_typed(question, "The question")
        if not question.strip():
            raise UsageError("Type a question first.")
        if len(question) > MOST_QUESTION:
            raise UsageError(f"The question has more than {MOST_QUESTION:,} characters: shorten it.")
        if not 1 <= len(sides) <= 2:
            raise UsageError("One model or two can answer.")
        config = self._workspace.read_config()
        given = [side if isinstance(side, Side) else Side(**side) for side in sides]
        answers, speakers = self._resolve(config, given, options)
        judge, why = usable_scorer(self._workspace, config) if mas else (None, "")
        asked = {
            "op": "ask",
            "question": secrets.token_hex(8),
            "sides": list(speakers.values()),
            "messages": self._messages(question, images, item),
            "images": [self._image(address) for address in images],
            "temperature": float(temperature),
            "max_new_tokens": int(max_new_tokens),
            "seed": int(seed),
            "mas": judge and {"name": judge.mas, "options": judge.model_options()},
        }
        told = _Question(asked["question"], asked_by, answers, list(speakers))
        told.scorer = short_name(judge.mas) if judge else ""
        told.notes += [SLOW] if self._run_at_work() else []
        told.notes += [why] if why else []
        self._begin(told, asked, offline=not config.remote)
        return told.id

    def look(self, question: str, seen: int = -1, patience: float = 0.0) -> dict:
        """The question as it is: `sides` (see _Answer), `notes`, `scorer`, `done`, `version`. Waits up to `patience`
        seconds for another version than `seen`. Raises JobError for one that is not the last one asked."""
        with self._change:
            self._change.wait_for(lambda: self._named(question).version != seen, patience)
            return dataclasses.asdict(self._named(question))

    def _named(self, question: str) -> _Question:
        if self._question is None:
            raise JobError("The app was started anew since, and the answer is lost: ask again.")
        if self._question.id != question:
            raise JobError("Another question was asked since: its answer stands in the place of this one.")
        return self._question

    def stop(self) -> None:
        """End what is being answered, both sides at once; what they said until then stays."""
        with self._change:
            asked, process = self._question, self._process
            if asked is None or asked.done:
                return
            asked.stopped = True
        if process is not None:  # without the lock: a pipe that is full makes one wait
            threading.Thread(target=_send_stop, args=(process, asked.id), daemon=True).start()
        with self._change:
            if self._change.wait_for(lambda: asked.done, STOP_SECONDS):
                return
        self.release(only=asked.id)

    def release(self, only: str | None = None) -> None:
        """End the process and give back the memory of its models; with `only`, if that is still the last question."""
        with self._change:
            if only is not None and (self._question is None or self._question.id != only):
                return
            process, self._process = self._process, None
            self._cancel_idle()
            self._finish(self._question, "Stopped.")
        if process is not None:
            process.end()

    def _resolve(
        self, config: WorkspaceConfig, sides: Sequence[Side], options: Mapping | None
    ) -> tuple[list[_Answer], dict[int, dict]]:
        """All sides as they are told, and those that can answer, by their places. Raises what is wrong if none can."""
        answers, speakers, wrong = [], {}, None
        for place, side in enumerate(sides):
            try:
                found = resolve(self._workspace, self._runner, config, side, options)
            except M3poError as error:
                wrong = wrong or error
                answers.append(_Answer(name_side(side), state="", error=str(error)))
                continue
            answers.append(_Answer(found["name"]))
            speakers[place] = {name: found[name] for name in ("policy", "adapter", "options")}
        if not speakers:
            raise wrong
        return answers, speakers

    def _messages(self, question: str, images: Sequence[str], item: int | None) -> list[dict]:
        of_item = self._read(item) if item is not None else None
        if of_item and of_item.instruction == question and [i.sha256 for i in of_item.images] == list(images):
            return build_messages(question, len(images), system=of_item.system, turns=of_item.turns)
        return build_messages(question, len(images))

    def _image(self, address: str) -> dict:
        """An upload's bytes, or where a stored image lies. Raises BadImageError for an address of neither."""
        if (data := self.uploaded(address)) is not None:
            return {"data": base64.b64encode(data).decode(), "name": "that was uploaded"}
        images = self._workspace.images
        found: ImageRef | None = self._workspace.db.read(lambda con: instructions.image_by_sha(con, address, images))
        if found is None:
            raise BadImageError("The image is not here any more: choose it again.")
        return {"path": str(found.path), "name": address[:12]}

    def _run_at_work(self) -> bool:
        active = self._workspace.db.read(runs.read_active)
        return any(run.state == "running" for run in active)

    # ---- the process ------------------------------------------------------------------------------------------

    def _begin(self, told: _Question, asked: dict, *, offline: bool) -> None:
        with self._change:
            if self._question is not None and not self._question.done:
                whose = self._question.asked_by
                who = "Another question" if whose in (told.asked_by, OWNER.name) else f"A question of {whose}"
                raise JobError(f"{who} is being answered: wait for it, or press Stop first.")
            self._cancel_idle()
            old = refused = None
            if self._process is None or not self._process.alive or self._offline != offline:
                old, self._process = self._process, None
                try:
                    self._process = self._start(offline)
                except OSError as error:
                    refused = JobError(
                        f"The process that answers cannot be started ({error.strerror}): end what fills the memory or "
                        "the disk of this machine, then ask again."
                    )
            if refused is None:
                self._question = told
            process = self._process
            self._change.notify_all()
        if old is not None:
            old.end()
        if refused is not None:
            raise refused
        try:
            process.send(asked)
        except JobError as error:
            with self._change:
                self._finish(told, str(error))

    def _start(self, offline: bool) -> AskingProcess:
        self._offline = offline
        environment = {"HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1"}
        environment |= dict.fromkeys(OFFLINE, "1") if offline else {}
        log_path = self._workspace.path / "playground.log"
        return AskingProcess(log_path, self._on_event, self._on_end, environment=environment)

    def _on_event(self, event: dict) -> None:
        with self._change:
            asked = self._question
            if asked is None or asked.done or event["question"] != asked.id:
                return
            kind = event["event"]
            if kind == "done":
                self._finish(asked, "Stopped." if asked.stopped else "It gave no answer.")
                return
            if kind == "warning":
                asked.notes.append(event["message"])
            else:
                side = asked.sides[asked.places[event["side"]]]
                for name in event.keys() & _TOLD:
                    setattr(side, name, event[name])
                side.state = {"text": "Answering", "answer": "", "mas": "", "error": ""}.get(kind, side.state)
                side.whole = side.whole or kind == "answer"
            asked.version += 1
            self._change.notify_all()

    def _on_end(self, process: AskingProcess, sentence: str) -> None:
        with self._change:
            if self._process is not process:
                return
            self._process = None
            self._finish(self._question, "Stopped." if self._question and self._question.stopped else sentence)

    def _finish(self, asked: _Question | None, lacks: str) -> None:
        """No more is said of it; `lacks` is told at a side without an answer. The caller holds the lock."""
        if asked is None or asked.done:
            return
        for side in asked.sides:
            side.state = ""
            if not side.whole and not side.error:
                side.error = lacks
        asked.done = True
        asked.version += 1
        self._change.notify_all()
        if self._process is not None:
            self._idle = threading.Timer(IDLE_SECONDS, self._on_idle, [asked.id])
            self._idle.daemon = True
            self._idle.start()

    def _on_idle(self, question: str) -> None:
        self.release(only=question)  # a question that is asked cancels the timer of the one before

    def _cancel_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


def _send_stop(process: AskingProcess, question: str) -> None:
    with contextlib.suppress(JobError):  # its end is told by itself
        process.send({"op": "stop", "question": question})


def _check_number(name: str, value: object, low: float, high: float, *, whole: bool = False) -> None:
    fine = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fine or not low <= value <= high or (whole and value != int(value)):
        kind = "a whole number" if whole else "a number"
        told = f"{name} is empty" if value is None else f"{name} = {value!r:.40} cannot be used"
        raise UsageError(f"{told}: give {kind} from {low} to {high}.")
