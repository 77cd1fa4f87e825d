"""Models from a folder or the hub, and for whatever can be wrong with them one clear sentence.

Only safetensors are read and no code that comes with a model is ever run: pickled weights and
`trust_remote_code` would both execute whatever their author liked.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from m3po.errors import ModelError

_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)
_TORCHVISION = (
    "needs torchvision for its processor: install the torchvision build that goes with this torch "
    "(see pytorch.org), then try again"
)


def pick_device() -> torch.device:
    """The accelerator where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def pick_dtype(device: torch.device) -> torch.dtype:
    """float32 on the CPU, where half precision is slower; bfloat16 on CUDA."""
    if device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32


def load_policy_model(
    name: str | Path,
    adapter: str | Path | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[torch.nn.Module, object]:
    """Load an image-text-to-text model and its processor, in eval mode.

    `name` is a folder or a hub id, `adapter` a folder that peft saved; its LoRA weights are merged in float32
    and stay beside the base weights in half precision, where merging would round them away. `device` and
    `dtype` default to `pick_device()` and `pick_dtype()`.

    Raises ModelError with one sentence that names the folder and the remedy.
    """
    name = str(name)
    config = load_config(name)
    if type(config) not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
        raise ModelError(
            f"{name} holds a {config.model_type} model, which answers no image instructions: "
            "give an image-text-to-text model (LLaVA, Qwen-VL, ...)."
        )
    processor = load_processor(name)
    if getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name} has no image processor: copy preprocessor_config.json from the original model.")
    if not (getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)):
        raise ModelError(f"{name} has no chat template: add chat_template.jinja from the original model.")
    device = torch.device(device) if device is not None else pick_device()
    dtype = dtype or pick_dtype(device)
    model = load_weights(AutoModelForImageTextToText, name, dtype)
    if adapter is not None:
        model = _with_adapter(model, str(adapter), merge=dtype == torch.float32)
    return model.to(device).eval(), processor


def load_config(name: str):
    """The model's configuration. Raises ModelError when the folder is missing, no model, or damaged."""
    folder = _local_folder(name)
    if folder is not None and not (folder / "config.json").is_file():
        raise ModelError(f"{name} has no config.json: it is not a model folder; give one that save_pretrained wrote.")
    with _explained(name, "configuration (config.json)"):
        return AutoConfig.from_pretrained(name, trust_remote_code=False)


def load_processor(name: str):
    """The model's processor with its tokenizer. Raises ModelError when a file is missing or damaged."""
    folder = _local_folder(name)
    if folder is not None and not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise ModelError(f"{name} has no tokenizer: copy tokenizer.json and tokenizer_config.json into it.")
    with _explained(name, "tokenizer or processor"):
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or len(tokenizer) == 0:
        raise ModelError(f"{name} has no tokenizer: copy tokenizer.json and tokenizer_config.json into it.")
    return processor


def load_tokenizer(name: str):
    """The tokenizer of a text model. Raises ModelError when a file is missing or damaged."""
    _local_folder(name)
    with _explained(name, "tokenizer"):
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def load_weights(auto_class, name: str, dtype: torch.dtype) -> torch.nn.Module:
    """The model's weights, from safetensors alone and complete.

    Raises ModelError for pickled-only, damaged or incomplete weights: transformers would fill a gap with
    random ones.
    """
    folder = _local_folder(name)
    if folder is not None:
        _check_weight_files(name, folder)
    with _explained(name, "weights"):
        model, info = auto_class.from_pretrained(
            name, dtype=dtype, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{name} lacks {len(missing)} of its weights (first {missing[0]}): copy or download it again.")
    return model


def _check_weight_files(name: str, folder: Path) -> None:
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickled = next((p for p in sorted(folder.iterdir()) if p.suffix in (".bin", ".pt", ".pth", ".ckpt")), None)
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
    for path in weights:
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged or cut off ({error}): copy or download it again.") from error


def _with_adapter(model: torch.nn.Module, adapter: str, *, merge: bool) -> torch.nn.Module:
    folder = Path(adapter).expanduser()
    for needed in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / needed).is_file():
            raise ModelError(f"{adapter} has no {needed}: it is not an adapter folder that peft saved.")
    try:
        with safe_open(folder / "adapter_model.safetensors", framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{adapter}: adapter_model.safetensors is damaged or cut off ({error}).") from error
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            peft_model = PeftModel.from_pretrained(model, str(folder), is_trainable=False)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"The adapter {adapter} does not fit this model: {_first_line(error)}.") from error
    for warning in caught:  # peft only warns when weights have no place, and the adapter would then do nothing
        if "missing adapter keys" in str(warning.message).lower():
            raise ModelError(f"The adapter {adapter} does not fit this model: {_first_line(warning.message)}.")
    return peft_model.merge_and_unload() if merge else peft_model.get_base_model()


def _local_folder(name: str) -> Path | None:
    """The folder that `name` is, None for a hub id. Raises ModelError for a path where nothing lies."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"{name} is a file, not a model folder: give the folder that holds config.json.")
    looks_like_path = name.startswith(("/", "./", "../", "~")) or not _HUB_ID.fullmatch(name)
    if looks_like_path:
        raise ModelError(f"The model folder {name} does not exist: check the path.")
    return None


@contextmanager
def _explained(name: str, part: str) -> Iterator[None]:
    """Turn what transformers raises for a bad folder or an unreachable hub into a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_sentence(name, part, error)) from error


def _sentence(name: str, part: str, error: Exception) -> str:
    text = str(error)
    if isinstance(error, ImportError) and "torchvision" in text.lower():
        return f"{name} {_TORCHVISION}."
    if isinstance(error, ImportError) and "sentencepiece" in text.lower():
        return f"{name} needs the package sentencepiece for its tokenizer: install it, then try again."
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"{name} does not fit into this machine's memory: use a smaller model or a larger device."
    if "trust_remote_code" in text:
        return f"{name} brings code of its own, which is never run here: use a model that transformers knows."
    if Path(name).expanduser().is_dir():
        return f"{name}: its {part} cannot be loaded ({_first_line(error)}): copy or download the model again."
    if "safetensors" in text and "connect" not in text:
        return f"{name} has no safetensors weights, and pickled ones are never loaded: choose another model."
    return (
        f"The model {name} is neither a folder here nor could it be fetched from the Hugging Face hub: "
        "check the name and the connection, or give a local folder."
    )


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    first = lines[0].split(". ")[0] if lines else type(error).__name__
    return first[:200].rstrip(".: ")
