"""Models from a folder or the hub, and for whatever can be wrong with them one clear sentence.

Only safetensors are read, as pickled weights would execute whatever their author liked; so would code that comes with
a model, which is run only where `trust_remote_code` says so.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when huggingface_hub is imported

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from m3po.errors import ModelError, UnusableModelError
from m3po.models import checks
from m3po.models.hub import check_hub
from m3po.models.pixels import limit_pixels
from m3po.settings import ModelOptions

_PACKAGE = re.compile(r"pip install (?:-U )?([\w-]+)")  # what transformers tells to install


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
    options: ModelOptions | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> tuple[torch.nn.Module, object]:
    """Load an image-text-to-text model and its processor, in eval mode.

    `name` is a folder or a hub id, `adapter` a folder that peft saved; its LoRA weights are merged in float32
    and stay beside the base weights in half precision, where merging would round them away. `device` and
    `dtype` go before `options`; where neither says anything they are `pick_device()` and `pick_dtype()`.

    Raises ModelError with one sentence that names the folder and the remedy, before the weights are read where
    the rest of the model shows it.
    """
    name, options = str(name), options or ModelOptions()
    checks.check_policy(name, None if adapter is None else str(adapter), options)
    trust = options.trust_remote_code
    device = _device(device or (options.device_map if options.device_map != "auto" else ""))
    dtype = dtype or _dtype(options.dtype) or pick_dtype(device)
    if options.quantise and device.type != "cuda":
        raise ModelError(f"quantise = {options.quantise} needs a CUDA GPU, and torch finds none here: leave it out.")
    config, processor = load_parts(name, options)
    placing = _placing(options, device, dtype)
    if options.attention:
        placing["attn_implementation"] = options.attention
    model = load_weights(AutoModelForImageTextToText, name, dtype, trust=trust, config=config, **placing)
    placed = "device_map" in placing
    if adapter is not None:
        model = _with_adapter(model, str(adapter), merge=dtype == torch.float32 and not placed)
    return (model if placed else model.to(device)).eval(), processor


def load_parts(name: str, options: ModelOptions) -> tuple[object, object]:
    """A policy's configuration and processor, as its weights are used with: all that decides which tokens a
    conversation has. Raises ModelError as load_policy_model does."""
    trust = options.trust_remote_code
    config = load_config(name, trust=trust)
    _check_answers_images(name, config)
    processor = load_processor(name, trust=trust)
    if getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name} has no image processor: copy preprocessor_config.json from the original model.")
    if not (getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)):
        raise ModelError(f"{name} has no chat template: add chat_template.jinja from the original model.")
    limit_pixels(name, processor, config, options.max_pixels, options.min_pixels)
    return config, processor


def _device(name: str | torch.device) -> torch.device:
    """Raises ModelError for a device that is not here."""
    if not name:
        return pick_device()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise ModelError(f"device_map = {name} cannot be used here ({_first_line(error)}): leave it out.") from error
    return device


def _dtype(name: str) -> torch.dtype | None:
    return None if name == "auto" else getattr(torch, name)


def _placing(options: ModelOptions, device: torch.device, dtype: torch.dtype) -> dict:
    """What from_pretrained is told where it places the weights itself: spread over devices, or quantised."""
    placing: dict = {}
    if options.device_map == "auto":
        placing["device_map"] = "auto"
    if options.quantise:
        four = options.quantise == "4bit"
        placing["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=four, load_in_8bit=not four, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
        )
        placing.setdefault("device_map", {"": device})
    return placing


def _check_answers_images(name: str, config) -> None:
    own = getattr(config, "auto_map", None) or {}
    if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING or "AutoModelForImageTextToText" in own:
        return
    if own:
        raise ModelError(
            f"The code of {name} offers no AutoModelForImageTextToText in its auto_map, so transformers cannot find "
            "its model: use a version of it that does, or one that transformers knows."
        )
    raise UnusableModelError(f"{name} holds a {config.model_type} model, which {checks.NOT_FOR_IMAGES}.")


def load_config(name: str, *, trust: bool = False):
    """The model's configuration. Raises ModelError when the folder is missing, no model, or damaged."""
    folder = checks.local_folder(name)
    if folder is not None:
        checks.check_config(name, folder)
    with _explained(name, "configuration (config.json)"):
        return AutoConfig.from_pretrained(name, trust_remote_code=trust)


def load_processor(name: str, *, trust: bool = False):
    """The model's processor with its tokenizer. Raises ModelError when a file is missing or damaged."""
    folder = checks.local_folder(name)
    if folder is not None:
        checks.check_tokenizer(name, folder)
    with _explained(name, "tokenizer or processor"):
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=trust)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or len(tokenizer) == 0:
        raise ModelError(f"{name} has no tokenizer: copy tokenizer.json and tokenizer_config.json into it.")
    return processor


def load_tokenizer(name: str):
    """The tokenizer of a text model. Raises ModelError when a file is missing or damaged."""
    checks.local_folder(name)
    with _explained(name, "tokenizer"):
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)


def load_weights(auto_class, name: str, dtype: torch.dtype, *, trust: bool = False, **options) -> torch.nn.Module:
    """The model's weights, from safetensors alone and complete.

    Raises ModelError for pickled-only, damaged or incomplete weights: transformers would fill a gap with
    random ones.
    """
    folder = checks.local_folder(name)
    for path in checks.check_weight_files(name, folder) if folder is not None else ():
        try:
            with safe_open(path, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path} is damaged or cut off ({error}): copy or download it again.") from error
    with _explained(name, "weights"):
        model, info = auto_class.from_pretrained(
            name, dtype=dtype, trust_remote_code=trust, use_safetensors=True, output_loading_info=True, **options
        )
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{name} lacks {len(missing)} of its weights (first {missing[0]}): copy or download it again.")
    return model


def _with_adapter(model: torch.nn.Module, adapter: str, *, merge: bool) -> torch.nn.Module:
    peft_model = load_adapter(model, adapter)
    return peft_model.merge_and_unload() if merge else peft_model.get_base_model()


def load_adapter(
    model: torch.nn.Module, adapter: str, *, trainable: bool = False, name: str = "default"
) -> torch.nn.Module:
    """peft's model around `model` with the adapter that peft saved in a folder, to go on from where `trainable`; one
    that is peft's already gets the adapter beside those that it has, under `name`.

    Raises ModelError for one that is damaged or fits another model.
    """
    folder = checks.check_adapter(adapter)
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if isinstance(model, PeftModel):
                peft_model = model
                peft_model.load_adapter(str(folder), name, is_trainable=trainable)
            else:
                peft_model = PeftModel.from_pretrained(model, str(folder), name, is_trainable=trainable)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(_misfit(adapter, str(error))) from error
    for warning in caught:  # peft only warns when weights have no place, and the adapter would then do nothing
        if "missing adapter keys" in str(warning.message).lower():
            raise ModelError(_misfit(adapter, str(warning.message)))
    return peft_model


def check_fit(name: str, adapter: str, options: ModelOptions) -> None:
    """Raise ModelError for an adapter that is damaged or fits another model, before the policy's weights are read: its
    layers are laid out without numbers."""
    trust = options.trust_remote_code
    config = load_config(name, trust=trust)
    try:
        with torch.device("meta"):
            model = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust)
    except Exception:  # code of its own may want numbers; what is wrong is then told when it is loaded
        return
    load_adapter(model, adapter)


def _misfit(adapter: str, text: str) -> str:
    shapes = next((line.strip() for line in text.splitlines() if "size mismatch" in line), text)
    return f"The adapter {adapter} does not fit this model ({_first_line(shapes)}): choose the one it was trained on."


@contextmanager
def _explained(name: str, part: str) -> Iterator[None]:
    """Turn what transformers raises for a bad folder or an unreachable hub into a ModelError."""
    if not Path(name).expanduser().is_dir():
        check_hub(name)
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_sentence(name, part, error)) from error


def _sentence(name: str, part: str, error: Exception) -> str:
    text = str(error)
    if "torchvision" in text.lower():
        return f"{name} {checks.TORCHVISION}."
    if isinstance(error, ImportError) and "sentencepiece" in text.lower():
        return f"{name} needs the package sentencepiece for its tokenizer: install it, then try again."
    if isinstance(error, ImportError) and (package := _PACKAGE.search(text)):
        return f"{name} needs the Python package {package[1]}: pip install {package[1]}, then try again."
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"{name} does not fit into this machine's memory: use a smaller model or a larger device."
    if "trust_remote_code" in text:
        return checks.needs_code(name)
    if Path(name).expanduser().is_dir():
        return f"{name}: its {part} cannot be loaded ({_first_line(error)}): copy or download the model again."
    if "safetensors" in text and "connect" not in text:
        return f"{name} has no safetensors weights, and pickled ones are never loaded: choose another model."
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return (
            f"The model {name} is neither a folder here nor in the cache of earlier downloads, and downloading is off "
            "(remote = false in config.toml, or HF_HUB_OFFLINE): give a local folder."
        )
    return (
        f"The model {name} is neither a folder here nor could it be fetched from the Hugging Face hub: "
        "check the name and the connection, or give a local folder."
    )


def _first_line(error: object) -> str:
    lines = str(error).strip().splitlines()
    first = lines[0].split(". ")[0] if lines else type(error).__name__
    return first[:200].rstrip(".: ")
