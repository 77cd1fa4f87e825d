"""Which weights gave a score: a short name for a model's content that is cheap enough to compute at every
run.

A folder's path says nothing after it was trained anew in place, and hashing gigabytes would delay every
start. So the small files count whole and the weights by size, first and last MiB (the first holds the safetensors
header: names, shapes) and by slices of every tensor: an adapter that is merged moves some matrices and no others.
Imports no torch: the server calls it too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from m3po.files import expanded
from m3po.remote_spec import parse_remote
from m3po.scorer_spec import REMOTE_KINDS, Grouper, ScorerPart
from m3po.settings import ModelOptions

DEFAULTS = ModelOptions()
_MIB = 1024 * 1024
_SLICE = 16 * 1024
_LONGEST_HEADER = 100_000_000  # bytes, as the format has it
_WHOLE = (".json", ".jinja", ".txt", ".model")  # config, tokenizer, processor, chat template
_WEIGHTS = (".safetensors",)


def model_fingerprint(
    name: str | Path, adapter: str | Path | None = None, *, revision: str | None = None, code: bool = False
) -> str:
    """A name for what a model (and its adapter) computes: equal content gives equal text, wherever it lies.

    A local folder gives `sha256:` and 16 hex digits, and where the ends of its weights are not all of them a point and
    16 more for the slices of tensors (versions before had none: see m3po.text.same_model); a hub id gives
    `hub:<id>@<revision>`, as its content is not here to be read, and a remote spec `remote:` and the hash of its name
    and address. With an adapter both are joined by `+`. `code`: the folder's Python files are run, so they count too. A
    folder that is not there is named like a hub id: loading it is what fails, with a sentence.
    """
    base = _fingerprint(name, revision, (*_WHOLE, ".py") if code else _WHOLE)
    return base if adapter is None else f"{base}+{_fingerprint(adapter, None, _WHOLE)}"


def loaded_fingerprint(name: str, adapter: str | None, options: ModelOptions) -> str:
    """A policy or judge as it is loaded: its content, and the options under which it says something else."""
    fingerprint, changed = model_fingerprint(name, adapter, code=options.trust_remote_code), options.changed_answers()
    return f"{fingerprint}?{json.dumps(changed, sort_keys=True)}" if changed else fingerprint


def scorer_fingerprint(part: ScorerPart, options: ModelOptions = DEFAULTS) -> str:
    """What identifies a scorer: its model's content, and the way it is used where that is not the model's own.

    A CLIP or SigLIP model is known by its content alone, with or without the prefix; `options` are a judge's.
    """
    if part.kind in ("", "clip", "siglip"):
        return model_fingerprint(part.model)
    if part.kind in ("vqa", "claims"):
        return f"{part.kind}:{loaded_fingerprint(part.model, part.adapter, options)}"
    if part.kind in REMOTE_KINDS:
        from m3po.models.remote_judge import judge_fingerprint  # brings the HTTP client, which few need

        return judge_fingerprint(part.text)
    return part.text


def grouper_fingerprint(grouper: Grouper, options: ModelOptions = DEFAULTS) -> str:
    """What identifies a grouper: its model's content, how it is used (a judge: with `options`), and its threshold."""
    if grouper.kind == "judge":
        return f"{grouper.kind}:{loaded_fingerprint(grouper.model, None, options)}"
    tail = "" if grouper.threshold is None else f"@{grouper.threshold!r}"
    return f"{grouper.kind}:{model_fingerprint(grouper.model)}{tail}"


def _fingerprint(name: str | Path, revision: str | None, whole: tuple[str, ...]) -> str:
    remote = parse_remote(str(name))
    if remote:
        return f"remote:{hashlib.sha256(f'{remote.model}@{remote.url}'.encode()).hexdigest()[:16]}"
    folder = expanded(name)
    if not folder.is_dir():
        return f"hub:{name}@{revision or 'main'}"
    digest, within = hashlib.sha256(), hashlib.sha256()
    whole_is_read = True
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        if path.suffix in whole:
            content = path.read_bytes()
        elif path.suffix in _WEIGHTS:
            content = _ends(path)
            if path.stat().st_size > 2 * _MIB:
                whole_is_read = False
                for slice_ in _tensor_slices(path):
                    within.update(slice_)
        else:
            continue  # a README or an optimiser state changes nothing that is computed
        for part in (path.name.encode(), str(path.stat().st_size).encode(), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    ends = f"sha256:{digest.hexdigest()[:16]}"
    return ends if whole_is_read else f"{ends}.{within.hexdigest()[:16]}"


def _ends(path: Path) -> bytes:
    with path.open("rb") as file:
        first = file.read(_MIB)
        size = path.stat().st_size
        if size <= _MIB:
            return first
        file.seek(max(_MIB, size - _MIB))
        return first + file.read(_MIB)


def _tensor_slices(path: Path) -> Iterator[bytes]:
    """The beginning, middle and end of every tensor; nothing of a file that is no safetensors: it cannot be loaded.

    The file begins with the length of its header (8 bytes, little-endian) and the header, JSON with `data_offsets`
    (https://github.com/huggingface/safetensors#format).
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_LONGEST_HEADER, path.stat().st_size):
            return
        try:
            header = json.loads(file.read(length))
            places = sorted(
                tuple(map(int, tensor["data_offsets"])) for name, tensor in header.items() if name != "__metadata__"
            )
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return
        for start, end in places:
            for at in (start, max(start, (start + end - _SLICE) // 2), max(start, end - _SLICE)):
                file.seek(8 + length + at)
                yield file.read(min(_SLICE, end - at))
