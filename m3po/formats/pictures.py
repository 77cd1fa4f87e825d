"""The images of a row, however it brings them: paths beside the file, bytes, data URIs, structs of bytes and path."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from m3po.errors import BadImageError, BadInputError
from m3po.formats.checks import check_characters
from m3po.formats.lines import type_name
from m3po.images import ImageInfo, inspect_bytes, inspect_image

REMEMBERED_IMAGES = 50_000

KeepImage = Callable[[bytes, ImageInfo], Path]  # writes an image that came as bytes and says where it lies now


class Pictures:
    """Finds and checks the images of one source: files under `root` (None: it has no files), and bytes.

    `keep` is given every image that comes as bytes; `allow_outside(path, info)` may admit a file outside of `root`.
    """

    def __init__(
        self, root: Path | None, keep: KeepImage, allow_outside: Callable[[Path, ImageInfo], bool] | None = None
    ) -> None:
        self.root = root
        self._real_root = root.resolve() if root else None
        self._keep = keep
        self._allow_outside = allow_outside or (lambda path, info: False)
        self._looked_at: dict[str, tuple[Path, ImageInfo]] = {}

    def look_at(self, value: object, number: int = 1) -> tuple[Path, ImageInfo]:
        """Where an image lies, and what is known of it. `number` counts within the row. Raises BadInputError.

        `value` is a path, bytes, a data URI, or `datasets`' struct of bytes and path. A good file is looked at once,
        for rows that share an image are many.
        """
        name = f"image {number}"
        if isinstance(value, Mapping):
            path = value.get("path")
            if value.get("bytes") is None and path is None:
                raise BadInputError(f"{name} has neither bytes nor a path; add one of them")
            if value.get("bytes") is not None:
                value, name = value["bytes"], _shown(path) if isinstance(path, str) and path else name
                if not isinstance(value, bytes):
                    raise BadInputError(f"the bytes of {name} are {type_name(value)}; store them as binary")
            else:
                value = path
        if isinstance(value, str) and value.startswith("data:"):
            value = _decode_data_uri(value, name)
        if isinstance(value, bytes):
            info = inspect_bytes(value, name=name)
            return self._keep(value, info), info
        if not isinstance(value, str):
            raise BadInputError(f"an image must be a path in quotes, not {type_name(value)}; name the file")
        known = self._looked_at.get(value)
        if known is None:
            known = self._look_at_file(value)
            if len(self._looked_at) >= REMEMBERED_IMAGES:
                self._looked_at.clear()
            self._looked_at[value] = known
        return known

    def _look_at_file(self, value: str) -> tuple[Path, ImageInfo]:
        shown = _shown(value)
        check_characters(value, "the image path")
        if not value.strip():
            raise BadInputError("an image path is empty; name the file")
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", value):
            raise BadInputError(f"image {shown} is an address, not a file; download it and name the file")
        if self.root is None:
            raise BadInputError(f"image {shown} is a file name and the data set brings no files; download it first")
        path = self._resolve(value, shown)
        if path.is_relative_to(self._real_root):
            return path, inspect_image(path, name=shown)
        refusal = BadImageError(
            f"image {shown} lies outside {self.root.name or self.root}; copy it into that folder, or name the folder "
            "that the images lie in by --images"
        )
        try:
            info = inspect_image(path, name=shown)
        except BadImageError:
            raise refusal from None
        if not self._allow_outside(path, info):
            raise refusal
        return path, info

    def _resolve(self, value: str, shown: str) -> Path:
        """The absolute path without symbolic links; in `images/` where it is only there."""
        try:
            path = (self.root / value).resolve()
            beside = (self.root / "images" / value).resolve()
        except (OSError, RuntimeError, ValueError) as error:  # a loop of symbolic links
            raise BadInputError(f"image {shown} cannot be found ({error}); correct the path") from error
        return beside if not _exists(path) and _exists(beside) else path


def image_list(record: Mapping[str, object], keys: Sequence[str]) -> list[object]:
    """The images under the first of `keys` that is there; one image counts as a list of one, null as none."""
    for key in keys:
        value = record.get(key)
        if value is not None:
            return as_images(value, key)
    return []


def as_images(value: object, what: str) -> list[object]:
    """One image or several, each a path, bytes, or a struct of bytes and path; a text may hold a JSON list."""
    if isinstance(value, str):
        listed = as_json_list(value)
        return [value] if listed is None else listed
    if isinstance(value, bytes) or (isinstance(value, dict) and value.keys() & {"bytes", "path"}):
        return [value]
    if not isinstance(value, list):
        raise BadInputError(f"{what} must be a path or a list of paths, not {type_name(value)}; correct it")
    return value


def as_json_list(text: str) -> list | None:
    """The list that a cell of a table holds as JSON, if it does."""
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list) else None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name longer than the file system allows
        return False


def _shown(path: str) -> str:
    """A path as a message may hold it: no line break, no terminal code, not endless."""
    text = path if path.isprintable() else ascii(path)
    return text if len(text) <= 200 else text[:200] + "..."


def _decode_data_uri(value: str, name: str) -> bytes:
    head, _, body = value.partition(",")
    if not head.endswith(";base64"):
        raise BadInputError(f"{name} is a data URI without base64; write data:image/png;base64,...")
    try:
        return base64.b64decode(body.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInputError(f"{name} is no valid base64 ({error}); encode it again") from error
