"""One way to look at an image file: what was checked, what is shown and what a model sees are the same.

Images are stored as they came. Shown and fed to models they are RGB with EXIF orientation applied: CMYK
converted, palette and alpha on white, 16 and 32 bit scaled to 8, the first frame of an animation. PIL alone,
no torch.
"""

from __future__ import annotations

import functools
import hashlib
import io
import math
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from m3po.errors import BadImageError
from m3po.files import replace_file

MAX_PIXELS = 100_000_000
# What PIL may try on a file. Raster formats only: EPS would start Ghostscript.
SUFFIXES = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "MPO": ".jpg",  # a JPEG with a second picture in it (phones write them); the first one counts
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "PPM": ".ppm",
    "AVIF": ".avif",
    "JPEG2000": ".jp2",
}
_READABLE = [name for name in SUFFIXES if name != "MPO"]  # PIL's JPEG reader finds out about MPO by itself
_REPLACE = "replace it with an intact PNG, JPEG or WebP"
_EXIF_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageInfo:
    """What one full decode of an image file found out.

    `sha256` is of the file's bytes; `width` and `height` are pixels after EXIF orientation; `format` is PIL's
    name and `suffix` the usual one for it (".jpg"), whatever the file is called; `warnings` are sentences.
    """

    sha256: str
    width: int
    height: int
    format: str
    suffix: str
    n_bytes: int
    warnings: tuple[str, ...] = ()


def inspect_image(path: Path | str, *, name: str | None = None) -> ImageInfo:
    """Open, check and fully decode an image file once.

    `name` is how messages call it (default: the path). Raises BadImageError, one sentence, for a file that is
    missing, empty, a folder, no image, corrupt, truncated, or over 100 megapixels (refused from the header).
    """
    path, name = Path(path), name or str(path)
    status = _check_file(path, name)
    try:
        info = _inspect(path, status.st_size, status.st_mtime_ns, status.st_ino)
    except BadImageError as error:
        raise BadImageError(str(error).replace(str(path), name)) from error
    if name == str(path) or not info.warnings:
        return info
    return replace(info, warnings=tuple(warning.replace(str(path), name) for warning in info.warnings))


# Rows share images: a picture that many questions are about is decoded once, as long as its file is the same.
@functools.lru_cache(maxsize=50_000)
def _inspect(path: Path, n_bytes: int, mtime_ns: int, inode: int) -> ImageInfo:
    name = str(path)
    found = _look_into(path, name)
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadImageError(f"Image {name} cannot be read ({error.strerror}): check its permissions.") from error
    return ImageInfo(sha256, n_bytes=n_bytes, **found)


_inspected: dict[str, ImageInfo] = {}  # by SHA-256: bytes that many rows repeat are decoded once, and not kept


def inspect_bytes(data: bytes, *, name: str) -> ImageInfo:
    """As `inspect_image`, for an image that a data set holds as bytes."""
    if not data:
        raise BadImageError(f"Image {name} is empty (0 bytes): {_REPLACE}.")
    sha256 = hashlib.sha256(data).hexdigest()
    info = _inspected.get(sha256)
    if info is None:
        info = ImageInfo(sha256, n_bytes=len(data), **_look_into(io.BytesIO(data), name))
        if len(_inspected) >= 50_000:
            _inspected.clear()
        _inspected[sha256] = info
    return info


def _look_into(source: Path | io.BytesIO, name: str) -> dict:
    """What one full decode tells, as fields of ImageInfo."""
    image = _open(source, name)
    frames = _count_frames(image)
    kind = image.format or ""
    _decode(image, name)
    width, height = _transpose(image).size
    warnings = ()
    if frames > 1 and kind != "MPO":
        what = "pages" if kind == "TIFF" else "frames of an animation"
        warnings = (f"Image {name} has {frames} {what}: only the first is used; cut out another one to use that.",)
    return {"width": width, "height": height, "format": kind, "suffix": SUFFIXES[kind], "warnings": warnings}


def load_rgb(path: Path | str, max_side: int | None = None, *, name: str | None = None) -> Image.Image:
    """The image as shown and as fed to models: RGB, upright, at most `max_side` pixels on its longer side.

    Without `max_side` the pixels are exactly the file's. Raises BadImageError as `inspect_image` does.
    """
    path, name = Path(path), name or str(path)
    _check_file(path, name)
    image = _open(path, name)
    if max_side is not None and max(image.size) > max_side:
        # A JPEG decodes at half, a quarter ... of its size in a fraction of the time.
        image.draft(None, (max_side, max_side))
    _decode(image, name)
    return _as_shown(image, max_side, name)


def read_rgb(data: bytes, max_side: int | None = None, *, name: str) -> Image.Image:
    """As `load_rgb`, of an image that is no file here. Raises BadImageError."""
    if not data:
        raise BadImageError(f"Image {name} is empty (0 bytes): {_REPLACE}.")
    image = _open(io.BytesIO(data), name)
    _decode(image, name)
    return _as_shown(image, max_side, name)


def _as_shown(image: Image.Image, max_side: int | None, name: str) -> Image.Image:
    try:
        image = _to_rgb(_transpose(image), name)
        if max_side is not None and max(image.size) > max_side:
            scale = max_side / max(image.size)
            size = tuple(max(1, round(side * scale)) for side in image.size)
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    except (ValueError, OSError, MemoryError) as error:
        raise BadImageError(f"Image {name} cannot be turned into RGB ({_words(error)}): {_REPLACE}.") from error
    return image


def pixel_hash(image: Image.Image) -> str:
    """SHA-256 of an RGB image's size and pixels: files that look the same have the same one, whatever their bytes."""
    return hashlib.sha256(f"{image.width}x{image.height}:".encode() + image.tobytes()).hexdigest()


def encode_rgb(path: Path | str, *, name: str | None = None) -> tuple[bytes, str]:
    """An image file's bytes whose plain decode is `load_rgb`'s result, and a file name for them.

    The file's own bytes where they are that already, else a PNG. For exports that other tools decode as they
    like, knowing nothing of orientation, CMYK or alpha. Raises BadImageError.
    """
    path, name = Path(path), name or str(path)
    _check_file(path, name)
    image = _open(path, name)
    frames, mode, kind = _count_frames(image), image.mode, image.format
    _decode(image, name)
    upright = _transpose(image) is image
    plain = mode == "RGB" and frames == 1 and upright and not image.has_transparency_data
    if plain and kind in ("PNG", "JPEG", "WEBP"):
        return path.read_bytes(), path.stem + SUFFIXES[kind]
    out = io.BytesIO()
    _to_rgb(_transpose(image), name).save(out, "PNG")
    return out.getvalue(), path.stem + ".png"


def write_thumbnail(path: Path | str, out: Path, side: int = 768, *, name: str | None = None) -> tuple[int, int]:
    """Write a WebP of at most `side` pixels to `out` (whole, then renamed) and return its width and height.

    Raises BadImageError for the image, StorageError for the disk.
    """
    image = load_rgb(path, side, name=name)
    with replace_file(out) as part:
        # Lossless for small pictures: drawings stay crisp and the file is small all the same.
        image.save(part, "WEBP", quality=88, method=3, lossless=max(image.size) <= 256)
    return image.size


def _check_file(path: Path, name: str) -> os.stat_result:
    """The status of a regular, non-empty file."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise BadImageError(f"Image {name} does not exist: correct the path or add the file.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise BadImageError(f"Image {name!r} cannot be read ({_words(error)}): check the path.") from error
    if stat.S_ISDIR(status.st_mode):
        raise BadImageError(f"Image {name} is a folder: name the image file in it.")
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device would block or never end
        raise BadImageError(f"Image {name} is not a regular file: copy the image into one.")
    if status.st_size == 0:
        raise BadImageError(f"Image {name} is empty (0 bytes): {_REPLACE}.")
    return status


def _open(source: Path | io.BytesIO, name: str) -> Image.Image:
    """Read the header alone and refuse what is no image or too large."""
    try:
        image = Image.open(source, formats=_READABLE)
    except Image.DecompressionBombError:  # PIL's own limit, above ours
        raise BadImageError(_too_large(name)) from None
    except UnidentifiedImageError:
        raise BadImageError(
            f"Image {name} is not an image that can be read, or its header is damaged: {_REPLACE}."
        ) from None
    except PermissionError:
        raise BadImageError(f"Image {name} may not be read: change its permissions.") from None
    except Exception as error:  # PIL's parsers raise whatever a damaged file makes them raise
        raise BadImageError(f"Image {name} is damaged ({_words(error)}): {_REPLACE}.") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise BadImageError(_too_large(name, width, height))
    if width < 1 or height < 1:
        image.close()
        raise BadImageError(f"Image {name} has no pixels ({width} x {height}): {_REPLACE}.")
    return image


def _too_large(name: str, width: int = 0, height: int = 0) -> str:
    size = f"{width} x {height} pixels, " if width else ""
    limit = MAX_PIXELS // 1_000_000
    return f"Image {name} is too large ({size}over {limit} megapixels): scale it down first."


def _decode(image: Image.Image, name: str) -> None:
    """Decode every pixel of the first frame, and let the file go."""
    try:
        image.load()
    except MemoryError as error:
        raise BadImageError(f"Image {name} does not fit into memory: scale it down.") from error
    except Exception as error:  # see _open
        what = "is truncated" if "truncated" in str(error).lower() else f"is damaged ({_words(error)})"
        raise BadImageError(f"Image {name} {what}: {_REPLACE}.") from error
    finally:
        # An animation keeps its file open for the next frame, which nobody will ask for.
        file = getattr(image, "_fp", None) or getattr(image, "fp", None)
        if file is not None and hasattr(file, "close"):
            file.close()


def _count_frames(image: Image.Image) -> int:
    """Frames as far as the file tells; a damaged tail of an animation does not spoil its first frame."""
    try:
        frames = int(getattr(image, "n_frames", 1))
        image.seek(0)
    except Exception:
        return 2 if getattr(image, "is_animated", False) else 1
    return frames


def _transpose(image: Image.Image) -> Image.Image:
    """Upright by the EXIF orientation; unreadable EXIF counts as none, as in every viewer."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:
        return image
    method = _TRANSPOSE.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        image = _to_8_bit(image, name)
    if image.has_transparency_data:
        # Through RGBA always: PIL drops the alpha of LA, PA and of a palette when it goes to RGB directly.
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image.Image, name: str) -> Image.Image:
    """Grey values of 16 or 32 bits, whole or real numbers, as mode L.

    16 bits are scaled by their full range (65535 is white). 32-bit images do not tell their range: real
    numbers within [0, 1] or [0, 255] and whole ones within [0, 65535] are taken as such, anything else is
    stretched from its least to its greatest value.
    """
    if image.mode.startswith("I;16"):
        low, high = 0.0, 65535.0
        image = image.convert("I")
    else:
        least, greatest = image.getextrema()
        if not (math.isfinite(least) and math.isfinite(greatest)):
            raise BadImageError(f"Image {name} holds values that are not numbers: {_REPLACE}.")
        ranges = ((0.0, 65535.0),) if image.mode == "I" else ((0.0, 1.0), (0.0, 255.0), (0.0, 65535.0))
        low, high = next((r for r in ranges if r[0] <= least and greatest <= r[1]), (least, greatest))
    if high == low:
        return Image.new("L", image.size, 0)
    scale = 255.0 / (high - low)
    offset = 0.5 - low * scale  # + 0.5: PIL cuts the fraction off
    transparency = image.info.get("transparency")
    image = image.convert("F").point(lambda value: value * scale + offset).convert("L")
    if isinstance(transparency, int):  # PNG: one grey value is see-through
        image.info["transparency"] = round((transparency - low) * scale)
    return image


def _words(error: Exception) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__)[:120].rstrip(".")


def blank_image(image: Image.Image) -> Image.Image:
    """An image of the same size in one grey, its own mean luminance (ITU-R 601): nothing but its brightness is left."""
    histogram = image.convert("L").histogram()
    grey = round(sum(value * count for value, count in enumerate(histogram)) / max(1, sum(histogram)))
    return Image.new("RGB", image.size, (grey, grey, grey))
