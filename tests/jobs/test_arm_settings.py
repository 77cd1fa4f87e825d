"""What one arm of a comparison is trained with where that differs from the others."""

from __future__ import annotations

import dataclasses

import gradio as gr
import pytest
from runs_here import open_quietly

from m3po.bridge import call
from m3po.command_options import train_options
from m3po.errors import UsageError
from m3po.jobs.comparing import arm_settings
from m3po.jobs.comparing.arm_settings import SHARED, TUNED, arm_config, settle, split_settings
from m3po.jobs.comparing.arms import ARMS, BASE
from m3po.jobs.comparing.comparisons import Comparisons
from m3po.studio import Studio
from m3po.training.presets import PRESETS, build_train_config
from m3po.workspace_config import WorkspaceConfig
from ui.compare_card import build_compare_card

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
    other = dataclasses.replace(plain, beta=0.5)  # of all arms: the tuned beta is not theirs any more
    assert settle(other, {}, asked=["beta"], demo=True)["m3po"] == {"loss_weights": "1+4"}
    settled = settle(plain, {}, asked=["beta"], demo=True)  # the preset's own value, asked for all the same
    assert settled["m3po"] == {"beta": "0.1", "loss_weights": "1+4"}
    assert settle(plain, settled, demo=True) == settled  # as the command of the comparison asks for it again
    assert settle(plain, {"m3po": {"beta": "0.2"}}, demo=True)["m3po"] == {"beta": "0.2", "loss_weights": "1+4"}
    assert settle(dataclasses.replace(plain, preset="gpu24"), {}, demo=True) == {}
    assert settle(plain, {}, demo=False) == {}  # another's model would be ruined by the rates of the demo's


def started_by_command(studio, settings: list[str]) -> None:
    given = train_options("model", "", "dpo", "demo", settings)
    given["overrides"], own = split_settings(given["overrides"])
    call(studio, "compare", {"given": given, "own": own})


def started_on_the_page(studio, settings: list[str]) -> None:
    with gr.Blocks() as page, gr.Tab() as tab:
        build_compare_card(studio, page, tab)
    on_start = next(fn.fn for fn in page.fns.values() if fn.fn and fn.fn.__name__ == "on_start")
    on_start(1, "demo", 0.1, " ".join(settings), [], "", None, [])


@pytest.mark.parametrize("start", [started_by_command, started_on_the_page])
def test_command_and_page_tell_which_settings_somebody_asked_for(start, monkeypatch, tmp_path):
    studio = open_quietly(Studio.create(tmp_path / "ws", WorkspaceConfig(policy="model")))
    told = []
    monkeypatch.setattr(Comparisons, "start", lambda _, config, **options: told.append((config, options)))
    start(studio, ["beta=0.1", "m3po:lora_r=4"])
    studio.close()
    [(config, options)] = told
    assert config == build_train_config("model", "demo") and options["own"] == {"m3po": {"lora_r": "4"}}
    assert "beta" in options["asked"] and not {"lora_r", "m3po:lora_r"} & set(options["asked"])


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
