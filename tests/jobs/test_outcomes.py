"""What a training changed, from two evaluations as they are stored: no model is needed to compare answers."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from m3po.errors import UsageError
from m3po.jobs.schemas import EVALUATE_INPUT
from m3po.store import runs
from m3po.studio import Studio

N = 8  # questions about colour; all answered wrongly before, and rightly after


@pytest.fixture
def studio(tmp_path):
    lines = [
        f'{{"id": "q{n}", "instruction": "Which colour has {n}?", "answer": "red", "category": "color",'
        ' "split": "heldout", "candidates": []}\n'
        for n in range(N + 1)
    ]
    (tmp_path / "rows.jsonl").write_text("".join(lines))
    studio = Studio.open(Studio.create(tmp_path / "ws"))
    assert studio.import_source(tmp_path / "rows.jsonl", format="m3po").added == N + 1
    yield studio
    studio.close()


def store_runs(studio: Studio) -> tuple[int, int]:
    """A training between two finished evaluations; the last question is answered alike."""

    def change(con):
        before = runs.add_run(con, "evaluate", {}, "")
        train = runs.add_run(con, "train", {"before_run": before}, "")
        after = runs.add_run(con, "evaluate", {}, "", parent=train)
        for run_id, right, answer in ((before, 0, "blue"), (after, N, "red")):
            texts = [answer] * N + ["green"]
            runs.add_answers(con, run_id, pa.table({"instruction_id": range(1, N + 2), "text": texts}))
            figures = {"metrics": {"color_accuracy": right / (N + 1)}, "intervals": {}, "counts": {}}
            runs.update_run(con, run_id, state="finished", result=figures)
        runs.update_run(con, train, state="finished")
        return train, after

    return studio.db.write(change)


def write_truth(studio: Studio, run_id: int) -> None:
    folder = studio.runner.folder(run_id)
    folder.path.mkdir(parents=True, exist_ok=True)
    names = EVALUATE_INPUT.names
    rows = [dict.fromkeys(names) | {"instruction_id": n, "answer": "red", "category": "color"} for n in range(1, N + 2)]
    pq.write_table(pa.Table.from_pylist(rows, schema=EVALUATE_INPUT), folder.input_path)


def test_answers_are_compared_row_by_row_and_judged_by_the_truth_that_was_measured_by(studio):
    train, after = store_runs(studio)
    write_truth(studio, after)
    [result] = studio.results()
    assert result["p_values"] == {"color_accuracy": pytest.approx(2 / 2**N)}
    assert studio.results()[0]["p_values"] is result["p_values"]  # compared once
    samples = studio.result_samples(train, limit=3, show="all")["rows"]
    assert [s["instruction_id"] for s in samples] == [1, 2, 3] and samples[0]["truth"] == "red"
    assert (samples[0]["before_judged"]["right"], samples[0]["after_judged"]["right"]) == (False, True)
    changed = studio.result_samples(train, limit=99)
    assert len(changed["rows"]) == N
    assert changed["counts"] == {"changed": N, "right_now": N, "wrong_now": 0, "all": N + 1}
    assert studio.result_samples(train, limit=99, show="all")["rows"][-1]["after"] == "green"


def test_answers_that_became_wrong_can_be_looked_at_page_by_page(studio):
    train, after = store_runs(studio)
    write_truth(studio, after)

    def spoil(con):  # the last question was right, and is wrong now
        before = studio.run(train).config["before_run"]
        con.execute("UPDATE answers SET text = 'red' WHERE run_id = ? AND instruction_id = ?", [before, N + 1])

    studio.db.write(spoil)
    spoilt = studio.result_samples(train, show="wrong_now")
    assert [row["instruction_id"] for row in spoilt["rows"]] == [N + 1]
    assert spoilt["counts"] == {"changed": N + 1, "right_now": N, "wrong_now": 1, "all": N + 1}
    pages = [studio.result_samples(train, limit=4, offset=at)["rows"] for at in (0, 4, 8, 12)]
    assert [len(page) for page in pages] == [4, 4, 1, 0]
    assert len({row["instruction_id"] for page in pages for row in page}) == N + 1
    with pytest.raises(UsageError, match="'best' is no kind of answers"):
        studio.result_samples(train, show="best")


def test_where_the_truth_is_gone_answers_are_shown_without_judgement(studio):
    train, _ = store_runs(studio)
    assert studio.results()[0]["p_values"] is None
    [sample, *_] = studio.result_samples(train)["rows"]
    assert sample["truth"] == "" and sample["after_judged"]["right"] is None and sample["instruction"].startswith("W")
