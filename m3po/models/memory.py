"""How much memory a model and a batch take, estimated from the shapes of its weights before anything is computed.

For H = hidden width, I = inner width of the MLP, V = vocabulary, L = layers, C = numbers that one token leaves in the
key-value cache over all layers, b = bytes of a number, P = tokens of a prompt with its images, R = tokens of an answer:

- weights       the files' own bytes, at the number type that they are loaded in;
- sampling      one instruction with K answers:  C b (P + K (P + R))  +  b max(P, K) (8 H + 3 I)  +  24 K V
                (prompt's and answers' cache, one layer's activations, logits with their probabilities and sums);
- scoring       one instruction:  C b P  +  b P (8 H + 3 I),  and once, for each of the answers that are computed
                together (at most LOGIT_BUDGET logits),  12 R V  +  C b (P + R)  +  b R (8 H + 3 I);
- judging       likewise with a judge's questions, at most min(16, 2^13 / R) at once, whose last logits alone are kept:
                C b P  +  b P (8 H + 3 I)  and  12 V  +  C b (P + R)  +  b R (8 H + 3 I)  for each of them;
- training      one pair, T = 2 (P + R):  b T L H with gradient checkpointing, b T L (16 H + 4 I) without, one layer's
                b T (16 H + 4 I), and 16 bytes for each weight of the adapter (itself, its gradient, two moments).

The factors of H and I count the tensors of a gated Llama layer that are alive at once (after Korthikanti et al. 2022,
arXiv 2205.05198, without the attention matrix, which sdpa never holds). An estimate: the vision tower's activations
and what the allocator wastes are in the fifth of the free memory that is left alone. Where it errs, out of memory
halves the batch. Imports no torch.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LOGIT_BUDGET = 2**25  # float32 logits held at once when scoring: 128 MiB
JUDGE_ROWS = 16  # questions that a judge answers at once, and the
JUDGE_TOKENS = 2**13  # tokens they may have in all behind their common part
GPU_FILES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # NVIDIA, AMD, and a GPU seen from inside Windows' Linux
SHARE = 0.8  # of the free memory that a batch may take
GIB = 1024**3
_NUMBER_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_NOT_LANGUAGE = re.compile(r"vision|visual|image|projector|connector|merger|multi_modal|audio|aligner")
_LAYER = re.compile(r"\.(?:layers|h|blocks)\.(\d+)\.")
_KEY_VALUE = re.compile(r"\.(?:k_proj|v_proj)(?:\.base_layer)?\.weight$")
_INNER = re.compile(r"\.(?:gate_proj|up_proj|fc1|w1)(?:\.base_layer)?\.weight$")
_EMBEDDING = re.compile(r"(?:embed_tokens|wte|word_embeddings|tok_embeddings)\.weight$")

Tensors = Iterable[tuple[str, tuple[int, ...], int]]  # name, shape, bytes of a number


@dataclass(frozen=True)
class ModelShape:
    """What the formulas need of a model; `cache` and `adapter` are summed over all layers."""

    parameters: int
    number_bytes: int  # of most of its weights
    hidden: int
    inner: int
    vocabulary: int
    layers: int
    cache: int  # numbers that a token leaves in the key-value cache
    adapter: int  # input and output widths of the linear layers that a LoRA goes on: times its rank, its weights

    def weight_bytes(self, number_bytes: float | None = None) -> float:
        return self.parameters * (number_bytes or self.number_bytes)


def shape_of(tensors: Tensors) -> ModelShape | None:
    """The shape of a model from its tensors; None where its language model cannot be told."""
    parameters = hidden = inner = vocabulary = cache = adapter = 0
    sizes: dict[int, int] = {}
    layers: set[int] = set()
    for name, shape, number_bytes in tensors:
        count = 1
        for side in shape:
            count *= side
        parameters += count
        sizes[number_bytes] = sizes.get(number_bytes, 0) + count
        if _NOT_LANGUAGE.search(name) or len(shape) != 2:
            continue
        if _EMBEDDING.search(name):
            vocabulary, hidden = shape
        if not (layer := _LAYER.search(name)):
            continue
        layers.add(int(layer[1]))
        adapter += sum(shape)
        if _KEY_VALUE.search(name):
            cache += shape[0]
        elif _INNER.search(name):
            inner = max(inner, shape[0])
    if not (hidden and layers):
        return None
    cache = cache or 2 * hidden * len(layers)  # keys and values in one matrix: at most this much
    most = max(sizes, key=sizes.__getitem__)
    return ModelShape(parameters, most, hidden, inner or 4 * hidden, vocabulary, len(layers), cache, adapter)


def read_shape(folder: Path) -> ModelShape | None:
    """The shape of the model in `folder`, from the headers of its safetensors; None where there is none to read."""
    try:
        return shape_of(tensor for path in sorted(folder.glob("*.safetensors")) for tensor in _read_header(path))
    except (OSError, ValueError, KeyError, struct.error):
        return None


def _read_header(path: Path) -> Tensors:
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    for name, tensor in header.items():
        if name != "__metadata__":
            yield name, tuple(tensor["shape"]), _NUMBER_BYTES.get(tensor["dtype"], 2)


def sampling_bytes(shape: ModelShape, prompt: int, answer: int, k: int, number_bytes: float) -> float:
    """Memory of one instruction while `k` answers of `answer` tokens are drawn after `prompt` tokens."""
    cache = shape.cache * number_bytes * (prompt + k * (prompt + answer))
    return cache + number_bytes * max(prompt, k) * (8 * shape.hidden + 3 * shape.inner) + 24 * k * shape.vocabulary


def scoring_bytes(shape: ModelShape, prompt: int, number_bytes: float) -> float:
    """Memory of one instruction's prompt while its answers are scored."""
    return number_bytes * prompt * (shape.cache + 8 * shape.hidden + 3 * shape.inner)


def scoring_once(shape: ModelShape, prompt: int, answer: int, answers: int, number_bytes: float) -> float:
    """Memory of those of `answers` that are scored together: as many as the budget of logits allows."""
    rows = max(1, min(answers, LOGIT_BUDGET // max(1, answer * shape.vocabulary)))
    work = shape.cache * (prompt + answer) + answer * (8 * shape.hidden + 3 * shape.inner)
    return rows * (12 * answer * shape.vocabulary + number_bytes * work)


def judging_once(shape: ModelShape, prompt: int, tail: int, questions: int, number_bytes: float) -> float:
    """Memory of those of `questions` that a judge answers together, each `tail` tokens behind the common prompt."""
    rows = max(1, min(questions, JUDGE_ROWS, JUDGE_TOKENS // max(1, tail)))
    work = shape.cache * (prompt + tail) + tail * (8 * shape.hidden + 3 * shape.inner)
    return rows * (12 * shape.vocabulary + number_bytes * work)


def training_bytes(
    shape: ModelShape, prompt: int, answer: int, *, pairs: int, rank: int, checkpointing: bool, number_bytes: float
) -> float:
    """Memory of a training step over `pairs` pairs at a time, weights included."""
    tokens = 2 * pairs * (prompt + answer)
    layer = 16 * shape.hidden + 4 * shape.inner
    kept = shape.layers * (shape.hidden if checkpointing else layer)
    return shape.weight_bytes(number_bytes) + number_bytes * tokens * (kept + layer) + 16 * rank * shape.adapter


def image_tokens(folder: Path) -> int:
    """About how many tokens one image becomes: what the model's files say, else its tower's patches, else 1024."""
    files = {}
    for name in ("config.json", "processor_config.json"):
        try:
            files[name] = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            files[name] = {}
    for settings in files.values():
        for key in ("mm_tokens_per_image", "image_seq_length", "image_seq_len"):
            if isinstance(settings.get(key), int):
                return settings[key]
    vision = files["config.json"].get("vision_config") or {}
    side, patch = vision.get("image_size"), vision.get("patch_size")
    return (side // patch) ** 2 if isinstance(side, int) and isinstance(patch, int) and patch else 1024


def batch_that_fits(free: float, each: float, most: int, once: float = 0.0) -> int:
    """How many instructions at a time, from 1 to `most`."""
    return int(max(1, min(most, (SHARE * free - once) // max(each, 1))))


def say(size: float) -> str:
    """`size` bytes in GiB, small ones in MiB."""
    return f"{size / GIB:.1f} GiB" if size >= GIB / 10 else f"{max(1, size / 1024**2):.0f} MiB"


def gpu_in_sight() -> bool:
    """Whether this machine seems to have a GPU that may be used, asked without torch."""
    return _visible() != [] and any(Path(path).exists() for path in GPU_FILES)


def free_memory() -> float | None:
    """Free bytes of the first GPU, or of this machine where there is none; None where neither can be told."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    if torch is None and gpu_in_sight() and shutil.which("nvidia-smi"):
        free = _ask_driver("memory.free")
        return free[0] if free else None
    return _main_memory("MemAvailable")


def total_memory(*, every_device: bool = False) -> float | None:
    """Bytes that the first GPU has in all (or every GPU together), or this machine where there is none; None where
    neither can be told."""
    if gpu_in_sight():
        sizes = _ask_driver("memory.total")
        return (sum(sizes) if every_device else sizes[0]) if sizes else None
    return _main_memory("MemTotal")


def count_gpus() -> int:
    """How many GPUs the driver tells of, of those that CUDA_VISIBLE_DEVICES names where it is set."""
    if not gpu_in_sight():
        return 0
    found, named = len(_ask_driver("memory.total")), _visible()
    if named is None or not found:
        return found
    return sum(not name.isdecimal() or int(name) < found for name in named)


def _visible() -> list[str] | None:
    """The GPUs, numbers or UUIDs, that CUDA_VISIBLE_DEVICES names up to the first that is none (-1, say), which hides
    the others; None: all."""
    if (names := os.environ.get("CUDA_VISIBLE_DEVICES")) is None:
        return None
    return list(itertools.takewhile(re.compile(r"\d+|GPU-.+|MIG-.+").fullmatch, map(str.strip, names.split(","))))


def _ask_driver(what: str) -> list[float]:
    """Bytes of each GPU; empty where NVIDIA's tool is not there or does not say."""
    if not (tool := shutil.which("nvidia-smi")):
        return []
    command = [tool, f"--query-gpu={what}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        return [float(size) * 1024**2 for size in done.stdout.split()] if done.returncode == 0 else []
    except (OSError, subprocess.TimeoutExpired, ValueError):  # a driver that hangs, or says [N/A]
        return []


def _main_memory(what: str) -> float | None:
    try:
        found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        return None
    return float(found[1]) * 1024 if found else None


_NO_MEMORY = ("out of memory", "can't allocate memory")  # of a device, of torch's CPU allocator


def is_out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError)
        or "OutOfMemory" in type(error).__name__
        or (isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _NO_MEMORY))
    )


def release_memory() -> None:
    """Give back what a batch that did not fit has left behind."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
