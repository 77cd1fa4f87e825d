"""The playground's process: `python -m m3po.jobs.playground.asking`, started and ended by the app's side of it
(m3po.jobs.playground.playground).

One JSON object a line comes in by stdin: `{"op": "ask", "question", ...}` (see Asker.answer) or `{"op": "stop",
"question"}`. Events go out by stdout, each with the `question` it belongs to and, but for `done` and `warning`, with
the `side`: `state` (words), `text` (so far, with `tokens`), `answer`, `mas`, `error` (a sentence). When stdin closes,
because its server is gone or has no use for it any more, the process ends at once.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import math
import os
import queue
import re
import sys
import threading
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from m3po.errors import BadInputError, M3poError, UsageError
from m3po.images import load_rgb, read_rgb
from m3po.jobs.batches import warnings_told
from m3po.jobs.worker import sentence_for
from m3po.models.checks import code_warning
from m3po.models.memory import is_out_of_memory, release_memory
from m3po.models.remote import RemoteClient, wait_for
from m3po.models.remote_policy import RemoteAnswer, RemotePolicy, image_url, with_images
from m3po.remote_spec import parse_remote
from m3po.settings import ModelOptions, ScoreConfig

if TYPE_CHECKING:
    from PIL import Image

    from m3po.models.alignment import AlignmentScorer
    from m3po.models.policy import Answer
    from m3po.models.sides import Sides, Speaker

SLICE = 0.25  # seconds that one side speaks before the other goes on: switching adapters takes milliseconds
TELL_EVERY = 0.05  # seconds
_RESUME = re.compile(r", then resume this run(; what was finished is kept)?")
_OUT_OF_MEMORY = (
    "Memory ran out while it answered: take a smaller image or fewer new tokens, stop what runs beside it, or take a "
    "smaller model."
)

Tell = Callable[..., None]  # tell(event, **values)


class Asker:
    """Answers one question after another; what it loaded for one it has for the next."""

    def __init__(self) -> None:
        self._sides: Sides | None = None
        self._scorer: tuple[tuple, object] | None = None

    def answer(self, asked: dict, tell: Tell, stopped: Callable[[], bool]) -> None:
        """`asked`: `sides` (one or two of policy, adapter, options), `messages` and `images` (`path`, or `data` in
        base64), `temperature`, `max_new_tokens`, `seed`, `mas` (a scorer's name and options, or None).

        What goes wrong with one side is told at that side, and the other answers.
        """
        places = range(len(asked["sides"]))
        try:
            images = [_read_image(image) for image in asked["images"]]
        except BadInputError as error:
            for place in places:
                tell("error", side=place, error=str(error))
            return
        remote = [place for place in places if parse_remote(asked["sides"][place]["policy"])]
        texts: dict[int, str] = {}
        threads = [
            threading.Thread(target=self._ask_server, args=(asked, place, images, tell, stopped, texts), daemon=True)
            for place in remote
        ]
        for thread in threads:
            thread.start()
        self._answer_here(asked, [place for place in places if place not in remote], images, tell, stopped, texts)
        for thread in threads:
            thread.join()
        if asked["mas"] and texts and not stopped():
            self._judge(asked, images, texts, tell)

    # ---- with weights -----------------------------------------------------------------------------------------

    def _answer_here(
        self, asked: dict, places: list[int], images: list, tell: Tell, stopped: Callable[[], bool], texts: dict
    ) -> None:
        speakers = self._load(asked, places, tell, stopped)
        if not speakers:
            return
        settings = {name: asked[name] for name in ("temperature", "max_new_tokens", "seed")}
        turns: deque[_Turn] = deque()
        for place, speaker in speakers.items():
            with self._told(place, tell), self._sides.speaking(speaker) as policy:
                turns.append(_Turn(place, speaker, policy.stream(asked["messages"], images, **settings)))
                tell("state", side=place, state="Reading the question")
        while turns:
            turn = turns.popleft()
            with self._told(turn.place, tell):
                with self._sides.speaking(turn.speaker) as policy:
                    ended = turn.go_on(tell, stopped)
                    if ended and turn.last is not None:
                        self._measure(policy, asked, images, turn, tell, stopped())
                        texts[turn.place] = turn.last.text
                if not ended:
                    turns.append(turn)

    def _load(
        self, asked: dict, places: list[int], tell: Tell, stopped: Callable[[], bool]
    ) -> dict[int, Speaker]:  # fmt: skip
        """The speakers that can answer; of the others is told why not."""
        if not places:
            if self._sides is not None:
                self._sides.keep([])
            return {}
        for place in places:
            tell("state", side=place, state="Starting")
        from m3po.models.sides import Sides, Speaker  # torch, which takes seconds

        self._sides = self._sides or Sides()
        sides = asked["sides"]
        speakers = {
            place: Speaker(sides[place]["policy"], sides[place]["adapter"], ModelOptions(**sides[place]["options"]))
            for place in places
        }
        self._sides.keep(list(speakers.values()))
        ready: dict[int, Speaker] = {}
        for place, speaker in speakers.items():  # all of them before the weights of any, which can take minutes
            with self._told(place, tell):
                if speaker.options.trust_remote_code:
                    tell("warning", message=code_warning(speaker.policy))
                self._sides.check(speaker)
                ready[place] = speaker
        for _ in range(2):  # an adapter that cannot be loaded takes the base that another has loaded with it
            for place, speaker in list(ready.items()):
                if stopped():
                    return {}
                with self._told(place, tell, forget=ready):
                    room = asked["max_new_tokens"]
                    self._sides.load(speaker, room, lambda text, at=place: tell("state", side=at, state=text))
        return ready

    def _measure(self, policy, asked: dict, images: list, turn: _Turn, tell: Tell, cut: bool) -> None:
        """The whole answer with its figures; log-probs as a scoring computes them (m3po.jobs.score)."""
        answer = turn.last
        seconds = turn.seconds
        tell("state", side=turn.place, state="Measuring")
        truncated = cut or answer.finish_reason == "length"
        [[scores]] = policy.log_probs([asked["messages"]], [images], [[answer.text]], [[truncated]])
        mean = scores.logp_sum / scores.n_tokens if scores.n_tokens else math.nan
        tell(
            "answer",
            side=turn.place,
            text=answer.text,
            tokens=len(answer.token_ids),
            seconds=seconds,
            finish_reason="stopped" if cut and answer.finish_reason == "length" else answer.finish_reason,
            logp_mean=mean if math.isfinite(mean) else None,
        )

    @contextlib.contextmanager
    def _told(self, place: int, tell: Tell, forget: dict | None = None) -> Iterator[None]:
        """What goes wrong inside is told in a sentence at this side."""
        try:
            yield
            return
        except Exception as error:
            traceback.print_exc()
            lost = is_out_of_memory(error)
            tell("error", side=place, error=_OUT_OF_MEMORY if lost else _sentence(error))
        if forget is not None:
            forget.pop(place, None)
        if lost:
            release_memory()

    # ---- without ----------------------------------------------------------------------------------------------

    def _ask_server(
        self, asked: dict, place: int, images: list, tell: Tell, stopped: Callable[[], bool], texts: dict
    ) -> None:
        """An OpenAI-compatible server; its answer comes whole."""
        began = time.monotonic()
        with self._told(place, tell):
            remote = parse_remote(asked["sides"][place]["policy"])
            tell("state", side=place, state=f"Asking {remote.url}")
            messages = with_images(asked["messages"], [_as_url(image) for image in images])
            settings = {name: asked[name] for name in ("temperature", "max_new_tokens", "seed")}

            async def ask() -> RemoteAnswer | None:
                async with RemoteClient(remote, concurrency=1) as client:
                    task = asyncio.ensure_future(RemotePolicy(client).sample(messages, k=1, top_p=1.0, **settings))
                    while not task.done():
                        await asyncio.wait({task}, timeout=0.1)
                        if stopped():
                            task.cancel()
                            return None
                    return task.result().answers[0]

            answer = wait_for(ask())
            if answer is None:
                tell("error", side=place, error="Stopped before the server answered.")
                return
            counted = answer.logp_sum is not None and answer.n_tokens
            texts[place] = answer.text
            tell(
                "answer",
                side=place,
                text=answer.text,
                tokens=answer.n_tokens,
                seconds=time.monotonic() - began,
                finish_reason=answer.finish_reason,
                logp_mean=answer.logp_sum / answer.n_tokens if counted else None,
                by_server=True,
            )

    # ---- the scorer -------------------------------------------------------------------------------------------

    def _judge(self, asked: dict, images: list, texts: dict[int, str], tell: Tell) -> None:
        """MAS of each answer by the workspace's active scorer."""
        for place in texts:
            tell("state", side=place, state="Asking the scorer")
        try:
            scorer = self._load_scorer(asked["mas"])
            if not images and getattr(scorer, "needs_image", True):
                raise UsageError("the scorer compares an image with a text, and there is no image.")
            [judged] = scorer.score([asked["messages"]], [images], [list(texts.values())])
        except Exception as error:
            traceback.print_exc()
            words = _OUT_OF_MEMORY if is_out_of_memory(error) else _sentence(error)
            tell("warning", message=f"There is no MAS: {words}")
            release_memory()
            return
        for place, found in zip(texts, judged, strict=True):
            tell("mas", side=place, mas=found.score if math.isfinite(found.score) else None)

    def _load_scorer(self, asked: dict) -> object:
        mark = (asked["name"], json.dumps(asked["options"], sort_keys=True))
        if self._scorer is None or self._scorer[0] != mark:
            self._scorer = None
            release_memory()
            self._scorer = mark, _load_scorer(ScoreConfig(policy=None, mas=asked["name"], **asked["options"]))
        return self._scorer[1]


class _Turn:
    """One side's answer as far as it is, and the seconds that it took."""

    def __init__(self, place: int, speaker: Speaker, stream: Iterator[Answer]) -> None:
        self.place, self.speaker, self.stream = place, speaker, stream
        self.last: Answer | None = None
        self.seconds = 0.0
        self._told = 0.0

    def go_on(self, tell: Tell, stopped: Callable[[], bool]) -> bool:
        """Speak for a SLICE; whether the answer has ended, or was stopped."""
        began = time.monotonic()
        try:
            for answer in self.stream:
                self.last, now = answer, time.monotonic()
                if now - self._told >= TELL_EVERY:
                    self._told = now
                    tell("text", side=self.place, text=self.last.text, tokens=len(self.last.token_ids))
                if stopped() or now - began >= SLICE:
                    return stopped()
            return True
        finally:
            self.seconds += time.monotonic() - began


def _load_scorer(config: ScoreConfig) -> AlignmentScorer:
    """The scorer that the config names, where its judges fit into memory; a mean with all its parts."""
    from m3po.models.alignment import load_configured
    from m3po.models.sides import Speaker, check_room

    def check(name: str, adapter: str | None) -> None:
        check_room(Speaker(name, adapter, config), 1)

    return load_configured(config, check)


def _sentence(error: Exception) -> str:
    words = _RESUME.sub(", then ask again", str(error)) if isinstance(error, M3poError) else sentence_for(error)
    if isinstance(error, BadInputError) and not isinstance(error, UsageError):
        return words[:1].upper() + words[1:]
    return words


def _read_image(image: dict) -> Image.Image:
    if "path" in image:
        return load_rgb(image["path"], name=image["name"])
    return read_rgb(base64.b64decode(image["data"]), name=image["name"])


def _as_url(image: Image.Image) -> dict:
    out = io.BytesIO()
    image.save(out, "PNG")
    return image_url(out.getvalue(), "image.png")


def main() -> None:
    """Until stdin closes. Whatever libraries print goes to stderr, which is the log."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.simplefilter("ignore", FutureWarning)  # of pinned libraries, about their own next version
    with contextlib.suppress(OSError):
        os.nice(5)  # the page and its decisions come first
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    questions: queue.Queue[dict] = queue.Queue()
    given_up: set[str] = set()
    lock = threading.Lock()

    def listen() -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if request["op"] == "stop":
                given_up.clear()  # of questions that had ended when the stop came
                given_up.add(request["question"])
            else:
                questions.put(request)
        os._exit(0)  # in the middle of an answer, too: nobody hears it any more

    threading.Thread(target=listen, daemon=True).start()
    asker = Asker()
    while True:
        asked = questions.get()
        question = asked["question"]

        def tell(event: str, question: str = question, **values: object) -> None:
            with lock:
                out.write(json.dumps({"event": event, "question": question, **values}, ensure_ascii=False) + "\n")

        try:
            with warnings_told(tell):
                asker.answer(asked, tell, lambda question=question: question in given_up)
        except Exception as error:  # a bug: told, and the next question may go well
            traceback.print_exc()
            for place in range(len(asked["sides"])):
                tell("error", side=place, error=_sentence(error))
        given_up.discard(question)
        tell("done")


if __name__ == "__main__":
    main()
