"""How the command line finds the process that has a workspace open, and asks it instead of opening the database.

The opener listens on a Unix socket that only its user may reach and names it in the workspace's server.json. A request
is one JSON line `{"method", "arguments"}`, the answer one JSON line `{"result"}` or `{"error", "usage"}`.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import datetime as dt
import json
import logging
import os
import shutil
import socket
import socketserver
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from m3po.errors import BadInputError, M3poError, UsageError, WorkspaceError
from m3po.files import absolute
from m3po.jobs.transfer.importing import describe
from m3po.jobs.worker import sentence_for
from m3po.settings import EvaluateConfig, SampleConfig, ScoreConfig, SelectConfig, TrainConfig
from m3po.store.workspace import is_open_elsewhere, is_workspace, read_server
from m3po.studio import Studio
from m3po.training.presets import build_train_config

log = logging.getLogger("m3po.bridge")

CONNECT_SECONDS = 10.0  # an app that is just starting needs a moment until it listens

# What may be asked. Each takes a Studio and plain values, and returns plain values or dataclasses.
METHODS: dict[str, Callable[..., object]] = {
    "hello": lambda studio: True,
    "status": lambda studio: studio.status(),
    "import": lambda studio, source, **options: describe(studio.import_source(source, **options)),
    "start_import": lambda studio, source, **options: studio.start_import(source, **options),
    "preview": lambda studio, source, **options: studio.preview_import(source, **options),
    "sample": lambda studio, **options: studio.start_sample(_with_policy(SampleConfig, studio, options)),
    "score": lambda studio, **options: studio.start_scoring(_score_config(studio, options)),
    "scorers": lambda studio: studio.scorers(),
    "use_scorer": lambda studio, scorer: studio.use_scorer(scorer),
    "dependence": lambda studio, limit, seed: studio.start_dependence(limit, seed),
    "dependence_report": lambda studio: studio.dependence.report(),
    "pilot": lambda studio, **options: studio.start_pilot(_with_policy(SampleConfig, studio, options)),
    "select": lambda studio, **options: studio.select(SelectConfig(**options)),
    "train": lambda studio, evaluate, **given: studio.start_train(_train_config(studio, **given), evaluate=evaluate),
    "emit_train": lambda studio, out, **given: studio.emit_train(_train_config(studio, **given), Path(out)),
    "absorb_train": lambda studio, folder, **options: studio.absorb_train(Path(folder), **options),
    "round": lambda studio, run_id: studio.start_round(run_id),
    "export_adapter": lambda studio, run_id, out: studio.export_adapter(run_id, Path(out)),
    "merge": lambda studio, run_id, out: studio.start_merge(run_id, Path(out)),
    "preflight": lambda studio, **given: studio.run(studio.preflight.start(_train_config(studio, **given))),
    "preflight_report": lambda studio, **given: studio.preflight.report(_train_config(studio, **given)),
    "train_preview": lambda studio, **given: studio.train_preview(_train_config(studio, **given)),
    "pair_findings": lambda studio, **options: studio.preflight.findings(**options),
    "exclude": lambda studio, run_id, kinds: studio.preflight.exclude(run_id, kinds),
    "include": lambda studio, ids: studio.preflight.include(instruction_ids=[_instruction(studio, id) for id in ids]),
    "compare": lambda studio, given, **options: studio.comparisons.start(
        _train_config(studio, **given), asked=list(given["overrides"]), **options
    ),
    "stop_comparison": lambda studio, comparison: studio.comparisons.stop(comparison),
    "comparison": lambda studio, comparison: studio.comparisons.report(comparison),
    "write_comparison": lambda studio, **options: studio.comparisons.write(**options),
    "playground_image": lambda studio, data, name: studio.playground.upload(base64.b64decode(data), name),
    "playground_item": lambda studio, text: studio.playground.item(text),
    "ask": lambda studio, **options: studio.playground.ask(**options),
    "look": lambda studio, **options: studio.playground.look(**options),
    "stop_asking": lambda studio: studio.playground.stop(),
    "evaluate": lambda studio, **options: studio.start_evaluate(_with_policy(EvaluateConfig, studio, options)),
    "run": lambda studio, run_id: studio.run(run_id),
    "warnings": lambda studio, run_id: studio.run_warnings(run_id),
    "stop": lambda studio, run_id: studio.stop_run(run_id),
    "stop_training": lambda studio, run_id: studio.stop_training(run_id),
    "stop_everything": lambda studio: studio.stop_everything(),
    "resume": lambda studio, run_id: studio.resume_run(run_id),
    "results": lambda studio: studio.results(),
    "result_report": lambda studio, run_id: studio.reports.read(run_id),
    "write_results": lambda studio, out, run_id: studio.reports.write(Path(out), run_id),
    "build_pope": lambda studio, per_image: studio.build_pope(per_image),
    "win_rate": lambda studio, run_id, **options: studio.judging.start(run_id, **options),
    "lineage": lambda studio, run_id: studio.lineage.read(run_id),
    "diff_runs": lambda studio, **options: studio.lineage.diff(**options),
    "what_if": lambda studio, **options: studio.calibration.what_if(**options),
    "apply_what_if": lambda studio, **options: studio.calibration.apply(**options),
    "calibration": lambda studio, target: studio.calibration.report(target),
    "accept_above": lambda studio, **options: studio.calibration.accept_above(**options),
    "accept_none": lambda studio: studio.calibration.accept_none(),
    "draw_audit": lambda studio, **options: studio.calibration.draw_audit(**options),
    "assign": lambda studio, annotators, **options: studio.people.assign(annotators, **options),
    "overlap": lambda studio, assignment_id, overlap: studio.people.set_overlap(assignment_id, overlap),
    "gold": lambda studio, text, remove: _gold(studio, text, remove),
    "people": lambda studio: studio.people.overview(),
    "history": lambda studio, out: studio.people.write_history(out),
    "guideline": lambda studio, version: _guideline(studio, version),
    "write_guideline": lambda studio, **options: studio.guideline.write(**options),
    "export": lambda studio, out, **options: studio.start_export(out, **options),
}


def _gold(studio: Studio, text: str, remove: bool) -> dict | None:
    return (studio.people.unmark_gold if remove else studio.people.mark_gold)(_instruction(studio, text))


def _instruction(studio: Studio, text: str) -> int:
    instruction_id = studio.find_instruction(text)
    if instruction_id is None:
        raise BadInputError(f"No instruction has the id {text!r}.")
    return instruction_id


def _guideline(studio: Studio, version: int | None) -> dict:
    found = studio.guideline.current() if version is None else studio.guideline.version(version)
    return dataclasses.asdict(found) | {"versions": studio.guideline.versions()}


def _given(options: dict) -> dict:
    return {name: value for name, value in options.items() if value is not None}


def _with_policy(kind: type, studio: Studio, options: dict) -> object:
    """A config from options, with the workspace's own policy where they name none."""
    given = _given(options)
    return kind(**given if "policy" in given else {"policy": studio.default_sample().policy, **given})


def _score_config(studio: Studio, options: dict) -> ScoreConfig:
    given = _given(options)
    only_groups = "group" in given and not given.keys() & {"policy", "mas"}
    return ScoreConfig(**({"policy": None, "mas": None} if only_groups else studio.own_models) | given)


def _train_config(
    studio: Studio, policy: str | None, preset: str, overrides: dict[str, str], adapter: str | None = None
) -> TrainConfig:
    return build_train_config(policy or studio.default_train(preset).policy, preset, overrides, adapter)


def call(studio: Studio, method: str, arguments: dict) -> object:
    """Run one of METHODS; the result as it comes back from JSON, so that both ways in look alike."""
    return json.loads(json.dumps(METHODS[method](studio, **arguments), default=_plain))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dt.datetime):
        return value.isoformat() + "Z"
    return str(value)


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            try:
                request = json.loads(line)
                answer = {"result": call(self.server.studio, request["method"], request["arguments"])}
            except M3poError as error:
                answer = {"error": str(error), "usage": isinstance(error, UsageError)}
            except Exception as error:
                log.exception("a request of the command line failed")
                answer = {"error": sentence_for(error)}
            with contextlib.suppress(BrokenPipeError):
                self.wfile.write(json.dumps(answer).encode() + b"\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    """Knows the threads of its guests, from the moment they are let in until they are gone to the last."""

    def __init__(self, path: str, studio: Studio) -> None:
        super().__init__(path, _Handler)
        self.studio = studio
        self.threads: list[threading.Thread] = []

    def process_request(self, request: object, client_address: object) -> None:
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self.threads = [*filter(threading.Thread.is_alive, self.threads), thread]
        thread.start()

    def wait(self, patience: float | None) -> None:
        """Until every guest's thread has ended. Not only its answer: a thread that lets go of its database cursor while
        Python ends takes the process down."""
        deadline = None if patience is None else time.monotonic() + patience
        for thread in self.threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))


class Listener:
    """Answers the command line as long as a Studio is open in this process."""

    def __init__(self, studio: Studio, address: str = "") -> None:
        # Not in the workspace: a socket's path may have 107 bytes at most. The folder is for its owner alone.
        self._folder = tempfile.mkdtemp(prefix="m3po-")
        self.path = str(Path(self._folder) / "socket")
        self._server = _Server(self.path, studio)
        threading.Thread(target=self._server.serve_forever, name="bridge", daemon=True).start()
        studio.workspace.announce(address, self.path)

    def close(self, patience: float | None = None) -> None:
        """Take nobody in any more, then wait for those who are being served: at most `patience` seconds, or to the end.

        The database closes after this: a guest in the middle of a command would be cut off.
        """
        self._server.shutdown()
        self._server.server_close()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._server.wait(patience)


class Client:
    """The workspace of another process, over its socket."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rwb")

    def call(self, method: str, **arguments: object) -> object:
        """The result, or the other side's sentence raised as M3poError."""
        try:
            self._file.write(json.dumps({"method": method, "arguments": arguments}).encode() + b"\n")
            self._file.flush()
            line = self._file.readline()
        except OSError as error:
            raise WorkspaceError("The app that has the workspace open went away: call the command again.") from error
        if not line:
            raise WorkspaceError("The app that has the workspace open went away: call the command again.")
        answer = json.loads(line)
        if "error" in answer:
            raise (UsageError if answer.get("usage") else M3poError)(answer["error"])
        return answer["result"]

    def close(self) -> None:
        self._file.close()
        self._socket.close()


class Local:
    """The same, with the workspace open in this process; it listens too, so that a second command can ask."""

    def __init__(self, path: Path) -> None:
        self.studio = Studio.open(path)
        try:
            self.listener = Listener(self.studio)
        except BaseException:
            self.studio.close()
            raise

    def call(self, method: str, **arguments: object) -> object:
        return call(self.studio, method, arguments)

    def close(self) -> None:
        self.listener.close()
        self.studio.close()


@contextmanager
def connect(path: Path) -> Iterator[Client | Local]:
    """The workspace, wherever it is open; opened here when it is open nowhere.

    Raises WorkspaceError when it is none, or when its opener does not answer.
    """
    path = absolute(path)
    client = _find(path) if is_workspace(path) else Local(path)  # Local says what is wrong with the folder
    try:
        yield client
    finally:
        client.close()


def _find(path: Path) -> Client | Local:
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        where = read_server(path)
        try:
            if not is_open_elsewhere(path):
                return Local(path)
            client = Client(where.get("socket") or os.devnull)
            client.call("hello")  # one that is closing takes nobody in, though the system may have let us queue
            return client
        except (OSError, WorkspaceError) as error:
            if isinstance(error, WorkspaceError) and not is_open_elsewhere(path):
                raise
            if time.monotonic() > deadline:
                who = where.get("address") or f"process {where.get('pid', '?')}"
                raise WorkspaceError(
                    f"{path} is open in another app ({who}) that does not answer: stop it, then call this again."
                ) from None
            time.sleep(0.2)
