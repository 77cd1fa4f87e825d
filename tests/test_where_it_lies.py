"""Where the workspace lies is told to curators alone: not in a run's command, nor where the disk fails."""

import shlex

import duckdb
import pytest
from workspaces import make_workspace

from m3po.errors import StorageError
from m3po.store.connection import Database
from m3po.studio import Studio
from m3po.users import User

ANN, CORA = User("ann", "annotator"), User("cora", "curator")


@pytest.mark.parametrize("name", ["plain", "it's here", "a 'b' c"])
def test_a_runs_command_names_the_folder_alone(tmp_path, tmp_path_factory, name):
    folder = tmp_path / name
    folder.mkdir()
    studio = Studio.open(make_workspace(folder))
    try:
        run_id = studio.start_export(tmp_path_factory.mktemp("out") / "out.jsonl").id
        whole, own = (studio.as_user(user).run(run_id) for user in (CORA, ANN))
        assert shlex.split(whole.command)[4] == str(studio.path)
        assert str(tmp_path) not in own.command and shlex.split(own.command)[4] == studio.path.name
    finally:
        studio.close()


@pytest.mark.parametrize("words", ["Could not write file", "Cannot open file"])
def test_a_disk_that_fails_names_no_place(tmp_path, words):
    database = Database(tmp_path / "m.duckdb")

    def fail(con):
        raise duckdb.IOException(f'IO Error: {words} "{tmp_path}/m.duckdb.wal": Input/output error')

    with pytest.raises(StorageError) as caught:
        database.write(fail, lane="decision")
    database.close()
    assert f"{tmp_path.name}/m.duckdb cannot be" in str(caught.value) and str(tmp_path) not in str(caught.value)
