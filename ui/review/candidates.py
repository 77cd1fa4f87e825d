"""The answers to one instruction as cards (the pair) and rows (the others), with their scores and their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from m3po.types import Candidate, Claim, ReviewItem
from ui.formatting import SCORE_COLUMNS, ScoreColumn, clip, count, number, plural, reason
from ui.markup import Markup, escape, join, tag
from ui.review.excerpt import split_shared
from ui.review.key_words import keyed, keyed_title
from ui.word_diff import diff_words

SIGNS = {"chosen": "✓", "rejected": "✗", "none": ""}
Pending = Mapping[str, int]  # role -> candidate id: one side of a pair that waits for the other


def number_candidates(item: ReviewItem) -> list[Candidate]:
    """The order whose places are the number keys: the machine's chosen is 1, its rejected 2, then the best first.

    It follows from what the machine said alone, so a human's decision never moves a candidate to another key.
    Human edits come last, oldest first. Where the item brings an order of its own, it is that.
    """
    if item.shuffled:
        return list(item.candidates)
    first = (item.machine_pair.chosen, item.machine_pair.rejected) if item.machine_pair else ()

    def key(c: Candidate) -> tuple:
        if c.id in first:
            return (0, first.index(c.id))
        if c.origin == "human":
            return (2, c.id)
        return (1, -_or_low(c.good), -_or_low(c.mas), -c.votes, c.id)

    return sorted(item.candidates, key=key)


def _or_low(value: float | None) -> float:
    return -1e9 if value is None else value


def roles_of(item: ReviewItem, pending: Pending) -> dict[int, str]:
    """Each candidate's role as drawn: the pair that stands, or what is marked until the other side is given."""
    roles = {c.id: item.role(c.id) for c in item.candidates}
    if item.pair is None:
        roles.update({candidate_id: role for role, candidate_id in pending.items() if candidate_id in roles})
    return roles


def draw_candidates(item: ReviewItem, pending: Pending) -> Markup:
    numbered = list(enumerate(number_candidates(item), 1))
    if not numbered:
        return tag("p", "No candidates yet. Sample them on the Data tab.", class_="nothing")
    roles = roles_of(item, pending)
    by_role = {role: next((nc for nc in numbered if roles[nc[1].id] == role), None) for role in ("chosen", "rejected")}
    diffs: dict[str, list[tuple[str, bool]]] = {}
    if by_role["chosen"] and by_role["rejected"]:
        diffs["chosen"], diffs["rejected"] = diff_words(
            clip(by_role["chosen"][1].text), clip(by_role["rejected"][1].text)
        )
    cards = [
        _draw_card(*by_role[role], role, diffs.get(role), item=item) if by_role[role] else _draw_vacant(role)
        for role in ("chosen", "rejected")
    ]
    if item.pair is None and not pending:
        way = keyed(
            " Make one with {candidates} and Shift+{candidates}."
            if len(numbered) > 1
            else " If the answer is wrong, press {edit} and write the right one: they become the pair. Else skip it:"
            " {skip}."
        )
        words = (tag("b", "No pair. "), reason(item.no_pair_reason), way)
        if item.blind:
            way = keyed(" {candidates} makes one chosen, Shift+{candidates} rejected.")
            after = " Scores and others' decisions show when you voted."
            words = (tag("b", "Which is best, which is wrong?"), way, after)
        cards = [tag("p", *words, class_="no-pair", role="note")]
    elif by_role["chosen"] and by_role["rejected"]:
        cards.append(_draw_joined(by_role["chosen"][1], by_role["rejected"][1]))
    rest = [(n, c, _split_row(c, item)) for n, c in numbered if roles[c.id] == "none"]
    others = [_draw_row(n, c, text, item) for n, c, text in rest]
    counted = plural(len(others), "other candidate" if any(by_role.values()) else "candidate")
    shared = tag("span", "… begins as another one does", class_="shared-start")
    head = tag(
        "div",
        tag("span", counted, shared if any(start for _, _, (start, _) in rest) else None, class_="head-text"),
        *[tag("span", column.head, class_="value", title=column.tooltip) for column in _columns(item)],
        class_="row-head",
    )
    return join([*cards, head if others else None, tag("div", *others, class_="rows") if others else None])


def _draw_card(
    n: int, c: Candidate, role: str, segments: Sequence[tuple[str, bool]] | None, *, item: ReviewItem
) -> Markup:
    text = join(
        [tag("mark", s) if differs else s for s, differs in segments] if segments is not None else [clip(c.text)]
    )
    other = "rejected" if role == "chosen" else "chosen"
    badge = [tag("span", SIGNS[role], class_="sign", aria_hidden="true"), tag("b", role.capitalize())]
    if item.pair is None:
        badge.append(tag("span", f"waits for the {other} one", class_="quiet"))
    return tag(
        "article",
        tag("header", tag("kbd", n, **keyed_title(_key_help(n))), *badge, _origin(c, item),
            tag("span", *_values(c, item), class_="values"), class_="card-head"),
        tag("p", text, class_="card-text", dir="auto"),
        _draw_said(c, item),
        _draw_refuted(c),
        class_=f"card card-{role}", data_candidate_id=c.id, data_role=role, data_number=n, tabindex="0",
        aria_label=f"Candidate {n}, {role}",
    )  # fmt: skip


def _refuted(c: Candidate) -> list[Claim]:
    return [claim for claim in c.claims if not claim.upheld]


def _count_refuted(c: Candidate) -> Markup | None:
    """What a closed row says of them; open, it names them."""
    if not _refuted(c):
        return None
    title = "Claims of this answer that the judge did not uphold, of all that it makes; open the row to read them."
    return tag("span", f"{len(_refuted(c))} of {len(c.claims)} refuted", class_="chip", title=title)


def _draw_refuted(c: Candidate) -> Markup | None:
    """The claims that the judge did not uphold; nothing where it upheld all, or was not asked."""
    refuted = _refuted(c)
    if not refuted:
        return None
    items = [
        tag("li", clip(claim.text), dir="auto",
            title=None if claim.p_yes is None else f"The judge's P(yes) is {number(claim.p_yes)}.")
        for claim in refuted
    ]  # fmt: skip
    head = f"{len(refuted)} of {plural(len(c.claims), 'claim')} refuted:"
    return tag("div", tag("b", head), tag("ul", *items), class_="refuted-claims")


def _draw_vacant(role: str) -> Markup:
    keys = "{candidates} or {mark_chosen}" if role == "chosen" else "Shift+{candidates} or {mark_rejected}"
    return tag("p", tag("b", f"{SIGNS[role]} {role.capitalize()}: "), "not given yet. Press ", keyed(keys), ".",
               class_=f"vacant vacant-{role}")  # fmt: skip


def _draw_row(n: int, c: Candidate, text: tuple[str, str], item: ReviewItem) -> Markup:
    make = [
        tag("button", label, type="button", class_=f"make make-{role}", data_make=role, tabindex="-1",
            **keyed_title(f"Make this candidate {role} ({keys})"))
        for role, label, keys in (
            ("chosen", "✓ make chosen", f"{_digit(n)} or {{mark_chosen}}" if n < 10 else "{mark_chosen}"),
            ("rejected", "✗ make rejected", f"Shift+{_digit(n)} or {{mark_rejected}}" if n < 10 else "{mark_rejected}"),
        )
    ]  # fmt: skip
    return tag(
        "article",
        tag(
            "div",
            tag("kbd", n, **keyed_title(_key_help(n))),
            tag("div", tag("p", *_draw_row_text(*text), class_="row-text", dir="auto"), _draw_said(c, item),
                _draw_refuted(c), class_="row-said"),
            tag("span", _origin(c, item), _count_refuted(c), *_values(c, item), class_="values"),
            tag("div", *make, class_="row-actions"),
            class_="row-body",
        ),
        class_="candidate-row", data_candidate_id=c.id, data_role="none", data_number=n, tabindex="0",
        aria_label=f"Candidate {n}",
    )  # fmt: skip


def _split_row(c: Candidate, item: ReviewItem) -> tuple[str, str]:
    """A closed row leaves out what the answer shares with another one; open, it is whole."""
    return split_shared(clip(c.text), (clip(other.text) for other in item.candidates))


def _draw_row_text(start: str, rest: str) -> list[Markup]:
    return [tag("span", start, class_="row-start"), tag("span", rest, class_="row-rest")] if start else [escape(rest)]


def _key_help(n: int) -> str:
    if n > 9:
        return "Select with {select_next} or a click, then {mark_chosen} makes it chosen, {mark_rejected} rejected"
    return f"{_digit(n)} makes it chosen, Shift+{_digit(n)} rejected"


def _digit(n: int) -> str:
    return f"{{candidate{n}}}"


def _origin(c: Candidate, item: ReviewItem) -> Markup | None:
    notes = []
    if c.origin != "sampled":
        words = {"human": "written by a person", "imported": "imported from a file"}
        notes.append(tag("span", c.origin, class_="chip", title=words.get(c.origin)))
    if c.finish_reason == "length":
        notes.append(tag("span", "cut off", class_="chip", title="Cut off by the token limit; no rule picks it."))
    if c.waits_for_scores:
        words = (
            ("scoring…", "Log-prob and MAS come by themselves.")
            if item.scoring
            else ("not scored", "Score on Data; where scoring failed, its card there says why.")
        )
        notes.append(tag("span", words[0], class_="chip chip-busy" if item.scoring else "chip", title=words[1]))
    if item.given and c.id in item.given:
        role = "given chosen" if c.id == item.given[0] else "given rejected"
        notes.append(tag("span", role, class_="chip chip-given", title="As the data set it came from has it."))
    return join(notes) if notes else None


def _draw_said(c: Candidate, item: ReviewItem) -> Markup | None:
    """Self-consistency by meaning: how many of the samples say this, in whichever words."""
    if not _is_grouped(c):
        return None
    own = f", {count(c.votes)} in these very words" if c.votes else ""
    title = "Answers that mean the same, as a model grouped them."
    return tag("p", f"{_share(c, item, ' of ')} samples say this{own}.", class_="said quiet", title=title)


def _draw_joined(chosen: Candidate, rejected: Candidate) -> Markup | None:
    """A grouping by meaning that contradicts the pair: its counts of both are then worth nothing."""
    if chosen.same_as is None or chosen.same_as != rejected.same_as:
        return None
    words = "The grouping by meaning takes chosen and rejected for one answer, so its counts do not tell them apart. "
    way = "Group anew on Data: embed: with a higher threshold (embed:MODEL,threshold=0.98), or judge:MODEL."
    return tag("p", words, way, class_="joined-pair", role="note")


def _is_grouped(c: Candidate) -> bool:
    return bool(c.group_votes) and c.group_votes != c.votes


def _share(c: Candidate, item: ReviewItem, between: str) -> str:
    return f"{count(c.group_votes or 0)}{between}{count(sum(other.votes for other in item.candidates))}"


def _columns(item: ReviewItem) -> tuple[ScoreColumn, ...]:
    return () if item.blind else SCORE_COLUMNS


def _values(c: Candidate, item: ReviewItem) -> list[Markup]:
    """The scores, always in the order and width of the head; each says in its tooltip what it is."""
    cells = []
    for column in _columns(item):
        value = getattr(c, column.key)
        shown = f"×{value}" if column.key == "votes" else number(value, column.digits)
        if column.key == "votes" and c.origin != "sampled":
            shown = number(None)
        title = column.tooltip
        if column.key == "votes" and c.samplers:
            title += " From " + "; ".join(f"{name} (×{votes})" for name, votes in c.samplers) + "."
        if column.key == "votes" and _is_grouped(c):
            shown = _share(c, item, "/")
            title += (
                f" With answers that mean the same: {_share(c, item, ' of ')}; {plural(c.votes, 'vote')} of its own."
            )
        if column.key == "logp_mean" and c.logp_sum is not None:
            title += f" Sum {number(c.logp_sum)} nats over {plural(c.n_tokens or 0, 'token')}."
        if column.key == "mas" and c.mas_minimum is not None:
            title += f" The mean over its sentences; the worst one has {number(c.mas_minimum)}."
        if column.key in ("good", "hard") and c.origin == "human":
            title += " None here: a person wrote it, and only answers that a rule may pick are ranked."
        cells.append(
            tag("span", tag("i", column.head), shown, class_="value", title=title, aria_label=f"{column.head} {shown}")
        )
    return cells
