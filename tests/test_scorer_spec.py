"""How scorers are named: what is written is what is read, and a mistake gets one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from m3po.errors import UsageError, WorkspaceError
from m3po.scorer_spec import (
    KINDS,
    REMOTE_KINDS,
    ScorerPart,
    ScorerSpec,
    map_folders,
    name_models,
    parse_scorer,
    short_name,
)
from m3po.settings import ScoreConfig
from m3po.workspace_config import read_workspace_config

ROOT = Path(__file__).resolve().parents[1]
MODELS = st.from_regex(r"[A-Za-z0-9_./][A-Za-z0-9_./-]{0,30}", fullmatch=True)
PARTS = st.builds(
    lambda kind, model, url: ScorerPart(kind, f"{model}@http://{url}" if kind in REMOTE_KINDS else model),
    st.sampled_from(["", *KINDS]),
    MODELS,
    st.from_regex(r"[a-z][a-z0-9]{0,8}(\.[a-z]{2,3})?(:[1-9][0-9]{0,3})?(/[a-z0-9]{1,5}){0,2}", fullmatch=True),
)
WEIGHTS = st.floats(1e-7, 1e7)
SPECS = PARTS.map(lambda part: ScorerSpec((part,), (1.0,))) | st.lists(
    st.tuples(PARTS, WEIGHTS), min_size=2, max_size=4, unique_by=lambda pair: pair[0]
).map(lambda pairs: ScorerSpec(tuple(p for p, _ in pairs), tuple(w for _, w in pairs)))


@given(SPECS)
def test_what_is_written_is_what_is_read(spec: ScorerSpec) -> None:
    assert parse_scorer(spec.text) == spec
    assert parse_scorer(f"  {spec.text}\n") == spec
    assert sum(spec.shares) == pytest.approx(1.0)


@given(st.text(max_size=60))
def test_any_text_is_a_scorer_or_a_sentence(text: str) -> None:
    try:
        spec = parse_scorer(text)
    except UsageError as error:
        assert str(error).endswith((".", "?")) and "\n" not in str(error).strip()
    else:
        assert parse_scorer(spec.text) == spec


@pytest.mark.parametrize(
    ("text", "parts", "shares"),
    [
        ("openai/clip-vit-large-patch14", [("", "openai/clip-vit-large-patch14")], [1]),
        ("7*clip:a+3*siglip:b", [("clip", "a"), ("siglip", "b")], [0.7, 0.3]),
        (".5 * a+b + .5*vqa:c", [("", "a+b"), ("vqa", "c")], [0.5, 0.5]),
        ("remote:q@https://h:8/v1", [("remote", "q@https://h:8/v1")], [1]),
        ("column:Visual Faithfulness", [("column", "Visual Faithfulness")], [1]),
        ("./odd:name", [("", "./odd:name")], [1]),
    ],
)
def test_examples(text: str, parts: list, shares: list) -> None:
    spec = parse_scorer(text)
    assert [(part.kind, part.model) for part in spec.parts] == parts
    assert spec.shares == pytest.approx(shares)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("blip:x", "no kind of scorer 'blip'"),
        ("vqa:", "names no model"),
        ("vqa:x,adapter=", "names no adapter"),
        ("clip:a + vqa:b", "give each a weight"),
        ("0.5*clip:a + vqa:b", "has no weight"),
        ("0.5*clip:a", "mean of one"),
        ("0*clip:a + 1*vqa:b", "weight of 0"),
        ("0.5*clip:a + 0.5*clip:a", "twice"),
        ("nan*clip:a + 1*clip:b", "the weight 'nan'"),
        ("1*clip:a + inf * clip:b", "the weight 'inf'"),
        ("-1*clip:a + 2*clip:b", "the weight '-1'"),
        ("1*clip:a + 2*clip:b - 1*clip:c", "the weight '- 1'"),
        ("1e400*clip:a + 1*clip:b", "the weight '1e400'"),
        ("1e+5*a + 1*b", "the weight"),
        ("0,7*a + 0,3*b", "the weight '0,7'"),
        ("+1*a + 2*b", "the weight '1'"),
        ("9" * 400 + "*a + 1*b", "too large"),
        ("9" * 300 + "*a + 0." + "0" * 100 + "1*b", "too large"),
        ("0.5* + 0.5*clip:a", "names no scorer"),
        ("remote:model", "MODEL@URL"),
        ("remote:model@ftp://x", "MODEL@URL"),
    ],
)
def test_mistakes_get_one_sentence(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_scorer(text)
    assert "\n" not in str(caught.value)


ODD_WEIGHTS = st.floats(max_value=0.0, exclude_max=True).map(repr) | st.sampled_from(["nan", "NaN", "inf", "Infinity"])
ODD_WEIGHTS |= st.integers(309, 999).map("1e{}".format) | st.floats(1e17, 1e300).map(repr)


@given(ODD_WEIGHTS, st.lists(st.tuples(WEIGHTS, PARTS), min_size=1, max_size=3), PARTS, st.data())
def test_what_is_no_weight_is_never_taken_for_a_name(odd: str, rest: list, part: ScorerPart, data) -> None:
    pieces = [ScorerSpec((each, part), (weight, 1.0)).text.rpartition(" + ")[0] for weight, each in rest]
    pieces.insert(data.draw(st.integers(0, len(pieces))), f"{odd}*{part.text}")
    with pytest.raises(UsageError) as caught:
        parse_scorer(" + ".join(pieces))
    assert "the weight" in str(caught.value) and "\n" not in str(caught.value)


def test_folders_are_found_in_every_part() -> None:
    text = "1*clip:a + 2*vqa:b,adapter=c + 1*column:d"
    assert map_folders(text, lambda name: f"/x/{name}") == "1*clip:/x/a + 2*vqa:/x/b,adapter=/x/c + 1*column:d"
    assert short_name("0.5*clip:/x/y/a + 0.5*vqa:org/b") == "0.5*clip:a + 0.5*vqa:org/b"


def test_a_config_names_scorers_with_folders_beside_it(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    (tmp_path / "config.toml").write_text('mas = "0.5*vqa:judge + 0.5*openai/clip"\n')
    assert read_workspace_config(tmp_path / "config.toml").mas == f"0.5*vqa:{tmp_path / 'judge'} + 0.5*openai/clip"
    (tmp_path / "config.toml").write_text('mas = "blip:judge"\n')
    with pytest.raises(WorkspaceError, match=r"config\.toml: There is no kind of scorer 'blip'"):
        read_workspace_config(tmp_path / "config.toml")


def test_a_scorer_without_a_model_here_needs_no_torch() -> None:
    modules = "m3po.models.alignment, m3po.jobs.score"
    code = f"import sys, {modules}; sys.exit(str({{'torch', 'transformers'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.stderr.strip() == "set()", found.stderr


@pytest.mark.parametrize(
    "text", ["judge:remote:m@http://user:pw@host/v1", "embed:m@https://user:pw@host", "remote:m@http://user:pw@host/v1"]
)
def test_a_grouper_is_on_this_machine_and_no_password_is_kept(text: str) -> None:
    with pytest.raises(UsageError, match="a model on this machine") as caught:
        ScoreConfig(policy="x", mas=None, group=text)
    assert not any(part in str(caught.value) for part in ("user", "pw", "host"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"mas": "vqa:/models/judge", "policy": None}, "MAS by vqa:judge"),
        ({"mas": None, "policy": "/models/llava", "adapter": "/a/run-1"}, "log-probs by llava with run-1"),
        ({"mas": "0.7*clip:/m/a + 0.3*vqa:b", "policy": "o/n"}, "MAS by 0.7*clip:a + 0.3*vqa:b, log-probs by o/n"),
        ({"group": "embed:/models/e5,threshold=0.8"}, "groups by embed:e5,threshold=0.8"),
        ({"group": "off"}, "no groups"),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_scoring_run_says_whose_values_it_stores(config, said):
    assert name_models("score", config) == said
    assert name_models("sample", config) == ""
