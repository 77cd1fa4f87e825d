"""What one arm of a comparison is trained with where that differs from the others."""

from __future__ import annotations

import dataclasses

import pytest

from m3po.errors import UsageError
from m3po.jobs import arm_settings
from m3po.jobs.arm_settings import SHARED, TUNED, arm_config, settle, split_settings
from m3po.jobs.arms import ARMS, BASE
from m3po.training.presets import PRESETS, build_train_config

TUNED_HERE = {"demo": {"sft": {"learning_rate": "1e-3"}, "m3po": {"beta": "0.03", "loss_weights": "1+4"}}}


@pytest.fixture
def tuned(monkeypatch):
    monkeypatch.setattr(arm_settings, "TUNED", TUNED_HERE)


def test_settings_with_an_arm_before_them_are_that_arms_alone():
    common, own = split_settings({"beta": "0.2", "sft:learning_rate": "1e-3", "sft:lora_r": "8", "m3po:beta": "0.3"})
    assert common == {"beta": "0.2"}
    assert own == {"sft": {"learning_rate": "1e-3", "lora_r": "8"}, "m3po": {"beta": "0.3"}}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nobody:beta", "no arm 'nobody'"),
        (f"{BASE}:beta", "base is not trained"),
        ("m3po:epochs", "epochs is the same"),
    ],
)
def test_what_is_no_arm_or_is_everybodys_is_refused(name, said):
    with pytest.raises(UsageError, match=said):
        split_settings({name: "1"})


def test_what_was_tuned_gives_way_to_what_is_asked_for(tuned):
    plain = build_train_config("model", "demo")
    assert settle(plain, {}, demo=True)["sft"] == {"learning_rate": "1e-3"}
    asked = dataclasses.replace(plain, beta=0.5)  # of all arms: the tuned beta is not theirs any more
    assert settle(asked, {}, demo=True)["m3po"] == {"loss_weights": "1+4"}
    assert settle(plain, {"m3po": {"beta": "0.2"}}, demo=True)["m3po"] == {"beta": "0.2", "loss_weights": "1+4"}
    assert settle(dataclasses.replace(plain, preset="gpu24"), {}, demo=True) == {}
    assert settle(plain, {}, demo=False) == {}  # another's model would be ruined by the rates of the demo's


def test_a_control_is_trained_like_what_it_is_the_control_of(tuned):
    settled = settle(build_train_config("model", "demo"), {"m3po": {"lora_r": "4"}}, demo=True)
    assert settled["m3po_shuffled"] == settled["m3po_corrected"] == settled["m3po"]
    assert "dpo" not in settled


def test_a_setting_that_cannot_be_is_refused_before_any_run():
    with pytest.raises(UsageError, match="beta"):
        settle(build_train_config("model", "demo"), {"sft": {"beta": "much"}}, demo=False)


def test_an_arms_config_differs_in_its_settings_alone():
    plain = build_train_config("model", "demo")
    config = arm_config(plain, {"beta": "0.3", "loss_type": "ipo"})
    assert config == dataclasses.replace(plain, beta=0.3, loss_type="ipo")
    assert arm_config(plain, {}) == plain
    common = build_train_config("model", "demo", {"trl.neftune_noise_alpha": "5"})
    both = build_train_config("model", "demo", {"trl.neftune_noise_alpha": "5", "trl.use_weighting": "true"})
    assert arm_config(common, {"trl.use_weighting": "true"}) == both


def test_what_is_tuned_leaves_the_budget_alone():
    for preset, arms in TUNED.items():
        assert preset in PRESETS and set(arms) <= set(ARMS)
        for values in arms.values():
            assert not set(values) & set(SHARED)
            build_train_config("model", preset, values)
