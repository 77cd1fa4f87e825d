"""What several commands take, said once: the workspace, JSON, models and their options, and names made absolute.

Names are made absolute because the app that is asked may run in another folder.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from m3po.errors import BadInputError, UsageError
from m3po.files import absolute, expanded
from m3po.formats.hub import parse_hub
from m3po.scorer_spec import map_folders
from m3po.settings import ModelOptions
from m3po.training.presets import PRESETS, parse_overrides

Workspace = Annotated[Path, typer.Argument(metavar="WORKSPACE", help="the workspace folder")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Policy = Annotated[str, typer.Option(help="hub id or folder (sample: remote:MODEL@URL too); default: the workspace's")]
BatchSize = Annotated[int, typer.Option(help="instructions at a time; 0 = as many as fit into memory")]
# Of a training run, and of what looks at its pairs beforehand.
TrainedAdapter = Annotated[str, typer.Option(help="folder of a LoRA adapter to go on from; it is the reference, too")]
Method = Annotated[str, typer.Option(help="dpo, sft or grpo")]
Preset = Annotated[str, typer.Option(help=f"{', '.join(PRESETS)}")]
Settings = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="a setting of those below; repeatable")]
MODEL_OPTIONS = {
    "dtype": "auto, float32, bfloat16 or float16",
    "device_map": "auto (spread over all devices) or a device, as in cuda:1",
    "attention": "eager, sdpa or flash_attention_2",
    "quantise": "4bit or 8bit, by bitsandbytes, on a GPU",
    "max_pixels": "of an image as the model sees it; 0 = its processor's own",
    "min_pixels": "likewise",
    "trust_remote_code": "run the Python code that comes with the model: it may do whatever you can",
}


def takes_model_options(command: Callable) -> Callable:
    """Give `command` an option for each field of ModelOptions; it gets them all as the dict `model`."""
    fields = dataclasses.fields(ModelOptions)

    @functools.wraps(command)
    def run(**given: object) -> None:
        command(model={field.name: given.pop(field.name) for field in fields}, **given)

    own = inspect.signature(command, eval_str=True)
    parameters = [parameter for parameter in own.parameters.values() if parameter.name != "model"]
    for field in fields:
        name = f"--{field.name.replace('_', '-')}"  # without it typer adds a --no-... to a switch
        option = Annotated[type(field.default), typer.Option(name, help=MODEL_OPTIONS[field.name])]
        parameters.append(
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=option)
        )
    run.__signature__ = inspect.Signature(parameters)
    return run


def resolve_source(name: str) -> str:
    """A path as an absolute one (the app may run elsewhere), a data set of the hub as it is. Raises UsageError."""
    try:
        return name if parse_hub(name) else str(absolute(name))
    except BadInputError as error:
        raise UsageError(str(error)) from error


def resolve_model(name: str) -> str | None:
    """A folder as an absolute path (the app may run elsewhere), a hub id or remote:MODEL@URL as it is."""
    folder = expanded(name)
    return (str(folder.resolve()) if folder.is_dir() else name) if name else None


def resolve_scorer(name: str) -> str | None:
    """The same for each model that a scorer's name holds."""
    return map_folders(name, lambda model: resolve_model(model) or model) if name else None


def resolve_scorer_name(name: str) -> str:
    return name if name.isdecimal() else resolve_scorer(name) or name


def train_options(policy: str, adapter: str, method: str, preset: str, settings: list[str]) -> dict:
    """A training run's options as m3po.bridge takes them. Raises UsageError."""
    models = {"policy": resolve_model(policy), "adapter": resolve_model(adapter)}
    return models | {"preset": preset, "overrides": {"method": method} | parse_overrides(settings)}
