"""From pairs to the tensors of a training step, with exactly the tokens that scoring counted.

TRL's own collator renders and tokenises prompt and answer anew for every step and decides itself where an
answer ends. Here the prompt is rendered once, and an answer's tokens are those that `logp_sum` was computed
on: the answer and its end-of-turn token. Images are read when a step needs them, so that a data set never
lies decoded in memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from trl.trainer.utils import flush_left, pad

from m3po.errors import BadInputError
from m3po.images import load_rgb
from m3po.models.prefix import PrefixModel
from m3po.training.encoding import EncodedPair

FEATURE_CACHE_BYTES = 2 * 1024**3


@lru_cache(maxsize=256)
def _read_image(path: str) -> Image.Image:
    return load_rgb(Path(path))


class FeatureCache:
    """Projected vision features by image path, kept in main memory up to a budget; beyond it the oldest go.

    With tower and projector frozen, an image has the same features at every step of a run.
    """

    def __init__(self, budget_bytes: int = FEATURE_CACHE_BYTES) -> None:
        self._budget = budget_bytes
        self._used = 0
        self._features: OrderedDict[str, torch.Tensor] = OrderedDict()

    def get(self, path: str) -> torch.Tensor | None:
        return self._features.get(path)

    def put(self, path: str, features: torch.Tensor) -> None:
        features = features.detach().to("cpu")
        self._features[path] = features
        self._used += features.nbytes
        while self._used > self._budget and len(self._features) > 1:
            _, oldest = self._features.popitem(last=False)
            self._used -= oldest.nbytes


class PairCollator:
    """Batches of [chosen..., rejected...] rows: `input_ids`, `attention_mask`, `completion_mask` (2B, T), the
    processor's image tensors, and `ref_chosen_logps`, `ref_rejected_logps` (B,) where all rows have them.

    Examples are dicts with `row`, an index into `pairs`. With `encode_images` (pixel values (N, 3, H, W) to
    features, one tensor an image), images are encoded once and the batch holds `image_features`
    (2N, tokens, width) instead of pixels.
    """

    def __init__(
        self,
        core: PrefixModel,
        pairs: Sequence[EncodedPair],
        *,
        encode_images: Callable[[torch.Tensor], Sequence[torch.Tensor]] | None = None,
        cache: FeatureCache | None = None,
    ) -> None:
        self._core, self._chat = core, core.chat
        self._pairs = pairs
        self._encode_images = encode_images
        self._cache = cache or FeatureCache()
        self._prompt_ids: dict[int, list[int]] = {}
        self._pad_id = core.chat.tokenizer.pad_token_id

    def __call__(self, examples: list[dict]) -> dict[str, torch.Tensor]:
        rows = [int(example["row"]) for example in examples]
        batch = self._process_prompts(rows) if self._encode_images is None else self._cached_prompts(rows)
        pairs = [self._pairs[row] for row in rows]
        self._append_answers(batch, [pair.chosen_ids for pair in pairs] + [pair.rejected_ids for pair in pairs])
        if all(pair.ref_chosen_logp is not None for pair in pairs):
            batch["ref_chosen_logps"] = torch.tensor([pair.ref_chosen_logp for pair in pairs])
            batch["ref_rejected_logps"] = torch.tensor([pair.ref_rejected_logp for pair in pairs])
        return batch

    def read_images(self, row: int) -> list[Image.Image]:
        """The row's images as RGB; raises BadImageError for one that cannot be read."""
        return [_read_image(path) for path in self._pairs[row].images]

    def refusal(self, row: int) -> str:
        """Why the model's processor does not take a row; empty where it does."""
        try:
            self([{"row": row}])
        except BadInputError as error:
            return str(error)
        return ""

    def _process_prompts(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """Left-padded prompts, twice over, with every tensor that the processor makes of their images."""
        images = [self.read_images(row) for row in rows] * 2
        return dict(self._chat.encode_prompts([self._pairs[row].prompt for row in rows] * 2, images))

    def _cached_prompts(self, rows: list[int]) -> dict[str, torch.Tensor]:
        """The same from memory where the row was seen before: neither image nor text is touched again."""
        features: list[torch.Tensor] = []
        fresh: dict[str, torch.Tensor] = {}
        for row in rows:
            paths = self._pairs[row].images
            missing = [path for path in paths if path not in fresh and self._cache.get(path) is None]
            if missing or row not in self._prompt_ids:
                images = self.read_images(row)
                processed = self._chat.encode_prompts([self._pairs[row].prompt], [images])
                self._prompt_ids[row] = processed["input_ids"][0].tolist()
                if missing:
                    fresh.update(zip(paths, self._encode_images(processed["pixel_values"]), strict=True))
            features += [fresh[path] if path in fresh else self._cache.get(path) for path in paths]
        for path, tensor in fresh.items():
            self._cache.put(path, tensor)
        prompts = [torch.tensor(self._prompt_ids[row]) for row in rows] * 2
        batch = {
            "input_ids": pad(prompts, padding_value=self._pad_id, padding_side="left"),
            "attention_mask": pad([torch.ones_like(ids) for ids in prompts], padding_value=0, padding_side="left"),
        }
        if features:
            batch["image_features"] = torch.stack(features * 2)
        return batch

    def _append_answers(self, batch: dict[str, torch.Tensor], answers: list[list[int]]) -> None:
        """Put the answers behind the prompts and the padding behind both."""
        answer_ids = pad([torch.tensor(ids) for ids in answers], padding_value=self._pad_id)
        answer_mask = pad([torch.ones(len(ids), dtype=torch.long) for ids in answers], padding_value=0)
        prompt_mask = batch["attention_mask"]
        by_token = {
            "input_ids": torch.cat((batch["input_ids"], answer_ids), dim=1),
            "completion_mask": torch.cat((torch.zeros_like(prompt_mask), answer_mask), dim=1),
        }
        for name in ("token_type_ids", "mm_token_type_ids"):
            if name in batch:
                following = self._core.continuation(name, batch[name], answer_ids.shape[1])
                by_token[name] = torch.cat((batch[name], following), dim=1)
        whole_mask = torch.cat((prompt_mask, answer_mask), dim=1)
        attention_mask, *tensors = flush_left(whole_mask, *by_token.values())
        batch.update(zip(by_token, tensors, strict=True), attention_mask=attention_mask)
