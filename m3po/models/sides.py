"""Up to two policies to ask the same question: what they share is loaded once, and an adapter is switched, not merged.

In half precision that is how every job has an adapter; in float32 jobs merge it, which moves the last bits of a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from m3po.errors import ModelError
from m3po.models import memory
from m3po.models.checks import check_policy, local_folder
from m3po.models.loading import check_fit, load_adapter, load_policy_model, pick_device, pick_dtype
from m3po.models.policy import Policy
from m3po.settings import ModelOptions

_MOST_ADAPTERS = 4  # kept on one base; with more it is loaded anew
_QUANTISED = {"4bit": 0.6, "8bit": 1.1}  # bytes a number, with what bitsandbytes keeps beside it


@dataclass(frozen=True)
class Speaker:
    """One who answers: `policy` (hub id or folder), `adapter` (a folder or none), and how the policy is loaded."""

    policy: str
    adapter: str | None = None
    options: ModelOptions = field(default_factory=ModelOptions)


@dataclass
class _Base:
    """Weights that are loaded, and the adapters beside them by what they are (see _mark)."""

    policy: Policy
    peft: torch.nn.Module | None = None
    adapters: dict[tuple, str] = field(default_factory=dict)


class Sides:
    """The policies that are loaded; the last ones asked stay, as long as the next question is for them too."""

    def __init__(self) -> None:
        self._bases: dict[tuple, _Base] = {}

    def keep(self, speakers: Sequence[Speaker]) -> None:
        """Let go of weights that none of these has."""
        wanted = {_base_mark(speaker) for speaker in speakers}
        if dropped := [mark for mark in self._bases if mark not in wanted]:
            for mark in dropped:
                del self._bases[mark]
            memory.release_memory()

    def check(self, speaker: Speaker) -> None:
        """Raise ModelError for a speaker whose files show that it cannot answer: before any weights are read, which can
        take minutes."""
        check_policy(speaker.policy, speaker.adapter, speaker.options)
        base = self._bases.get(_base_mark(speaker))
        if speaker.adapter and not (base and _mark(speaker.adapter) in base.adapters):
            check_fit(speaker.policy, speaker.adapter, speaker.options)

    def load(self, speaker: Speaker, room: int, tell: Callable[[str], None] = lambda text: None) -> None:
        """See that a checked speaker's weights and adapter are there, with memory for an answer of `room` tokens.

        `tell` is given what takes long. Raises ModelError in one sentence, also for what cannot fit; after an adapter
        that failed, another speaker of the same base has to be loaded again.
        """
        mark = _base_mark(speaker)
        base = self._bases.get(mark)
        new_adapter = bool(speaker.adapter and not (base and _mark(speaker.adapter) in base.adapters))
        if base and new_adapter and len(base.adapters) >= _MOST_ADAPTERS:
            base = None
            del self._bases[mark]
            memory.release_memory()
        if base is None:
            weights = check_room(speaker, room)
            tell(f"Loading {speaker.policy}" + (f" ({memory.say(weights)} of weights)" if weights else ""))
            model, processor = load_policy_model(speaker.policy, options=speaker.options)
            base = self._bases[mark] = _Base(Policy(model, processor, speaker.policy))
        if new_adapter:
            name = f"adapter-{len(base.adapters)}"
            try:
                base.peft = load_adapter(base.peft or base.policy.model, speaker.adapter, name=name)
            except ModelError:
                del self._bases[mark]  # half an adapter may be in it
                raise
            base.policy.model = base.peft.get_base_model()
            base.adapters[_mark(speaker.adapter)] = name

    @contextmanager
    def speaking(self, speaker: Speaker) -> Iterator[Policy]:
        """The speaker's policy, loaded before, with its adapter on and no other."""
        base = self._bases[_base_mark(speaker)]
        if base.peft is not None:
            if speaker.adapter:
                base.peft.base_model.enable_adapter_layers()
                base.peft.set_adapter(base.adapters[_mark(speaker.adapter)], inference_mode=True)
            else:
                base.peft.base_model.disable_adapter_layers()
        yield base.policy

    @property
    def n_loaded(self) -> int:
        """How many times weights lie in memory."""
        return len(self._bases)


def check_room(speaker: Speaker, room: int) -> float | None:
    """Bytes of the weights, None where nothing is known of them. Raises ModelError where they do not fit."""
    folder = local_folder(speaker.policy)
    shape, free = folder and memory.read_shape(folder), memory.free_memory()
    if not shape:
        return None
    options = speaker.options
    dtype = getattr(torch, options.dtype) if options.dtype != "auto" else pick_dtype(pick_device())
    weights = shape.weight_bytes(_QUANTISED.get(options.quantise, dtype.itemsize))
    answer = memory.sampling_bytes(shape, memory.image_tokens(folder) + room, room, 1, dtype.itemsize)
    if free is not None and weights + answer > free and options.device_map != "auto":
        raise ModelError(
            f"{speaker.policy} does not fit: it takes about {memory.say(weights + answer)}, and {memory.say(free)} are "
            "free. Take a smaller model or a smaller number type, stop what runs beside it, or compare two adapters of "
            "one policy, which share its weights."
        )
    return weights


def _base_mark(speaker: Speaker) -> tuple:
    return (*_mark(speaker.policy), speaker.options)


def _mark(name: str) -> tuple:
    """What tells a model from another one, also from one that was written into the same folder since."""
    folder = Path(name).expanduser()
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return (name, *((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files))
