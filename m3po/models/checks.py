"""What can be known of a model before its weights are loaded, or torch is: read from its folder's small files.

The server asks when a job is queued, so that a model which cannot do what is asked is refused at once, in one sentence
that names the remedy; the worker asks again first of all. Of a hub id nothing is known until it is fetched. Imports no
torch.
"""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open

from m3po.errors import ModelError, UnusableModelError, UsageError
from m3po.files import expanded
from m3po.models.memory import gpu_in_sight
from m3po.remote_spec import names_remote, parse_remote
from m3po.scorer_spec import map_folders, parse_grouper, parse_scorer
from m3po.settings import ModelOptions

Config = TypeVar("Config", bound=ModelOptions)
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt")
# Image-text-to-text models of transformers 5.23 whose processors have a video part, which is written in torchvision.
NEED_TORCHVISION = {
    "cohere_compass", "cosmos3_edge", "dots3_note", "ernie4_5_vl_moe", "exaone4_5", "gemma4", "gemma4_unified",
    "glm46v", "glm4v", "glm4v_moe", "glm5_next", "hyperclovax_vision_v2", "instructblipvideo", "internvl",
    "kimi_k25", "lfm3_vl", "llava_onevision", "minicpm_ocr", "minicpmv4_6", "minicpmv4_7", "minimax_m3_vl", "molmo2",
    "muse_glimmer", "muse_spark", "nemotron_h_omni", "perception_lm", "qwen2_5_vl", "qwen2_vl", "qwen3_5",
    "qwen3_5_moe", "qwen3_vl", "qwen3_vl_moe", "qwen4_exp", "smolvlm", "video_llama_3", "video_llava",
}  # fmt: skip
TORCHVISION = (
    "needs torchvision for its processor: install the torchvision build that goes with this torch "
    "(see pytorch.org), then try again"
)
NOT_FOR_IMAGES = "answers no image instructions: give an image-text-to-text model (LLaVA, Qwen-VL, ...)"


def checked(config: Config) -> Config:
    """A job's config as it is, after `check_policy` where it names a policy or a judge, and `check_encoder` where it
    names a model that embeds: in a mean, every part is looked at before the first is begun."""
    if config.policy:
        check_policy(config.policy, getattr(config, "adapter", None), config)
    for name, adapter in judges_of(config):
        check_policy(name, adapter, config)
    for name in _encoders_of(config):
        check_encoder(name)
    return config


def judges_of(config: ModelOptions) -> list[tuple[str, str | None]]:
    """Model and adapter of every judge that a scoring loads as it loads a policy."""
    mas, group = getattr(config, "mas", None), getattr(config, "group", None)
    judges = [(part.model, part.adapter) for part in parse_scorer(mas).judges] if mas else []
    grouper = parse_grouper(group) if group else None
    return judges + ([(grouper.model, None)] if grouper and grouper.kind == "judge" else [])


def _encoders_of(config: ModelOptions) -> list[str]:
    """The CLIP and SigLIP models of a scoring, and the one that groups by embeddings."""
    mas, group = getattr(config, "mas", None), getattr(config, "group", None)
    named = [part.model for part in parse_scorer(mas).parts if part.kind in ("", "clip", "siglip")] if mas else []
    grouper = parse_grouper(group) if group else None
    return named + ([grouper.model] if grouper and grouper.kind == "embed" else [])


def check_encoder(name: str) -> None:
    """Raise ModelError for a model that scores or groups by embeddings and cannot be loaded, as its files show."""
    folder = local_folder(name)
    if folder is not None:
        check_config(name, folder)
        check_weight_files(name, folder)


def check_policy(name: str, adapter: str | None = None, options: ModelOptions | None = None) -> None:
    """Raise ModelError for a policy that cannot be loaded, or cannot answer, for a reason that its files show."""
    if parse_remote(name):  # the weights are its server's affair
        return
    options = options or ModelOptions()
    check_packages(options)
    folder = local_folder(name)
    if adapter is not None:
        check_adapter(adapter)
    if folder is None:
        return
    config = check_config(name, folder)
    check_code(name, config, options)
    if options.trust_remote_code and config.get("auto_map"):
        check_weight_files(name, folder)  # what else its code wants is its own affair
        return
    _check_kind(name, config)
    check_tokenizer(name, folder)
    _check_processor(name, folder, config)
    check_weight_files(name, folder)


def check_packages(options: ModelOptions) -> None:
    """Raise ModelError where an option asks for a package or a device that is not here."""
    if options.quantise:
        if not gpu_in_sight():
            raise ModelError(
                f"quantise = {options.quantise} needs a GPU, and this machine has none: leave it out, or run there."
            )
        _need("bitsandbytes", f"quantise = {options.quantise}")
    if options.attention == "flash_attention_2":
        _need("flash_attn", "attention = flash_attention_2", install="flash-attn")


def _need(package: str, what: str, *, install: str = "") -> None:
    if importlib.util.find_spec(package) is None:
        install = install or package
        raise ModelError(f"{what} needs the package {install}: pip install {install}, or leave the option out.")


def local_folder(name: str) -> Path | None:
    """The folder that `name` is, None for a hub id. Raises ModelError for a path where nothing lies."""
    folder = expanded(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"{name} is a file, not a model folder: give the folder that holds config.json.")
    looks_like_path = name.startswith(("/", "./", "../", "~")) or not _HUB_ID.fullmatch(name)
    if looks_like_path:
        raise ModelError(f"The model folder {name} does not exist: check the path.")
    return None


def check_folders(policy: str, mas: str) -> None:
    """Raise UsageError where a policy's or scorer's name is a path and no folder lies there; both may be empty."""

    def check(name: str) -> str:
        try:
            local_folder(name)
        except ModelError as error:
            raise UsageError(str(error)) from error
        return name

    if policy.isprintable() and policy and not names_remote(policy):  # what is not has a sentence of its own
        check(policy)
    if mas:
        map_folders(mas, check)


def check_config(name: str, folder: Path) -> dict:
    """config.json as it is written. Raises ModelError when it is not there or cannot be read."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{name} has no config.json: it is not a model folder; give one that save_pretrained wrote.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{name}: its configuration (config.json) cannot be loaded ({error}): copy or download the model again."
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"{name}: its configuration (config.json) is no JSON object: download the model again.")
    return config


def check_code(name: str, config: dict, options: ModelOptions) -> None:
    """Raise ModelError for a model that only its own code can run, unless that is allowed."""
    if options.trust_remote_code or not config.get("auto_map") or _known_to_transformers(config.get("model_type")):
        return
    raise ModelError(needs_code(name))


def needs_code(name: str) -> str:
    return (
        f"{name} brings Python code of its own, which is not run unless you allow it: read that code, then give "
        "--trust-remote-code (train: --set trust_remote_code=true; page: Model options), or use another model."
    )


def code_warning(name: str) -> str:
    """What --trust-remote-code means, to be told with every run that has it."""
    return (
        f"trust_remote_code is on: Python code that comes with {name} is run with your rights, and may read, change "
        "and send whatever you can."
    )


def _known_to_transformers(model_type: object) -> bool:
    package = importlib.util.find_spec("transformers")
    return isinstance(model_type, str) and (
        (Path(package.origin).parent / "models" / model_type.replace("-", "_")).is_dir()
    )


def _check_kind(name: str, config: dict) -> None:
    """Refuse what is plainly a text or embedding model; the worker knows the rest."""
    classes = config.get("architectures") or []
    sees = any(word in key for key in config for word in ("vision", "visual", "image", "mm_"))
    silent = ("Model", "ForMaskedLM") if sees else ("Model", "ForMaskedLM", "ForCausalLM")
    if classes and all(str(name).endswith(silent) for name in classes):
        raise UnusableModelError(f"{name} holds a {config.get('model_type')} model, which {NOT_FOR_IMAGES}.")


def check_tokenizer(name: str, folder: Path) -> None:
    """Raise ModelError for a folder without any tokenizer file."""
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ModelError(f"{name} has no tokenizer: copy tokenizer.json and tokenizer_config.json into it.")


def _check_processor(name: str, folder: Path, config: dict) -> None:
    processor, tokenizer = _read(folder / "processor_config.json"), _read(folder / "tokenizer_config.json")
    if "image_processor" not in processor and not (folder / "preprocessor_config.json").is_file():
        raise ModelError(f"{name} has no image processor: copy preprocessor_config.json from the original model.")
    files = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")
    if not ("chat_template" in processor | tokenizer or any((folder / file).exists() for file in files)):
        raise ModelError(f"{name} has no chat template: add chat_template.jinja from the original model.")
    if config.get("model_type") in NEED_TORCHVISION and importlib.util.find_spec("torchvision") is None:
        raise ModelError(f"{name} {TORCHVISION}.")
    if config.get("model_type") == "smolvlm":
        _need("num2words", f"{name} (SmolVLM)")


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # the worker's libraries say what is wrong with it
        return {}
    return found if isinstance(found, dict) else {}


def check_adapter(adapter: str) -> Path:
    """The adapter's folder. Raises ModelError for one that peft did not save, or that is damaged."""
    folder = expanded(adapter)
    config, weights = (folder / name for name in ("adapter_config.json", "adapter_model.safetensors"))
    for needed in (config, weights):
        if not needed.is_file():
            raise ModelError(f"{adapter} has no {needed.name}: it is not an adapter folder that peft saved.")
    if "peft_type" not in _read(config):
        raise ModelError(f"{adapter}: adapter_config.json is damaged, or not of peft: copy or save the adapter again.")
    try:
        with safe_open(weights, framework="np"):  # its head and length alone
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{adapter}: {weights.name} is damaged or cut off ({error}): copy or save the adapter again."
        ) from error
    return folder


def check_weight_files(name: str, folder: Path) -> list[Path]:
    """The safetensors files. Raises ModelError for pickled weights alone, none, or one that the index names in vain."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = next((path for path in sorted(folder.iterdir()) if path.suffix in _PICKLED), None)
        if pickled is not None:
            raise ModelError(
                f"{name} has only pickled weights ({pickled.name}), which could run any code when loaded: "
                "convert them to safetensors with save_pretrained."
            )
        raise ModelError(f"{name} has no weights: put its model.safetensors there.")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{index} cannot be read ({error}): copy or download it again.") from error
        absent = sorted(named - {path.name for path in weights})
        if absent:
            raise ModelError(f"{name} lacks the weight file {absent[0]}: copy or download it again.")
    return weights
