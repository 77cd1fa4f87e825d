"""What one arm of a comparison is trained with where that differs from the others: written as ARM:key=value.

The same for all arms is the budget: pairs, batch and optimiser steps. How fast an arm learns best is its own: a rate
that suits DPO on pairs starves supervised learning. TUNED has what `benchmarks/tune_demo.py` found, with as many trials
of two seeds for each arm (six for simulated RLHF, a trial of which takes three times as long), on pictures that no
figure is measured on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from m3po.errors import UsageError
from m3po.jobs.comparing.arms import ARMS, BASE
from m3po.settings import TrainConfig
from m3po.training.options import split_further, write_further
from m3po.training.presets import build_train_config

# Of the budget, which is everybody's; what an arm is; and what all arms share.
SHARED = ("epochs", "max_steps", "batch_size", "gradient_accumulation", "seed", "method", "only", "reward", "processes")
ArmSettings = Mapping[str, Mapping[str, str]]  # by arm and key, as text

# By preset, for the models of the demo alone.
TUNED: dict[str, dict[str, dict[str, str]]] = {
    "demo": {
        "sft": {"learning_rate": "3.2e-3"},
        "dpo": {"learning_rate": "8e-4", "loss_weights": "1+3", "beta": "0.1"},
        "rm_dpo": {"learning_rate": "8e-4", "loss_weights": "1+8", "beta": "0.1"},
        "m3po": {"learning_rate": "8e-4", "loss_weights": "1+8", "beta": "0.1"},
        "rlhf": {"learning_rate": "1e-3", "beta": "0.01"},
    }
}


def split_settings(overrides: Mapping[str, str]) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """`--set` of a comparison: what every arm is given, and by arm what it alone is. Raises UsageError."""
    common: dict[str, str] = {}
    own: dict[str, dict[str, str]] = {}
    for name, value in overrides.items():
        arm, colon, key = name.partition(":")
        if not colon:
            common[name] = value
            continue
        if arm == BASE:
            raise UsageError(f"{BASE} is not trained, so it has no {key!r:.40}: leave {name!r:.60} out.")
        if arm not in ARMS:
            names = ", ".join(name for name in ARMS if name != BASE)
            raise UsageError(f"There is no arm {arm!r:.40} to set {key!r:.40} of: choose among {names}.")
        if key in SHARED:
            raise UsageError(f"{key} is the same for all arms of a comparison: write {key}={value} without {arm}:.")
        own.setdefault(arm, {})[key] = value
    return common, own


def settle(
    config: TrainConfig, own: ArmSettings, *, asked: Collection[str] = (), demo: bool
) -> dict[str, dict[str, str]]:
    """What each arm is given beyond `config`: its `own`, and, in a `demo` workspace, beneath it what was tuned for the
    preset, but for the keys that somebody `asked` for in `config`. Raises UsageError for a setting that cannot be."""
    plain = build_train_config(config.policy, config.preset)
    tuned = TUNED.get(config.preset, {}) if demo else {}  # rates for the demo's small model would ruin another
    settled = {}
    for arm in ARMS.values():
        found = {}
        for key, value in tuned.get(arm.like or arm.name, {}).items():
            here = getattr(config, key)
            if key not in asked:
                found[key] = value
            elif here == getattr(plain, key):  # kept by name: who asks again by what was stored asks for it, too
                found[key] = str(here)
        if arm.like:  # its control: nothing but what it is the control of may differ
            found |= own.get(arm.like, {})
        if found := found | own.get(arm.name, {}):
            settled[arm.name] = found
    for values in settled.values():
        build_train_config(config.policy, config.preset, values)
    return settled


def arm_config(config: TrainConfig, values: Mapping[str, str]) -> TrainConfig:
    """`config` with an arm's own settings, as `settle` gives them, laid over it."""
    read = build_train_config(config.policy, config.preset, values)
    further = split_further(config.further) | {key: value for key, value in values.items() if "." in key}
    named = {key: getattr(read, key) for key in values if "." not in key}
    return dataclasses.replace(config, **named, further=write_further(further))
