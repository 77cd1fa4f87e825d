"""How large an image the model sees: `max_pixels` and `min_pixels`, said as each processor says it.

The number of image tokens, and with it time and memory, follows from it. A processor that brings every image to one
size has no such limit, which is said instead of passing over it.
"""

from __future__ import annotations

from math import isqrt

from m3po.errors import ModelError


def limit_pixels(name: str, processor, config, max_pixels: int = 0, min_pixels: int = 0) -> None:
    """Lay the limits (0 = the processor's own) on `processor`, and on `config` where the model counts tiles too.

    Raises ModelError when the processor has no such limit, or none as small as that.
    """
    if not (max_pixels or min_pixels):
        return
    images = processor.image_processor
    size = dict(getattr(images, "size", None) or {})
    pinpoints = getattr(images, "image_grid_pinpoints", None)
    if "max_pixels" in _settings(images) or hasattr(images, "max_pixels"):  # Qwen-VL and its kin: areas
        _limit_area(images, size, max_pixels, min_pixels)
        return
    if min_pixels:
        raise ModelError(f"{name} has no least number of pixels to set: leave min_pixels out.")
    if getattr(images, "max_image_size", None) and size.get("longest_edge"):  # Idefics3, SmolVLM: whole tiles
        side = images.max_image_size["longest_edge"]
        edge = isqrt(max_pixels) // side * side
        _check_least(name, max_pixels, side * side)
        images.size = _like(images.size, size | {"longest_edge": min(edge, size["longest_edge"])})
    elif pinpoints:  # LLaVA-NeXT, LLaVA-OneVision: the grids that an image may be laid out on
        fitting = [grid for grid in pinpoints if grid[0] * grid[1] <= max_pixels]
        _check_least(name, max_pixels, min(grid[0] * grid[1] for grid in pinpoints))
        images.image_grid_pinpoints = config.image_grid_pinpoints = fitting
    elif getattr(images, "crop_to_patches", None) is not None and getattr(images, "max_patches", 0):  # InternVL: tiles
        tile = size["height"] * size["width"]
        _check_least(name, max_pixels, tile)
        images.max_patches = min(images.max_patches, max_pixels // tile)
        images.min_patches = min(images.min_patches, images.max_patches)
    elif set(size) == {"longest_edge"}:  # Pixtral, Mistral 3: one edge
        images.size = _like(images.size, {"longest_edge": min(size["longest_edge"], isqrt(max_pixels))})
    else:
        side = " x ".join(str(value) for value in size.values() if value) or "a fixed number of"
        raise ModelError(f"{name} sees every image at {side} pixels: leave max_pixels out.")


def _settings(images) -> set[str]:
    return set(getattr(getattr(images, "valid_kwargs", None), "__annotations__", {}))


def _limit_area(images, size: dict, max_pixels: int, min_pixels: int) -> None:
    """Qwen2-VL's `size`: shortest_edge and longest_edge are areas there, for all their names."""
    most = max_pixels or size.get("longest_edge") or getattr(images, "max_pixels", 0)
    least = min_pixels or min(size.get("shortest_edge") or getattr(images, "min_pixels", 0), most)
    if "longest_edge" in size:
        images.size = _like(images.size, size | {"longest_edge": max(most, least), "shortest_edge": least})
    for name, value in (("max_pixels", max(most, least)), ("min_pixels", least)):
        if hasattr(images, name):
            setattr(images, name, value)


def _like(old, values: dict):
    """`values` in the type that the processor keeps its size in."""
    return values if isinstance(old, dict) else type(old)(**{key: value for key, value in values.items() if value})


def _check_least(name: str, max_pixels: int, least: int) -> None:
    if max_pixels < least:
        raise ModelError(f"{name} sees no image with fewer than {least} pixels: give max_pixels of at least that.")
