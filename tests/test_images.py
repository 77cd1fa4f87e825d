"""Images as people really have them, made for real: what is refused, what is shown, what a model sees."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from m3po.errors import BadImageError, StorageError
from m3po.images import encode_rgb, inspect_image, load_rgb, write_thumbnail


def noise(width: int = 60, height: int = 40, channels: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says how large it is and then holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


_PHOTO = Image.fromarray(noise())
_PNG, _JPEG, _WEBP = (saved(_PHOTO, kind) for kind in ("PNG", "JPEG", "WEBP"))
BAD_FILES = {
    "empty.png": (b"", "is empty"),
    "text.png": (b"hello, I am no picture\n", "is not an image"),
    "page.jpg": (b"<html><body>404 not found</body></html>", "is not an image"),
    "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not an image"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
    "half.png": (_PNG[: len(_PNG) // 2], "is truncated"),
    "half.jpg": (_JPEG[: len(_JPEG) // 2], "is truncated"),
    "half.webp": (_WEBP[: len(_WEBP) // 2], "damaged"),
    "header.png": (_PNG[:20], "damaged"),
    "header.jpg": (_JPEG[:200], "damaged"),
    "flipped.png": (_PNG[:2000] + bytes([_PNG[2000] ^ 0xFF]) + _PNG[2001:], "damaged"),
    "bomb.png": (png_header(20_000, 20_000), "too large"),
    "over.png": (png_header(10_001, 10_000), "too large (10001 x 10000 pixels, over 100 megapixels)"),
    "zero.png": (png_header(0, 10), "damaged"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("look", [inspect_image, load_rgb, encode_rgb])
def test_a_bad_file_is_refused_in_one_sentence_that_names_it(tmp_path: Path, name: str, look) -> None:
    data, words = BAD_FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(BadImageError) as caught:
        look(path, name=name)
    message = str(caught.value)
    assert name in message and words in message
    assert str(tmp_path) not in message
    assert message.endswith(".") and "\n" not in message and ":" in message  # what is wrong: what to do


def test_missing_folder_and_pipe_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name, words in {
        "no.png": "does not exist",
        ".": "is a folder",
        "pipe.png": "not a regular file",  # reading it would wait for ever
        "a\0b.png": "cannot be read",
        "x" * 300 + ".png": "cannot be read",
    }.items():
        with pytest.raises(BadImageError, match=words):
            inspect_image(tmp_path / name)


def test_a_bomb_is_refused_from_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(30_000, 30_000))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(BadImageError, match="too large"):
        inspect_image(path)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20_000, 3), (3, 20_000)])
def test_tiny_and_very_long_images_are_fine(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (width, height), (10, 200, 30)).save(path)
    info = inspect_image(path)
    assert (info.width, info.height, info.format, info.suffix) == (width, height, "PNG", ".png")
    shown = load_rgb(path, 384)
    assert max(shown.size) == min(384, max(width, height)) and min(shown.size) >= 1
    assert shown.getpixel((0, 0)) == (10, 200, 30)


def test_hash_and_size_are_the_files_own_and_the_suffix_goes_by_content(tmp_path: Path) -> None:
    path = tmp_path / "called.png"
    path.write_bytes(_JPEG)
    info = inspect_image(path)
    assert info.sha256 == hashlib.sha256(_JPEG).hexdigest()
    assert (info.n_bytes, info.format, info.suffix) == (len(_JPEG), "JPEG", ".jpg")


def test_an_image_is_decoded_once_until_its_file_changes(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_PNG)
    first = inspect_image(path, name="a.png")
    with monkeypatch.context() as patch:
        patch.setattr("PIL.Image.open", lambda *a, **k: pytest.fail("opened again"))
        assert inspect_image(path) == first
    path.write_bytes(_JPEG)
    assert inspect_image(path).sha256 != first.sha256


# --- what is shown -------------------------------------------------------------------------------------------------


def shown(tmp_path: Path, data: bytes, suffix: str = ".png") -> np.ndarray:
    path = tmp_path / f"image{suffix}"
    path.write_bytes(data)
    image = load_rgb(path)
    assert image.mode == "RGB"
    info = inspect_image(path)
    assert image.size == (info.width, info.height)
    return np.asarray(image).astype(int)


def test_plain_rgb_comes_through_exactly(tmp_path: Path) -> None:
    assert (shown(tmp_path, _PNG) == noise()).all()


def test_cmyk(tmp_path: Path) -> None:
    # No cyan, all magenta and yellow: red.
    data = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert np.abs(shown(tmp_path, data, ".jpg") - [255, 0, 0]).max() <= 3


def test_16_bit_grey_is_scaled_not_cut(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    result = shown(tmp_path, saved(Image.fromarray(values), "PNG"))
    expected = np.floor(values / 257.0 + 0.5)
    assert np.abs(result - expected[:, :, None]).max() <= 1
    assert result[0, 0, 0] == 0 and result[-1, -1, 0] == 255


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0.0, 0.5], [0.25, 1.0]], np.float32), [[0, 128], [64, 255]]),
        (np.array([[0.0, 128.0], [64.0, 255.0]], np.float32), [[0, 128], [64, 255]]),
        (np.array([[-10.0, 0.0], [0.0, 10.0]], np.float32), [[0, 128], [128, 255]]),
        (np.array([[0, 32768], [16448, 65535]], np.int32), [[0, 128], [64, 255]]),
        (np.array([[0, 500_000], [250_000, 1_000_000]], np.int32), [[0, 128], [64, 255]]),
        (np.array([[-7, -7], [-7, -7]], np.int32), [[0, 0], [0, 0]]),
    ],
)
def test_32_bit_grey_is_scaled(tmp_path: Path, values: np.ndarray, expected: list) -> None:
    result = shown(tmp_path, saved(Image.fromarray(values), "TIFF"), ".tif")
    assert np.abs(result - np.array(expected)[:, :, None]).max() <= 1


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "inf.tif"
    Image.fromarray(np.array([[0.0, np.inf], [1.0, 2.0]], np.float32)).save(path)
    with pytest.raises(BadImageError, match="not numbers"):
        load_rgb(path)


def _palette(transparent: int | None) -> bytes:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 2)
    return saved(image, "PNG", **({} if transparent is None else {"transparency": transparent}))


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    plain, cut = shown(tmp_path, _palette(None)), shown(tmp_path, _palette(1))
    assert plain[0, 0].tolist() == cut[0, 0].tolist() == [0, 0, 255]
    assert plain[4, 4].tolist() == [255, 0, 0]
    assert cut[4, 4].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (8, 8), (255, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 128)), (255, 127, 127)),
        (Image.new("LA", (8, 8), (0, 0)), (255, 255, 255)),
        (Image.new("L", (8, 8), 70), (70, 70, 70)),
        (Image.new("1", (8, 8), 1), (255, 255, 255)),
    ],
    ids=["clear", "half", "grey-clear", "grey", "one-bit"],
)
def test_alpha_lies_on_white(tmp_path: Path, image: Image.Image, expected: tuple) -> None:
    assert np.abs(shown(tmp_path, saved(image, "PNG")) - expected).max() <= 1


def test_a_see_through_colour_of_rgb_and_grey(tmp_path: Path) -> None:
    rgb = saved(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    grey = saved(Image.new("L", (8, 8), 9), "PNG", transparency=9)
    assert (shown(tmp_path, rgb) == 255).all() and (shown(tmp_path, grey) == 255).all()


# What a viewer must do to the stored pixels, from the EXIF standard's table of the 0th row and column.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(tmp_path: Path, format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(_PHOTO, format, exif=exif, **({"lossless": True} if format == "WEBP" else {}))
    result = shown(tmp_path, data)
    assert (result == UPRIGHT[orientation](noise())).all()


def test_broken_exif_counts_as_none(tmp_path: Path) -> None:
    data = saved(_PHOTO, "PNG", exif=b"Exif\0\0garbage that is no TIFF header")
    assert (shown(tmp_path, data) == noise()).all()


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_the_first_frame_of_an_animation_with_a_warning(tmp_path: Path, format: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / "moving"
    path.write_bytes(saved(frames[0], format, save_all=True, append_images=frames[1:]))
    info = inspect_image(path, name="moving")
    assert len(info.warnings) == 1 and "moving has 3" in info.warnings[0] and "first" in info.warnings[0]
    assert np.abs(np.asarray(load_rgb(path)).astype(int) - [255, 0, 0]).max() <= 4


def test_max_side_keeps_the_shape_and_never_enlarges(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        path = tmp_path / f"a.{suffix}"
        Image.new("RGB", (1600, 400), (90, 160, 30)).save(path)
        assert load_rgb(path, 400).size == (400, 100)
        assert load_rgb(path, 5000).size == (1600, 400)
        assert np.abs(np.asarray(load_rgb(path, 400)).astype(int) - [90, 160, 30]).max() <= 3


# --- what is written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "same_bytes"),
    [
        (_PNG, True),
        (_JPEG, True),
        (saved(Image.new("RGBA", (8, 8), (255, 0, 0, 128)), "PNG"), False),
        (saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), False),
        (saved(Image.new("I;16", (8, 8), 40_000), "PNG"), False),
        (saved(_PHOTO, "TIFF"), False),
        (saved(_PHOTO, "PNG", exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"), False),
    ],
    ids=["png", "jpeg", "alpha", "cmyk", "16-bit", "tiff", "rotated"],
)
def test_encoded_bytes_decode_plainly_to_what_is_shown(tmp_path: Path, data: bytes, same_bytes: bool) -> None:
    path = tmp_path / "image"
    path.write_bytes(data)
    encoded, name = encode_rgb(path)
    assert (encoded == data) == same_bytes
    plain = Image.open(io.BytesIO(encoded))
    assert plain.mode == "RGB" and name.endswith({"PNG": ".png", "JPEG": ".jpg"}[plain.format])
    assert (np.asarray(plain) == np.asarray(load_rgb(path))).all()


def test_thumbnail(tmp_path: Path) -> None:
    source, out = tmp_path / "a.png", tmp_path / "thumbs" / "ab" / "a.webp"
    Image.new("RGB", (2000, 1000), (200, 30, 60)).save(source)
    assert write_thumbnail(source, out, 768) == (768, 384)
    with Image.open(out) as thumbnail:
        assert thumbnail.format == "WEBP" and thumbnail.size == (768, 384)
        assert np.abs(np.asarray(thumbnail.convert("RGB")).astype(int) - [200, 30, 60]).max() <= 6
    assert [path.name for path in out.parent.iterdir()] == ["a.webp"]


def test_a_full_disk_keeps_the_old_thumbnail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "a.png", tmp_path / "thumb.webp"
    Image.new("RGB", (20, 10)).save(source)
    out.write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="disk is full"):
        write_thumbnail(source, out)
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 2
