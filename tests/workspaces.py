"""Small real workspaces for tests: a database with instructions, candidates and scores put in by hand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from m3po.store import candidates, decisions, instructions, selections
from m3po.store.connection import Connection, Database
from m3po.studio import Studio
from m3po.types import VERDICTS, ReviewView
from m3po.users import User
from m3po.workspace_config import WorkspaceConfig


@dataclass(frozen=True)
class Answer:
    """A candidate to put in; `logp` is the sum over `tokens`."""

    text: str
    mas: float | None
    logp: float | None
    tokens: int = 5
    votes: int = 1
    origin: str = "sampled"
    finish: str = "stop"


def add_instruction(con: Connection, external_id: str, *, split: str = "train", text: str = "What is this?") -> int:
    return con.execute(
        "INSERT INTO instructions (source, external_id, split, image_ids, system, turns, instruction, content_hash)"
        " VALUES ('test', ?, ?, [], '', '[]', ?, '') RETURNING instruction_id",
        [external_id, split, text],
    ).fetchone()[0]


def add_answers(con: Connection, instruction_id: int, answers: list[Answer]) -> list[int]:
    """Insert candidates with scores by one policy and one MAS scorer, which become the active ones."""
    logp = candidates.scorer_id(con, "logp", "policy", "policy-1")
    mas = candidates.scorer_id(con, "mas", "scorer", "scorer-1")
    candidates.activate(con, "logp", logp)
    candidates.activate(con, "mas", mas)
    sampler = candidates.sampler_id(con, "policy-1", {})
    ids = []
    for answer in answers:
        candidate_id = con.execute(
            "INSERT INTO candidates (instruction_id, text, same_key, origin, finish_reason, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?) RETURNING candidate_id",
            [instruction_id, answer.text, answer.text, answer.origin, answer.finish, instructions.now()],
        ).fetchone()[0]
        ids.append(candidate_id)
        con.execute("INSERT INTO votes VALUES (?, ?, ?)", [candidate_id, sampler, answer.votes])
        if answer.mas is not None:
            con.execute(
                "INSERT INTO mas_scores (candidate_id, scorer_id, run_id, mas, created_at)"
                " VALUES (?, ?, 1, ?, now()::TIMESTAMP)",
                [candidate_id, mas, answer.mas],
            )
        if answer.logp is not None:
            con.execute(
                "INSERT INTO logprobs VALUES (?, ?, 1, ?, ?, [], [], [], now()::TIMESTAMP)",
                [candidate_id, logp, answer.logp, answer.tokens],
            )
    return ids


def decide_by_lot(
    con: Connection,
    instruction: int,
    annotator: str,
    draw: np.random.Generator,
    verdict: str | None = None,
    role: str = "",
) -> int:
    """A decision on the pair of the first selection; verdict, where none is given, and reason are drawn."""
    pair = selections.pair_of(con, 1, instruction)
    new = decisions.NewDecision(
        instruction, verdict or VERDICTS[draw.integers(len(VERDICTS))], pair["chosen"], pair["rejected"], annotator,
        None, "", ("", "object", "count")[draw.integers(3)], 1, {}, role,
    )  # fmt: skip
    return decisions.add_decision(con, new)


def open_database(folder: Path) -> Database:
    return Database(folder / "m3po.duckdb")


def make_images(folder: Path, count: int) -> list[Path]:
    """Distinct small PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(count):
        path = folder / f"{index}.png"
        Image.new("RGB", (24, 24), (index * 37 % 256, index * 91 % 256, 40)).save(path)
        paths.append(path)
    return paths


FOUR = [
    Answer("a red boat on the water", 0.9, -2.0),
    Answer("a boat and a fish", 0.2, -1.0, votes=4),
    Answer("a car", 0.1, -9.0),
    Answer("a boat", 0.7, -3.0),
]


def make_workspace(folder: Path, n: int = 6, config: WorkspaceConfig | None = None) -> Path:
    """A workspace with `n` train instructions with four scored answers each, and nothing selected yet."""
    path = Studio.create(folder / "workspace", config)
    database = open_database(path)

    def fill(con: Connection) -> None:
        for number in range(n):
            instruction_id = add_instruction(con, f"item-{number}", text=f"What is in picture {number}?")
            # Slightly different values, so that every order is defined without ties.
            add_answers(
                con,
                instruction_id,
                [Answer(a.text, a.mas - number * 0.01, a.logp - number * 0.1, a.tokens, a.votes) for a in FOUR],
            )

    database.write(fill)
    database.close()
    return path


def open_selected(folder: Path, n: int = 6) -> Studio:
    """`make_workspace` with pairs, beside an instruction of one answer, which has none, and a held-out one."""
    studio = Studio.open(make_workspace(folder, n))

    def more(con: Connection) -> None:
        add_answers(con, add_instruction(con, "lonely"), [Answer("only one", 0.5, -1.0)])
        add_instruction(con, "unseen", split="heldout")

    studio.db.write(more)
    studio.select()
    return studio


ANN, BOB, CORA, VIC = (
    User("ann", "annotator"), User("bob", "annotator"), User("cora", "curator"), User("vic", "viewer"),
)  # fmt: skip
BY_ID = ReviewView("all", "id")


def make_selected(folder: Path, n: int, config: WorkspaceConfig | None = None) -> Path:
    """A closed workspace of `make_workspace` with its pairs selected; copy it before use."""
    studio = Studio.open(make_workspace(folder, n, config))
    studio.select()
    studio.close()
    return studio.path
