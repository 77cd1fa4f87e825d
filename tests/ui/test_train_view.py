"""What the Fine-tune tab says of the pairs that a run would train on: who picked them, and what speaks against it."""

from m3po.settings import SelectConfig, TrainConfig
from m3po.store import candidates
from ui.train_view import draw_preview


def test_given_pairs_are_not_said_to_be_by_the_machine_nor_by_another_scorer(studio):
    def give(con) -> None:
        con.execute(
            "INSERT INTO given_preferences (instruction_id, verdict, chosen, rejected)"
            " SELECT instruction_id, 'override', min(candidate_id), max(candidate_id) FROM candidates GROUP BY 1"
        )

    def switch(name: str):
        studio.db.write(lambda con: candidates.activate(con, "mas", candidates.scorer_id(con, "mas", name, name)))

    studio.db.write(give)
    shown = {}
    for rule in ("given", "m3po"):
        switch("clip:a")
        studio.select(SelectConfig(rule=rule))
        switch("clip:b")
        shown[rule] = draw_preview(studio.train_preview(TrainConfig(policy="/nowhere")))
    assert "Given by the data" in shown["given"] and "Machine" not in shown["given"] and "<b>3</b>" in shown["given"]
    assert "another scorer" not in shown["given"]
    assert "another scorer" in shown["m3po"] and "Machine" in shown["m3po"]
