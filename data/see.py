"""The first half of both demo models: images as tensors, and a vision tower that learns to see.

A tower this small, trained from captions alone, stays half blind. So it is first told, patch by patch, which
thing covers the patch and in which colour, and, for the whole picture, what is in it. The heads are then
thrown away.
"""

from __future__ import annotations

import time
from multiprocessing import Pool

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from m3po.demo.easyvqa import SHAPE_COLOURS, SHAPES, EasyImage
from m3po.demo.scenes import COLOURS, KINDS, Scene, render_scene, sample_scene

IMAGE_SIZE, PATCH = 96, 12
GRID = IMAGE_SIZE // PATCH
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
THINGS = KINDS + SHAPES
HUES = tuple(dict.fromkeys(COLOURS + SHAPE_COLOURS))
FACTS = 1 + len(HUES) + 3
MAX_BOXES = 4

Boxes = np.ndarray  # (MAX_BOXES, 6) float32: x0, y0, x1, y1 in pixels, thing index, hue index; -1 pads


def _pad(rows: list[list[float]]) -> Boxes:
    return np.array(rows + [[0, 0, 0, 0, -1, -1]] * (MAX_BOXES - len(rows)), dtype=np.float32)


def view_scene(scene: Scene, supersample: int = 1) -> tuple[np.ndarray, Boxes]:
    """What the models see of `scene`: (96, 96, 3) uint8, and its boxes."""
    image = render_scene(scene, supersample=supersample).resize((IMAGE_SIZE,) * 2, Image.Resampling.BICUBIC)
    rows = []
    for o in scene.objects:
        half = o.size / 2
        box = [
            (o.x - half) * IMAGE_SIZE,
            (o.y - half) * IMAGE_SIZE,
            (o.x + half) * IMAGE_SIZE,
            (o.y + half) * IMAGE_SIZE,
        ]
        rows.append([*box, THINGS.index(o.kind), HUES.index(o.colour)])
    return np.asarray(image), _pad(rows)


def view_seed(seed_and_rates: tuple[int, float, float]) -> tuple[np.ndarray, Boxes]:
    return view_scene(sample_scene(*seed_and_rates))


def view_easy(item: EasyImage) -> tuple[np.ndarray, Boxes]:
    """What the models see of an easy-VQA image: (96, 96, 3) uint8, and the box of its shape."""
    image = Image.open(item.path).convert("RGB").resize((IMAGE_SIZE,) * 2, Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    ys, xs = np.nonzero((np.abs(pixels.astype(int) - pixels[0, 0].astype(int)).sum(-1)) > 90)
    if not len(xs):  # the corner itself belongs to the shape: no box can be told
        return pixels, _pad([])
    box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    return pixels, _pad([[*map(float, box), THINGS.index(item.shape), HUES.index(item.colour)]])


def view_all(
    seeds: list[int], easy: tuple[EasyImage, ...], rates: tuple[float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (N, 3, 96, 96) uint8 and boxes (N, 4, 6) float32 of the scenes of `seeds`, then of `easy`."""
    with Pool(2) as pool:
        views = pool.map(view_seed, [(seed, *rates) for seed in seeds], chunksize=200)
    views += [view_easy(item) for item in easy]
    pixels = torch.from_numpy(np.stack([v[0] for v in views])).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.from_numpy(np.stack([v[1] for v in views]))


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, H, W) to what CLIP's image processor hands the model."""
    return (pixels.float() / 255 - MEAN) / STD


def patch_targets(boxes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """From boxes (B, 4, 6): thing labels (B, 64, things), hue labels (B, 64, hues), and a weight (B, 64).

    A patch belongs to a box that covers more than 0.4 of it; one covered by 0.1 to 0.4 is left out (weight
    0).
    """
    edges = torch.arange(GRID) * float(PATCH)

    def overlap(lo: torch.Tensor, hi: torch.Tensor) -> torch.Tensor:
        return (torch.minimum(hi[..., None], edges + PATCH) - torch.maximum(lo[..., None], edges)).clamp(min=0) / PATCH

    wide, high = overlap(boxes[..., 0], boxes[..., 2]), overlap(boxes[..., 1], boxes[..., 3])
    cover = (high[..., :, None] * wide[..., None, :]).flatten(2)  # (B, 4, 64)
    cover = cover * (boxes[..., 4] >= 0)[..., None]
    inside = (cover > 0.4).float()
    thing = F.one_hot(boxes[..., 4].long().clamp(min=0), len(THINGS)).float()
    hue = F.one_hot(boxes[..., 5].long().clamp(min=0), len(HUES)).float()
    things, hues = torch.einsum("bop,bok->bpk", inside, thing), torch.einsum("bop,bok->bpk", inside, hue)
    return things.clamp(max=1), hues.clamp(max=1), ((cover > 0.4) | (cover < 0.1)).all(1).float()


def picture_targets(boxes: torch.Tensor) -> torch.Tensor:
    """(B, things * FACTS): which things are there, each in which hue, each in which third from the left."""
    there = torch.zeros(boxes.shape[0], len(THINGS), FACTS)
    third = ((boxes[..., 0] + boxes[..., 2]) / 2 / IMAGE_SIZE * 3).long().clamp(0, 2)
    for slot in range(MAX_BOXES):
        rows = (boxes[:, slot, 4] >= 0).nonzero().flatten()
        thing, hue = boxes[rows, slot, 4].long(), boxes[rows, slot, 5].long()
        there[rows, thing, 0] = 1
        there[rows, thing, 1 + hue] = 1
        there[rows, thing, 1 + len(HUES) + third[rows, slot]] = 1
    return there.flatten(1)


def augment(pixels: torch.Tensor, boxes: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift the batch by up to 6 pixels and mirror it half of the time; the boxes go along."""
    dx, dy, mirror = (int(v) for v in torch.randint(0, 13, (3,), generator=generator))
    pixels = F.pad(pixels.float(), (6, 6, 6, 6), mode="replicate")[..., dy : dy + IMAGE_SIZE, dx : dx + IMAGE_SIZE]
    boxes = boxes.clone()
    boxes[..., 0:4:2] += 6 - dx
    boxes[..., 1:4:2] += 6 - dy
    if mirror % 2:
        pixels = pixels.flip(-1)
        boxes[..., 0], boxes[..., 2] = IMAGE_SIZE - boxes[..., 2], IMAGE_SIZE - boxes[..., 0].clone()
    return pixels, boxes


def build_vision_config(width: int, layers: int, heads: int) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        hidden_act="gelu",
        projection_dim=width,
    )


def train_tower(
    tower: CLIPVisionModel,
    pixels: torch.Tensor,
    boxes: torch.Tensor,
    easy_from: int,
    steps: int,
    batch: int = 64,
    peak_lr: float = 1.5e-3,
    seed: int = 0,
) -> None:
    """Teach `tower` in place to see; images from index `easy_from` on are easy-VQA and make a fifth of each
    batch."""
    generator = torch.Generator().manual_seed(seed)
    width = tower.config.hidden_size
    heads = nn.ModuleDict(
        {"patch": nn.Linear(width, len(THINGS) + len(HUES)), "picture": nn.Linear(width, len(THINGS) * FACTS)}
    )
    params = [*tower.parameters(), *heads.parameters()]
    optimiser = torch.optim.AdamW(params, lr=peak_lr, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak_lr, total_steps=steps, pct_start=0.15)
    n_easy = batch // 5
    started = time.time()
    tower.train()
    for step in range(steps):
        rows = torch.cat(
            [
                torch.randint(0, easy_from, (batch - n_easy,), generator=generator),
                torch.randint(easy_from, len(pixels), (n_easy,), generator=generator),
            ]
        )
        view, truth = augment(pixels[rows], boxes[rows], generator)
        out = tower((view / 255 - MEAN) / STD)
        things, hues, weight = patch_targets(truth)
        logits = heads["patch"](out.last_hidden_state[:, 1:])
        loss_things = F.binary_cross_entropy_with_logits(logits[..., : len(THINGS)], things, reduction="none").sum(-1)
        # The hue is asked only where there is a thing: the sky's blue is nobody's colour.
        inside = things.amax(-1)
        loss_hues = (
            F.binary_cross_entropy_with_logits(logits[..., len(THINGS) :], hues, reduction="none").sum(-1) * inside
        )
        patch_loss = ((loss_things + loss_hues) * weight).sum() / weight.sum()
        picture_loss = (
            F.binary_cross_entropy_with_logits(
                heads["picture"](out.pooler_output), picture_targets(truth), reduction="none"
            )
            .sum(-1)
            .mean()
        )
        loss = patch_loss * 4 + picture_loss * 0.5
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            with torch.no_grad():
                hit = ((logits[..., : len(THINGS)] > 0) == things.bool()).float()
                recall = (hit * things * weight[..., None]).sum() / (things * weight[..., None]).sum()
                guess, there = heads["picture"](out.pooler_output) > 0, picture_targets(truth).bool()
                seen = (guess & there).sum() / there.sum()
            print(
                f"see {step:5d} patch {patch_loss.item():.3f} picture {picture_loss.item():.3f} "
                f"patch recall {recall:.3f} picture recall {seen:.3f} {time.time() - started:.0f} s",
                flush=True,
            )
    tower.eval()
