"""A pilot: a few instructions sampled K = 16 times tell how many pairs the whole would give at each K, and its cost.

What K = 2, 4 or 8 would have given is read from the sixteen answers there are: K of them are drawn again and again and
the pick rule's plain twin (m3po.selection) is asked whether they hold a pair. Nothing of it is stored as a selection.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence

from m3po.evaluation.intervals import wilson_interval
from m3po.remote_spec import parse_remote
from m3po.scorer_spec import short_name
from m3po.selection import RULES, Scored, normalise, pick
from m3po.settings import SampleConfig, SelectConfig
from m3po.text import counted
from m3po.types import Pair, Run

DEFAULT_PILOT = 200  # instructions
PILOT_K = 16
KS = (2, 4, 8, 16)
DRAWS = 20_000  # in all, for each K: what they leave to chance is a tenth of what the instructions leave
MIN_DRAWS = 20

Answers = Sequence[tuple[Scored, int]]  # an instruction's distinct answers with their votes


def expect_pairs(
    instructions: Sequence[Answers], config: SelectConfig, k: int, seed: int = 0
) -> tuple[list[float], list[float]]:
    """For each instruction the probability that K of its answers hold a pair, and how many of them are distinct.

    K answers are drawn without replacement, by `seed`; percentiles are taken over all answers of the pilot.
    """
    everything = [scored for answers in instructions for scored, _ in answers]
    values = normalise(everything, config) if config.normalise != "minmax" else None
    draws = max(MIN_DRAWS, DRAWS // max(1, len(instructions)))
    rng = random.Random(f"{seed}:{k}")
    pairs, distinct = [], []
    for answers in instructions:
        by_id = {scored.id: scored for scored, _ in answers}
        pool = [scored.id for scored, votes in answers for _ in range(votes)]
        known: dict[frozenset[int], bool] = {}
        found = seen = 0
        rounds = 1 if k >= len(pool) else draws
        for _ in range(rounds):
            drawn = frozenset(rng.sample(pool, min(k, len(pool))))
            seen += len(drawn)
            if drawn not in known:
                members = [by_id[i] for i in sorted(drawn)]
                own = values if values is not None else normalise(members, config)
                known[drawn] = isinstance(pick(members, own, config), Pair)
            found += known[drawn]
        pairs.append(found / rounds)
        distinct.append(seen / rounds)
    return pairs, distinct


def for_sampled(config: SelectConfig) -> SelectConfig:
    """The same with m3po in the place of a rule that takes what the data gives: no sampled answer is of such a pair."""
    return dataclasses.replace(config, rule="m3po") if RULES[config.rule].given else config


def build_report(
    instructions: Sequence[Answers],
    config: SampleConfig,
    select: SelectConfig,
    measured: Run | None,
    total: int,
    scorers: dict[str, str | None] | None = None,
) -> dict:
    """The pilot's table as plain values: one row a K with `pairs` (the share of instructions that would have one, with
    `low` and `high`, None where nothing is scored), `expected_pairs` of the whole, `distinct` answers, and its cost.

    `device_hours` is (least, most): the time grows with K, but less than in proportion, for a prompt is read once.
    Tokens are those that the server counted. `measured` is the run that was timed; None leaves the cost out. `scorers`
    are the names of those that gave MAS (`mas`) and log-probs (`logp`); `rule` is that of `for_sampled`.
    """
    n = len(instructions)
    asked, select = select.rule, for_sampled(select)
    scored = any(answer.eligible for answers in instructions for answer, _ in answers)
    rows = []
    for k in KS:
        shares, distinct = expect_pairs(instructions, select, k, config.seed)
        share = sum(shares) / n if n and scored else None
        # Wilson's interval is for yes or no; shares between the two vary less, so it is rather too wide.
        low, high = wilson_interval(sum(shares), n) if share is not None else (None, None)
        rows.append(
            {
                "k": k,
                "pairs": share,
                "low": low,
                "high": high,
                "expected_pairs": round(share * total) if share is not None else None,
                "distinct": sum(distinct) / n if n else None,
                **_cost(config, measured, k, total),
            }
        )
    return {
        "instructions": n,
        "of": total,
        "rule": select.rule,
        "policy": config.policy,
        "scorers": scorers or {},
        "rows": rows,
        "message": _message(rows, n, scored)
        + (
            f" The rule {asked} takes no sampled answers: these are the pairs of {select.rule}."
            * (asked != select.rule)
        ),
    }


def _cost(config: SampleConfig, measured: Run | None, k: int, total: int) -> dict:
    """What sampling the whole train split with K answers takes, as far as it was measured."""
    result = (measured.result if measured else None) or {}
    hours = None
    if result.get("seconds_each"):
        most = result["seconds_each"] * total / 3600
        hours = [most * k / PILOT_K, most]
    if parse_remote(config.policy) is None:
        return {"device_hours": hours if k < PILOT_K or hours is None else [hours[1], hours[1]]}
    each = {name: result.get(name) for name in ("prompt_tokens", "completion_tokens")}
    sampled = result.get("sampled")
    prompts = k / PILOT_K if result.get("one_by_one") else 1.0  # a server without n reads the prompt for every answer
    scale = {"prompt_tokens": prompts, "completion_tokens": k / PILOT_K}
    return {
        name: round(value / sampled * total * scale[name]) if value is not None and sampled else None
        for name, value in each.items()
    }


def _message(rows: list[dict], n: int, scored: bool) -> str:
    if not n:
        return "No instruction was answered: the warnings of the sampling run say why."
    if not scored:
        return (
            f"{counted(n, 'instruction')} {'is' if n == 1 else 'are'} sampled; how many pairs that gives can "
            "be told when there are MAS and log-probs: "
            "score with a policy and a scorer, then run the pilot again."
        )
    told = ", ".join(f"{row['pairs']:.0%} at K = {row['k']}" for row in rows)
    return f"Of {counted(n, 'instruction')} a usable pair has {told}."


def write_table(report: dict) -> str:
    """The report for the command line."""
    lines = [report["message"]]
    remote = "prompt_tokens" in report["rows"][0]
    head = ["K", "pairs", "95 %", "of the whole", "distinct"]
    head += ["prompt tokens", "answer tokens"] if remote else ["device time"]
    cells = [head]
    for row in report["rows"]:
        interval = f"{row['low']:.1%} to {row['high']:.1%}" if row["pairs"] is not None else "-"
        line = [str(row["k"]), _share(row["pairs"]), interval, _count(row["expected_pairs"])]
        line.append(f"{row['distinct']:.1f}" if row["distinct"] is not None else "-")
        if remote:
            line += [_count(row["prompt_tokens"]), _count(row["completion_tokens"])]
        else:
            line.append(write_time(row["device_hours"]))
        cells.append(line)
    widths = [max(len(line[column]) for line in cells) for column in range(len(head))]
    for line in cells:
        lines.append("  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    lines.append(
        f"Pairs by the rule {report['rule']}{name_scorers(report)}; "
        f"costs are those of sampling all {report['of']:,} instructions."
    )
    return "\n".join(lines)


def name_scorers(report: dict) -> str:
    """`, MAS of clip:A, log-probs of B`; nothing of a report that an older version made."""
    named = report.get("scorers") or {}
    told = [("MAS", named.get("mas")), ("log-probs", named.get("logp"))]
    return "".join(f", {signal} of {short_name(name)}" for signal, name in told if name)


def write_time(hours: Sequence[float] | None) -> str:
    """`40 s`, or `0.5 to 2 h` where only the bounds are known: in the unit that fits the longer one."""
    if hours is None:
        return "-"
    unit, each = next((u, e) for u, e in (("s", 3600), ("min", 60), ("h", 1)) if hours[1] * e < 120 or u == "h")
    low, high = (f"{value * each:,.0f}" if value * each >= 100 else f"{value * each:.2g}" for value in hours)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _count(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
