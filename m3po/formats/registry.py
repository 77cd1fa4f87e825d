"""Which formats there are, and which one a source is in: the one door for imports.

A format is how one record is read; what the records lie in (JSON, CSV, Parquet, ...) is m3po.formats.containers'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from m3po.errors import BadInputError, UsageError
from m3po.formats import argilla, imagefolder, label_studio, llava, m3po, mme, pairs, pope, vlfeedback
from m3po.formats.blocks import Plain, RowBlock, read_blocks
from m3po.formats.containers import Container, open_container
from m3po.formats.lines import type_name
from m3po.formats.mapping import FIELDS, check_columns, check_mapping, columns_of, guess_mapping, parse_mapped, pick
from m3po.formats.pictures import KeepImage, Pictures
from m3po.formats.rows import Fields, RowChecker, read_rows
from m3po.imported import ImportedRow, RefusedRow

LOOK_AT = 100  # rows: broken ones at the top must not hide what the file is
OF_CANDIDATES = ("ratings", "decisions", "human")
VOTES = 10  # good rows among them that say which format it is

Rows = Iterator[ImportedRow | RefusedRow]


@dataclass(frozen=True)
class Format:
    """How a record is read: `parse(record, the source's name)`; how it is told from the others', and which of its
    columns become which of our fields (the first that is there)."""

    label: str
    parse: Callable[[dict, str], Fields]
    recognises: Callable[[dict], bool]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    plain: Plain | None = None  # which of its rows may be read in columns
    twins: tuple[str, ...] = ()  # formats of the same columns, told from it by keys that a file may have left out


def _only_by_hand(record: dict, source: str = "") -> Fields:
    return {}


# In the order in which a record is tried on them: the most telling keys first.
FORMATS = {
    "imagefolder": Format(
        "Image folder (metadata.jsonl)",
        imagefolder.parse,
        imagefolder.recognises,
        imagefolder.COLUMNS,
        imagefolder.PLAIN,
    ),
    "vlfeedback": Format("VLFeedback", vlfeedback.parse, vlfeedback.recognises, vlfeedback.COLUMNS),
    "rlhf_v": Format("RLHF-V", pairs.parse_rlhf_v, pairs.recognises_rlhf_v, pairs.RLHF_V_COLUMNS),
    "rlaif_v": Format("RLAIF-V", pairs.parse_rlaif_v, pairs.recognises_rlaif_v, pairs.QUESTION_COLUMNS),
    "llamafactory": Format(
        "LLaMA-Factory ranking", pairs.parse_llamafactory, pairs.recognises_llamafactory, pairs.LLAMAFACTORY_COLUMNS
    ),
    "ms_swift": Format("ms-swift", pairs.parse_ms_swift, pairs.recognises_ms_swift, pairs.MS_SWIFT_COLUMNS),
    "trl": Format("TRL preference", pairs.parse_trl, pairs.recognises_trl, pairs.TRL_COLUMNS),
    "mmpr": Format("MMPR", pairs.parse_mmpr, pairs.recognises_mmpr, pairs.QUESTION_COLUMNS, twins=("rlaif_v",)),
    "mme": Format("MME", mme.parse, mme.recognises, mme.COLUMNS),
    "pope": Format("POPE", pope.parse, pope.recognises, pope.COLUMNS),
    "sharegpt": Format("ShareGPT", llava.parse, llava.recognises_sharegpt, llava.COLUMNS),
    "llava": Format("LLaVA-instruct", llava.parse, llava.recognises, llava.COLUMNS),
    "m3po": Format("M3PO", m3po.parse, m3po.recognises, m3po.COLUMNS, m3po.PLAIN),
    "label_studio": Format("Label Studio", label_studio.parse, label_studio.recognises, label_studio.COLUMNS),
    "argilla": Format("Argilla", argilla.parse, argilla.recognises, argilla.COLUMNS),
    "mapping": Format("Columns by hand", _only_by_hand, lambda record: False),
}


class UnknownFormatError(BadInputError):
    """A source that can be read and whose rows are in no known format: its columns can be mapped by hand."""

    def __init__(self, message: str, container: Container, records: list[dict]) -> None:
        super().__init__(message)
        self.container, self.records = container, records


@dataclass(frozen=True)
class Source:
    """A source that was opened: what it lies in, its format, and the columns mapped by hand or `guessed`; `also` are
    formats that it may as well be in, where one was detected."""

    container: Container
    format: str
    mapping: dict[str, str]
    guessed: tuple[str, ...] = ()
    also: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Short, for people."""
        return self.container.name or self.format

    @property
    def notes(self) -> list[str]:
        """What there is to say of the source as a whole."""
        notes = [self.doubt] if self.doubt else []
        if self.guessed:
            columns = ", ".join(f"{field}={self.mapping[field]}" for field in self.guessed)
            notes.append(f"Columns guessed by their names: {columns}; --map says it otherwise.")
        return notes

    @property
    def doubt(self) -> str:
        """Which other formats the rows look like; empty where they are told for sure, or by hand."""
        if not self.also:
            return ""
        labels = " and ".join(FORMATS[name].label for name in self.also)
        read, other = FORMATS[self.format].label, self.also[0]
        return f"Read as {read}, but it also looks like {labels}: the format given by hand (--format {other}) decides."

    def rows(self, keep_image: KeepImage, images: Path | None = None) -> Rows:
        """The rows, checked one by one as they are taken. `images`: the folder that image paths start from."""
        return read_rows(self.container.records(), self.parser(keep_image, images))

    def parser(self, keep_image: KeepImage, images: Path | None = None) -> Callable[[object, str], ImportedRow]:
        """What makes a row of (record, row name), one parser a pass: it remembers the ids that it saw."""
        return self._parser(self._checker(keep_image, images))

    def blocks(
        self, keep_image: KeepImage, images: Path | None = None
    ) -> Iterator[RowBlock | ImportedRow | RefusedRow]:
        """The same rows, plain ones in columns where the file and its format allow it: for large files."""
        plain = FORMATS[self.format].plain
        if self.container.lines is None or plain is None or self.mapping:
            return self.rows(keep_image, images)
        checker = self._checker(keep_image, images)
        return read_blocks(self.container.lines, checker, self._parser(checker), plain)

    def _checker(self, keep_image: KeepImage, images: Path | None) -> RowChecker:
        allow_outside = m3po.is_workspace_image if self.format == "m3po" else None
        return RowChecker(Pictures(images or self.container.root, keep_image, allow_outside))

    def _parser(self, checker: RowChecker) -> Callable[[object, str], ImportedRow]:
        known = FORMATS[self.format]

        def parse(record: object, row: str) -> ImportedRow:
            if not isinstance(record, dict):
                raise BadInputError(f"it is {type_name(record)} where an object is expected; write {{...}}")
            mapped = parse_mapped(record, self.mapping)
            try:
                fields = known.parse(self._with_mapped_image(record), self.container.name)
            except BadInputError as error:
                fields = self._by_columns(record, error)
            warnings = [*fields.get("warnings", ())]
            if self.mapping:
                if "candidates" in mapped:  # what the format says of its candidates is not of these
                    fields = {name: value for name, value in fields.items() if name not in OF_CANDIDATES}
                fields, warnings = fields | mapped, [*warnings, *mapped.get("warnings", ())]
            if fields.get("id") is None:
                fields["id"] = row.rsplit(" ", 1)[-1]
            return checker.build(row, **{"images": (), **fields, "warnings": warnings})

        return parse

    def _with_mapped_image(self, record: dict) -> dict:
        """With the mapped image where the format looks for one: some refuse a row without."""
        column = next(iter(FORMATS[self.format].columns.get("image", ())), ".")
        if "image" not in self.mapping or "." in column:
            return record
        return record | {column: pick(record, self.mapping["image"])}

    def _by_columns(self, record: dict, error: BadInputError) -> Fields:
        """A row that the format refuses goes in by its columns alone where the instruction is mapped by hand. Raises
        `error` where they do not make a row, or would leave out what belongs to the question."""
        if "instruction" not in self.mapping or record.get("turns"):
            raise error
        columns = FORMATS[self.format].columns
        there = {name: next((c for c in columns.get(name, ()) if pick(record, c) is not None), None) for name in FIELDS}
        there = {name: column for name, column in there.items() if column and name not in self.mapping}
        if "chosen" in there and "rejected" not in there:
            raise error
        try:
            fields = parse_mapped(record, there)
        except BadInputError:
            raise error from None
        note = f"A row that {FORMATS[self.format].label} does not allow went in by its columns alone."
        return fields | {"warnings": [note, *fields.get("warnings", ())]}

    def mapped(self, columns: Sequence[str]) -> dict[str, str]:
        """Our fields to those of `columns` that they are read from, as far as the format tells."""
        known = {}
        for name, choices in FORMATS[self.format].columns.items():
            found = next((c for c in choices if c in columns or c.split(".")[0] in columns), None)
            if found:
                known[name] = found
        return known | self.mapping


def open_source(source: Path | str, format: str = "auto", mapping: Mapping[str, str] | None = None) -> Source:
    """Open a file, folder or data set of the hub; `mapping` says which of its columns are which of our fields.

    Without a known format the fields that `mapping` does not speak of are guessed by the columns' names; an empty
    column says that there is none.
    Raises BadInputError when nothing of it can be read: missing, empty, in no known format without `mapping`;
    UsageError for a format or field that there is not.
    """
    if format != "auto" and format not in FORMATS:
        raise UsageError(f"Format {format!r} is not known: choose auto, {', '.join(FORMATS)}.")
    given = dict(mapping or {})
    wanted = check_mapping(given)
    container = open_container(source)
    name, also = format, ()
    if format == "auto":
        name, also = _detect(container, source, by_hand=bool(wanted))
    if wanted:
        check_columns(wanted, first_records(container, LOOK_AT))
    if name != "mapping":
        return Source(container, name, wanted, also=also)
    records = first_records(container)
    guess = {f: column for f, column in guess_mapping(columns_of(records)).items() if f not in given}
    wanted = check_mapping(guess | wanted)
    if "instruction" not in wanted:
        raise UnknownFormatError(_say_unknown(source, records), container, records)
    return Source(container, name, wanted, tuple(guess))


def first_records(container: Container, count: int = VOTES) -> list[dict]:
    """The first good records, among the first hundred."""
    good = (record for _, record in islice(container.records(), LOOK_AT) if isinstance(record, dict))
    return list(islice(good, count))


def _detect(container: Container, source: object, *, by_hand: bool) -> tuple[str, tuple[str, ...]]:
    """The format that most of the first rows are in, and those that they may as well be in."""
    if container.is_image_folder:
        return "imagefolder", ()  # its reader says what is missing
    records = first_records(container)
    if not records:
        _, problem = next(iter(container.records()), ("", None))
        if problem is None:
            raise BadInputError(f"{source} holds no rows: there is nothing to import.")
        if not isinstance(problem, BadInputError):
            problem = f"it is {type_name(problem)} where an object is expected"
        if container.kind == "JSON Lines":
            raise BadInputError(f"{source} is not JSON Lines, nor a JSON list: in its first line, {problem}.")
        raise BadInputError(f"{source} has no row that can be read: {problem}.")
    votes = Counter(name for name in map(_recognise, records) if name)
    if votes:
        name = votes.most_common(1)[0][0]
        return name, FORMATS[name].twins
    if by_hand:
        return "mapping", ()
    raise UnknownFormatError(_say_unknown(source, records), container, records)


def _say_unknown(source: object, records: list[dict]) -> str:
    keys = ", ".join(list(records[0])[:8])[:160] if records and records[0] else "none"
    return (
        f"{source} is in no known format (its keys: {keys}): say which of them are ours, as in "
        "--map instruction=question --map image=img_path, after a look by --preview."
    )


def _recognise(record: dict) -> str | None:
    return next((name for name, format in FORMATS.items() if format.recognises(record)), None)
