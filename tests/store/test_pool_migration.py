"""Selections that an older version stored with all their values keep them, and share those that are the same."""

import json

import duckdb
import pytest
from workspaces import Answer, add_answers, add_instruction

from m3po.settings import SelectConfig
from m3po.store import migrations, selections
from m3po.store.candidate_rows import candidates_of
from m3po.store.connection import Database, rows

VALUES = ("a", "b", "good", "hard")


def test_values_of_older_selections_are_kept_once_and_read_as_they_were(tmp_path, monkeypatch):
    path = tmp_path / "m3po.duckdb"
    with monkeypatch.context() as older:
        older.setattr(migrations, "MIGRATIONS", migrations.MIGRATIONS[:5])
        con = duckdb.connect(str(path))
        migrations.migrate(con)
    instruction = add_instruction(con, "1")
    good, bad = add_answers(con, instruction, [Answer("good", 0.9, -1.0, tokens=4), Answer("bad", 0.1, -1.0)])
    for weight, b in ((0.8, 0.25), (0.6, 0.25), (0.6, 0.5)):  # the last was made from other scores
        config = SelectConfig(weight_chosen=weight)
        values = {good: (0.75, b), bad: (0.25, 0.75)}
        text = json.dumps({name: getattr(config, name) for name in config.__dataclass_fields__})
        con.execute(
            "INSERT INTO selections (config, logp_scorer, mas_scorer, pairs, content_hash, created_at)"
            " SELECT ?, (SELECT max(scorer_id) FROM scorers WHERE kind = 'logp'),"
            " (SELECT max(scorer_id) FROM scorers WHERE kind = 'mas'), 1, 'known', now()::TIMESTAMP",
            [text],
        )
        for candidate, (a, b) in values.items():
            con.execute(
                "INSERT INTO selection_values SELECT max(selection_id), ?, ?, ?, ?, ?, ? FROM selections",
                [instruction, candidate, a, b, weight * a + (1 - weight) * b, 0.5 * (1 - a) + 0.5 * b],
            )
        con.execute(
            "INSERT INTO selection_pairs SELECT max(selection_id), ?, ?, ?, 0.7, 0.0, 0.8, NULL FROM selections",
            [instruction, good, bad],
        )
    stored = rows(con, "SELECT selection_id, candidate_id, a, b, good, hard FROM selection_values")
    con.close()

    database = Database(path)
    for row in stored:
        found = database.read(lambda con, row=row: candidates_of(con, [instruction], row["selection_id"]))[instruction]
        [mine] = [c for c in found if c["candidate_id"] == row["candidate_id"]]
        assert [mine[n] for n in VALUES] == pytest.approx([row[n] for n in ["a", "b", "good", "hard"]])
    infos = [database.read(lambda con, s=s: selections.selection_info(con, s)) for s in (1, 2, 3)]
    assert [info["pool_id"] for info in infos] == [1, 1, 2]
    assert {info["content_hash"] for info in infos} == {"known"}
    pair = database.read(lambda con: selections.pair_of(con, 1, instruction))
    assert (pair["chosen_tokens"], pair["rejected_tokens"]) == (4, 5)
    assert (pair["chosen_mas"], pair["rejected_mas"], pair["chosen_logp_mean"]) == (0.9, 0.1, -0.25)
    database.close()
