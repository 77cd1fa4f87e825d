"""Writes options.json: what the installed TRL and peft let one set, with type, default and their own explanation.

    python -m m3po.training.option_catalogue

Run it after a change of either library; a test compares the file with what is installed, and fails for an option that
is neither offered, nor a setting of our own, nor refused with a reason (m3po.training.options). It imports torch.
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

from m3po.training.options import GRPO_OPTIONS, OWN_FIELD, REFUSED

CHOICES = {"trl.train_sampling_strategy": ["random", "sequential"]}


def build_catalogue() -> dict[str, dict]:
    """Key -> entry, as m3po.training.options.read_catalogue returns it."""
    from peft import LoraConfig
    from trl import DPOConfig, GRPOConfig

    dpo, grpo = ({field.name: field for field in dataclasses.fields(kind)} for kind in (DPOConfig, GRPOConfig))
    found = {}
    for name, field in (grpo | dpo).items():
        if name in OWN_FIELD["trl"] or name in REFUSED["trl"] or (name not in dpo and name not in GRPO_OPTIONS):
            continue
        methods = [method for method, fields in (("dpo", dpo), ("grpo", grpo)) if name in fields]
        found[f"trl.{name}"] = _entry(f"trl.{name}", field) | {"methods": methods}
    for field in dataclasses.fields(LoraConfig):
        if field.name not in OWN_FIELD["lora"] and field.name not in REFUSED["lora"]:
            found[f"lora.{field.name}"] = _entry(f"lora.{field.name}", field) | {"methods": ["dpo", "grpo"]}
    return dict(sorted(found.items()))


def _entry(key: str, field: dataclasses.Field) -> dict:
    given = str(field.type)
    # The first of these that a value may be; "float | None", "Optional[dict]", "<class 'bool'>" are what types say.
    order = ("dict", "list", "bool", "float", "int", "str")
    kind = next((kind for kind in order if re.search(rf"\b{kind}\b", given)), "str")
    default = field.default
    if default is dataclasses.MISSING:
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else None
    if isinstance(default, str):
        kind = "str"
    entry = {"kind": kind, "optional": "None" in given or "Optional" in given, "default": default}
    entry["help"] = _first_sentence(field.metadata.get("help") or "")
    return entry | ({"choices": CHOICES[key]} if key in CHOICES else {})


def _first_sentence(text: str) -> str:
    text = re.sub(r"</?a[^>]*>|\[([^\]]*)\]\([^)]*\)", lambda found: found[1] or "", " ".join(text.split()))
    return re.split(r"(?<=[a-z0-9)`'])\. ", text)[0].rstrip(".")


def main() -> None:
    path = Path(__file__).with_name("options.json")
    path.write_text(json.dumps(build_catalogue(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
