"""What the Fine-tune tab says of the pairs that a run would train on: who picked them, and what speaks against it."""

from m3po.settings import SelectConfig, TrainConfig
from m3po.store import candidates, runs
from m3po.store.instructions import now
from ui.train_tab import find_stopping, offer_adapter, resume_chain
from ui.train_view import draw_preview, draw_status


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


def test_the_adapter_of_a_round_is_offered_once(studio):
    studio.runner.close()

    def score(adapter: str | None) -> None:
        run_id = studio.db.write(lambda con: runs.add_run(con, "score", {"policy": "p", "adapter": adapter}, ""))
        assert offer_adapter(studio, "", "") is None  # while it is at work, and of no adapter, nothing
        studio.db.write(lambda con: runs.update_run(con, run_id, state="finished"))

    score(None)
    score("/runs/3/adapter")
    assert offer_adapter(studio, "", "") == "/runs/3/adapter"
    assert offer_adapter(studio, "/my/own", "") is None
    assert offer_adapter(studio, "", "/runs/3/adapter") is None  # taken out by hand
    studio.db.write(lambda con: runs.add_run(con, "score", {"policy": "p", "adapter": None}, ""))
    newest = studio.runs(("score",))[0].id
    studio.db.write(lambda con: runs.update_run(con, newest, state="finished"))
    assert offer_adapter(studio, "/runs/3/adapter", "/runs/3/adapter") == ""  # the bare policy was scored since


def test_resume_brings_back_every_step_that_stop_had_ended(studio):
    """Measured before, trained, measured after: three runs, of which the first was at work when *Stop* was pressed."""

    def add(con) -> list[int]:
        before = runs.add_run(con, "evaluate", {"policy": "p"}, "")
        train = runs.add_run(con, "train", {"policy": "p", "before_run": before}, "")
        after = runs.add_run(con, "evaluate", {"policy": "p"}, "", parent=train, after=train)
        other = runs.add_run(con, "train", {"policy": "p", "before_run": before}, "")
        for run_id in (before, train, after, other):
            runs.update_run(con, run_id, state="stopped", started_at=now() if run_id == before else None)
        return [before, train, after, other]

    studio.runner.close()  # nothing is started: only what is queued counts
    *chain, other = studio.db.write(add)
    resume = {"op": "resume", "run_id": chain[1]}
    result = next(found for found in studio.results() if found["run"].id == chain[1])
    drawn = draw_status(result, {})
    assert drawn.count("data-run-op") == 1 and f'data-run-id="{chain[0]}" aria-label="Resume' in drawn
    studio.db.write(lambda con: runs.update_run(con, chain[0], state="running"))  # its batch is not over
    assert f"Run {chain[0]} of this training is at work" in find_stopping(studio, resume)["error"]
    studio.db.write(lambda con: runs.update_run(con, chain[0], state="stopped"))
    assert find_stopping(studio, resume) == find_stopping(studio, {"op": "stop", "run_id": chain[0]}) == {}
    assert studio.resume_run(chain[0]).state == "queued"
    assert resume_chain(studio, {"op": "resume", "run_id": chain[1]}) == {}
    assert [studio.run(run_id).state for run_id in chain] == ["queued"] * 3
    assert studio.run(other).state == "stopped"
    assert resume_chain(studio, {"op": "stop", "run_id": other}) == {} and studio.run(other).state == "stopped"
