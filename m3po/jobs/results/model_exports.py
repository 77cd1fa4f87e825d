"""What a finished run's adapter becomes: a folder for others, alone or merged into its policy, with a model card; or
the policy of the next round."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from m3po.errors import JobError
from m3po.evaluation.metrics import METRICS
from m3po.files import absolute, check_new_folder, new_folder
from m3po.jobs import schemas
from m3po.jobs.runner import JobRunner
from m3po.settings import MergeConfig, ModelOptions, SampleConfig
from m3po.store import runs
from m3po.store.workspace import Workspace
from m3po.text import counted
from m3po.training.options import SETTINGS
from m3po.types import Run


def export_adapter(runner: JobRunner, result: Mapping, out: Path) -> dict:
    """Copy the adapter of a run (an entry of Outcomes.results) with its model card to `out`: `path`, `message`.

    Raises JobError for a run without an adapter, UsageError for a folder in use, StorageError.
    """
    source = adapter_of(runner, result["run"])
    out = absolute(out)
    check_new_folder(out, runner.root.parent)
    with new_folder(out) as part:
        for path in source.iterdir():
            if path.is_file():
                shutil.copyfile(path, part / path.name)
        _name_base(part / "adapter_config.json")
        (part / "README.md").write_text(build_model_card(result), encoding="utf-8")
    return {"path": str(out), "message": f"The adapter of run {result['run'].id} is in {out}."}


def launch_merge(workspace: Workspace, runner: JobRunner, result: Mapping, out: Path) -> int:
    """Queue writing the policy with the run's adapter merged in; returns the run's id. Raises as export_adapter."""
    adapter = adapter_of(runner, result["run"])
    out = absolute(out)
    check_new_folder(out, runner.root.parent)
    options = ModelOptions.of_run(result["config"]).model_options()
    config = MergeConfig(policy=result["config"]["policy"], adapter=str(adapter), out=str(out), **options)
    values = dataclasses.asdict(config) | {"card": build_model_card(result, merged=True)}
    frozen = runner.freeze("merge", values, schemas.NO_INPUT.empty_table())
    command = ["python", "-m", "m3po", "export-model", str(workspace.path), str(result["run"].id), str(out), "--merge"]
    return runner.queue_frozen(
        [frozen], lambda con: runner.queue(con, "merge", values, shlex.join(command), frozen=frozen)
    )


def next_round(workspace: Workspace, runner: JobRunner, run: Run) -> SampleConfig:
    """How the next round samples: from the policy with this run's adapter, else as the newest sampling of the train
    split did. Raises JobError for a run without an adapter, or whose round is under way."""
    adapter = adapter_of(runner, run)
    past = workspace.db.read(lambda con: runs.read_runs(con, ("sample",), limit=100))
    if same := next((each for each in past if each.active and each.config.get("adapter") == str(adapter)), None):
        raise JobError(f"The next round from run {run.id} is under way already: run {same.id} samples.")
    whole = [
        SampleConfig.of_run(each.config) for each in past if not (each.config.get("pilot") or each.config.get("limit"))
    ]
    options = ModelOptions.of_run(run.config).model_options()
    given = {"policy": run.config["policy"], "adapter": str(adapter), **options}
    return dataclasses.replace(whole[0], **given) if whole else SampleConfig(**given)


def adapter_of(runner: JobRunner, run: Run) -> Path:
    """The folder of a finished training run's adapter. Raises JobError."""
    if run.kind != "train":
        raise JobError(f"Run {run.id} is of the kind {run.kind}: give a training run.")
    folder = runner.folder(run.id).adapter_path
    if run.state != "finished" or not (folder / "adapter_config.json").is_file():
        raise JobError(f"Run {run.id} is {run.state} and has no finished adapter: resume it first.")
    return folder


def build_model_card(result: Mapping, *, merged: bool = False) -> str:
    """README.md with its YAML front matter: what was trained, on what, by which settings, and what it measured."""
    config, run = result["config"], result["run"]
    base = _name_model(config["policy"])
    settings = [f"- {name}: {config[name]}" for name in SETTINGS if config.get(name) not in (None, "")]
    settings += [f"- {line}" for line in (config.get("further") or "").splitlines()]
    lines = [
        "---",
        *([] if merged else ["library_name: peft"]),
        *([f"base_model: {base}"] if base == config["policy"] else []),
        "pipeline_tag: image-text-to-text",
        f"tags: [{config.get('method', 'dpo')}, m3po, vision-language]",
        "# license: yours to choose; the licences of the base model and of the training data bind it",
        "---",
        "",
        f"# {base.rpartition('/')[2]}, fine-tuned with M3PO Studio",
        "",
        f"{'The model with a LoRA adapter merged into it' if merged else 'A LoRA adapter'} for `{base}`"
        + (f", going on from `{_name_model(config['adapter'])}`" if config.get("adapter") else "") + ".",
        _say_pairs(result),
        "",
        "## Settings",
        "",
        *settings,
        "",
        *_say_figures(result),
        *(f"Trained with {name} {number}." for name, number in sorted((run.result or {}).get("packages", {}).items())),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _name_model(name: str) -> str:
    """A hub id as it is; of a folder its last part, as where it lies is nothing to publish."""
    return Path(name).name if name.startswith(("/", "~", ".")) or Path(name).is_dir() else name


def _name_base(path: Path) -> None:
    """In the adapter's own config, too."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = _name_model(config.get("base_model_name_or_path") or "")
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _say_pairs(result: Mapping) -> str:
    if not result["pairs"]:
        return "Which pairs it learned from is not known: it was trained by another program."
    how = "supervised on the chosen answers of" if result["config"].get("method") == "sft" else "by DPO on"
    return (
        f"It was trained {how} {counted(result['pairs'], 'preference pair')}, {result['human']:,} of them by people; "
        f"content hash `{result['content_hash']}`."
    )


def _say_figures(result: Mapping) -> list[str]:
    before, after = result["before"], result["after"]
    if not (before and after):
        return ["It was not measured on held-out data.", ""]
    rows = [
        f"| {metric.label} | {before[metric.key]:.4g} | {after[metric.key]:.4g} |"
        for metric in METRICS.values()
        if before.get(metric.key) is not None and after.get(metric.key) is not None
    ]
    return ["## Held-out figures", "", "| Figure | Before | After |", "|---|---|---|", *rows, ""]
