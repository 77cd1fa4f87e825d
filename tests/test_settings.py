"""config.toml as people write it: what is wrong with it is named, and models are found beside it."""

import dataclasses
import json

import pytest

from m3po.errors import UsageError, WorkspaceError
from m3po.settings import SampleConfig, ScoreConfig, SelectConfig, TrainConfig
from m3po.studio import Studio
from m3po.workspace_config import WorkspaceConfig, read_workspace_config, write_workspace_config


def test_what_is_written_is_read_back(tmp_path):
    config = WorkspaceConfig(policy='a "quoted" \\ name', mas="clip:some/model", demo=True)
    write_workspace_config(tmp_path / "config.toml", config)
    assert read_workspace_config(tmp_path / "config.toml") == config


def test_a_folder_beside_the_file_is_found_and_a_hub_id_stays(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "config.toml").write_text('policy = "mine"\nmas = "org/name"\n')
    config = read_workspace_config(tmp_path / "config.toml")
    assert config == WorkspaceConfig(policy=str((tmp_path / "mine").resolve()), mas="org/name")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("policy = mine", "not valid TOML"),
        ('polcy = "x"', "unknown key 'polcy'"),
        ("policy = 3", "policy must be text"),
        ('demo = "yes"', "demo must be true or false"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(tmp_path, text, sentence):
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(WorkspaceError, match=sentence):
        read_workspace_config(tmp_path / "config.toml")


def test_an_empty_file_where_it_is_needed_is_refused(tmp_path):
    """An editor empties a file before it writes it: what it forbids must not be lost for that moment."""
    path = Studio.create(tmp_path / "ws", WorkspaceConfig(blind=True, remote=False))
    text = (path / "config.toml").read_text()
    for emptied in ("", "\n"):
        (path / "config.toml").write_text(emptied)
        with pytest.raises(WorkspaceError, match="is empty: write it again"):
            Studio.open(path)
    (path / "config.toml").write_text(text)
    studio = Studio.open(path)
    assert studio.workspace.blind and not studio.config.remote
    studio.close()


def test_what_is_not_toml_is_not_told_to_be_deleted(tmp_path):
    """A workspace without config.toml is none any more."""
    (tmp_path / "config.toml").write_text("policy = mine")
    with pytest.raises(WorkspaceError, match="correct it; for the defaults, a comment is enough"):
        read_workspace_config(tmp_path / "config.toml")


def test_scoring_needs_a_model():
    with pytest.raises(UsageError, match="give --policy or --mas"):
        ScoreConfig(policy=None, mas=None)


def test_the_same_value_from_page_and_command_line_is_one_identity():
    """A page sends 1 where the command line has 1.0: a sampler is known by the JSON of its settings."""
    page, line = SampleConfig("p", k=8.0, temperature=1, top_p=1), SampleConfig("p", k=8, temperature=1.0, top_p=1.0)
    assert json.dumps(dataclasses.asdict(page)) == json.dumps(dataclasses.asdict(line))
    page, line = SelectConfig(length_ratio=3, delta=0, seed=1.0), SelectConfig(length_ratio=3.0, delta=0.0, seed=1)
    assert json.dumps(dataclasses.asdict(page)) == json.dumps(dataclasses.asdict(line))


def test_a_run_of_a_later_version_is_read():
    values = {"policy": "p", "k": 4, "sampler": 3, "of_a_later_version": True}
    assert SampleConfig.of_run(values) == SampleConfig(policy="p", k=4)
    assert SelectConfig.of_run({"delta": 0.2, "new": 1}) == SelectConfig(delta=0.2)


def test_a_whole_number_of_hundreds_of_digits_is_refused():
    with pytest.raises(UsageError, match="finite number"):
        SelectConfig(delta=10**400)


@pytest.mark.parametrize("name", ["system", "prompt"])
@pytest.mark.parametrize("bad", ["a NUL \0 {instruction}", "half \ud83d of a pair {instruction}"])
def test_a_text_that_cannot_be_stored_is_refused(name, bad):
    with pytest.raises(UsageError, match=f"{name} = .* cannot be used: take out the NUL character"):
        SampleConfig("p", **{name: bad})


def test_zero_is_off_and_said_so():
    assert SelectConfig(length_ratio=0, delta=0).length_ratio == 0
    with pytest.raises(UsageError, match=r"give 0 \(off\) or 1 and more"):
        SelectConfig(length_ratio=0.5)


@pytest.mark.parametrize("name", ["processes", "epochs", "max_steps", "batch_size", "lora_r", "save_steps", "seed"])
def test_a_number_beyond_all_sense_is_refused_in_a_short_sentence(name):
    with pytest.raises(UsageError, match=rf"^{name} = 1[0e].* cannot be used: give ") as told:
        TrainConfig(policy="p", **{name: 10**300})
    assert len(str(told.value)) < 200
