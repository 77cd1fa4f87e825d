"""Where an adapter may lie, and which models have such a place."""

from __future__ import annotations

import json

import pytest

from m3po.errors import JobError
from m3po.models.policy import Policy
from m3po.settings import TrainConfig
from m3po.training.adapters import check_language_model, check_trainable, find_language_model

pytestmark = pytest.mark.slow


def test_an_adapter_outside_the_language_model_is_refused(tiny_policy):
    from peft import LoraConfig, get_peft_model

    policy = Policy.load(tiny_policy)
    prefix = find_language_model(policy.model)
    model = get_peft_model(policy.model, LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    with pytest.raises(JobError, match="vision_tower"):
        check_trainable(model, prefix)


def test_a_model_without_a_known_language_model_is_refused_before_its_weights(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "git"}))  # no weights there at all
    with pytest.raises(JobError, match="keeps its language model in an unknown place"):
        check_language_model(TrainConfig(policy=str(tmp_path)))


def test_a_model_with_one_is_let_through(tiny_policy):
    check_language_model(TrainConfig(policy=str(tiny_policy)))


def test_layers_that_the_model_does_not_have_are_refused_before_its_weights_are_read(tiny_policy):
    check_language_model(TrainConfig(policy=str(tiny_policy), lora_target_modules="q_proj, v_proj"))
    with pytest.raises(JobError, match=r"names c_attn, which the language model does not have: choose among .*q_proj"):
        check_language_model(TrainConfig(policy=str(tiny_policy), lora_target_modules="q_proj,c_attn"))
