"""How much faster K answers are scored when they share their prefix, in LLaVA-1.5's layout.

    python benchmarks/logprob_prefix_sharing.py [--k 8] [--repeats 3] [--threads 2]

Ours: `Policy.log_probs` (image and prompt run once, the cache is repeated, the answers run K times). The
peer, in the same run: one plain padded batch of K rows of image, prompt and answer, as a scoring notebook
does it. Weights are random: only shapes matter. The bound counts language-model tokens, K (P + T) / (P + K
T); the vision tower, which runs once instead of K times, comes on top. Prints both in seconds, their ratio,
the bound, and the largest difference a token.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import tiny  # noqa: E402 - the tests' tokenizer and picture

from m3po.models.policy import Policy  # noqa: E402
from m3po.text import build_messages  # noqa: E402

IMAGE_TOKENS, PROMPT_TOKENS, ANSWER_TOKENS = 576, 40, 64


def build_policy() -> Policy:
    """A LLaVA whose tower reads 336 pixels in patches of 14, as LLaVA-1.5's does, at a width that fits
    anywhere.
    """
    tokenizer = tiny.build_tokenizer()
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        max_position_embeddings=2048,
        bos_token_id=1,
        eos_token_id=3,
        pad_token_id=0,
    )
    vision = CLIPVisionConfig(
        hidden_size=256,
        intermediate_size=1024,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=336,
        patch_size=14,
    )
    config = LlavaConfig(vision_config=vision, text_config=text, image_token_index=4, image_seq_length=IMAGE_TOKENS)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=3, pad_token_id=0)
    side = {"height": 336, "width": 336}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(do_resize=True, size=side, do_center_crop=False),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tiny.CHAT_TEMPLATE,
    )
    return Policy(model, processor)


@torch.inference_mode()
def score_plainly(policy: Policy, messages: list[dict], image, answers: list[str]) -> list[list[float]]:
    """The peer: every row brings its own image and prompt."""
    processor = policy.chat.processor
    turns = [[*messages, {"role": "assistant", "content": [{"type": "text", "text": a}]}] for a in answers]
    texts = [processor.apply_chat_template(turn, tokenize=False) for turn in turns]
    inputs = processor(
        text=texts, images=[[image]] * len(texts), padding=True, return_tensors="pt", add_special_tokens=False
    ).to(policy.device)
    logits = policy.model(**inputs, logits_to_keep=ANSWER_TOKENS + 1, use_cache=False).logits[:, :-1].float()
    ids = inputs["input_ids"][:, -ANSWER_TOKENS:]
    return (logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)).tolist()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--k", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0 = torch's default")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    k, policy, image = options.k, build_policy(), tiny.build_image(0, size=336)
    # "q" and "z" follow each other in no merge of this tokenizer: a letter is a token. Four are the
    # template's.
    messages = build_messages("qz" * ((PROMPT_TOKENS - 3) // 2) + "q" * ((PROMPT_TOKENS - 3) % 2), 1)
    answers = [("zqj"[n % 3] + "qz" * ANSWER_TOKENS)[: ANSWER_TOKENS - 1] for n in range(k)]

    def ours() -> list[list[float]]:
        return [list(score.log_probs) for score in policy.log_probs([messages], [[image]], [answers])[0]]

    def peer() -> list[list[float]]:
        return score_plainly(policy, messages, image, answers)

    seconds: dict[str, list[float]] = {"ours": [], "peer": []}
    values: dict[str, list[list[float]]] = {}
    for round_number in range(
        options.repeats + 1
    ):  # the first warms up; the two take turns, so both meet the same load
        for name, measure in (("ours", ours), ("peer", peer)):
            start = time.perf_counter()
            values[name] = measure()
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    assert all(len(row) == ANSWER_TOKENS for rows in values.values() for row in rows)
    gap = max(
        abs(a - b) for x, y in zip(values["ours"], values["peer"], strict=True) for a, b in zip(x, y, strict=True)
    )
    ours_s, peer_s = (statistics.median(seconds[name]) for name in ("ours", "peer"))
    prefix = IMAGE_TOKENS + PROMPT_TOKENS
    bound = k * (prefix + ANSWER_TOKENS) / (prefix + k * ANSWER_TOKENS)
    print(f"layout   {IMAGE_TOKENS} image + {PROMPT_TOKENS} prompt + {ANSWER_TOKENS} answer tokens, K = {k}")
    print(f"ours     {ours_s:.3f} s   (prefix shared)")
    print(f"peer     {peer_s:.3f} s   (plain padded batch)")
    print(f"ratio    {peer_s / ours_s:.2f}x")
    print(f"bound    {bound:.2f}x   (language-model tokens alone)")
    print(f"max gap  {gap:.1e} nats a token")


if __name__ == "__main__":
    main()
