"""Data sets of chosen and rejected answers: both become candidates, the preference an imported decision.

TRL            images | image, prompt, chosen, rejected: texts, or messages with role and content
RLHF-V         image, text: a JSON string of question, chosen and rejected
RLAIF-V, MMPR  image, question, chosen, rejected
LLaMA-Factory  conversations | messages, chosen, rejected: one turn each; images
ms-swift       messages, whose last answer is the chosen one; rejected_response; images

The preference is that of the data set's maker: it is kept to compare with, under the format's name as its annotator.
"""

from __future__ import annotations

from m3po.errors import BadInputError
from m3po.formats.checks import check_text
from m3po.formats.conversations import as_records, read_content, read_turns, split_conversation
from m3po.formats.lines import parse_json, type_name
from m3po.formats.pictures import image_list
from m3po.formats.rows import Fields
from m3po.imported import ImportedDecision
from m3po.text import same_answer_key

IMAGES = ("images", "image")
SAME = "Chosen and rejected are the same answer: the preference is left out; correct one of them and import again."
_PAIR = {"chosen": ("chosen",), "rejected": ("rejected",)}
_ID = {"id": ("id", "idx"), "split": ("split",)}
TRL_COLUMNS = {"id": ("id",), "image": IMAGES, "instruction": ("prompt",), **_PAIR}
RLHF_V_COLUMNS = {**_ID, "image": ("image", "image_path"), "instruction": ("text.question",)}
RLHF_V_COLUMNS |= {"chosen": ("text.chosen",), "rejected": ("text.rejected",)}
QUESTION_COLUMNS = {**_ID, "image": ("image", "images", "image_path"), "instruction": ("question",), **_PAIR}
LLAMAFACTORY_COLUMNS = {
    "id": ("id",), "image": IMAGES, "instruction": ("conversations", "messages"), "system": ("system",), **_PAIR
}  # fmt: skip
MS_SWIFT_COLUMNS = {
    "id": ("id",), "image": IMAGES, "instruction": ("messages",), "chosen": ("messages",),
    "rejected": ("rejected_response", "rejected_messages"),
}  # fmt: skip


def give_pair(annotator: str, chosen: object, rejected: object) -> Fields:
    """Two candidates, the chosen one first, and the preference that came with them. Raises BadInputError."""
    texts = [_check_answer(chosen, "chosen"), _check_answer(rejected, "rejected")]
    if same_answer_key(texts[0]) == same_answer_key(texts[1]):
        return {"candidates": texts[:1], "warnings": [SAME]}
    given = ImportedDecision("override", chosen=0, rejected=1, annotator=annotator, given=True)
    return {"candidates": texts, "decisions": [given]}


def parse_trl(record: dict, source: str) -> Fields:
    """The prompt may also be left out: then it is what chosen and rejected begin with, as TRL has it."""
    chosen, rejected, prompt = (as_records(record.get(name)) for name in ("chosen", "rejected", "prompt"))
    if prompt is None and isinstance(chosen, list) and isinstance(rejected, list):
        prompt, chosen, rejected = chosen[:-1], chosen[-1:], (_after(chosen[:-1], rejected))
    fields = {"id": record.get("id"), "split": record.get("split"), "images": image_list(record, IMAGES)}
    if isinstance(prompt, str):
        fields["instruction"] = prompt
    elif prompt:
        fields["system"], fields["turns"], fields["instruction"], answer = split_conversation(prompt, "prompt")
        if answer is not None:
            raise BadInputError("its prompt ends with an answer; end it with the turn of the user")
    else:
        raise BadInputError("it has no prompt; add the question or the conversation under that key")
    return fields | give_pair("trl", _last_message(chosen, "chosen"), _last_message(rejected, "rejected"))


def parse_rlhf_v(record: dict, source: str) -> Fields:
    text = record.get("text")
    if isinstance(text, str):
        try:
            text = parse_json(text.encode("utf-8", "surrogatepass"))
        except BadInputError as error:
            raise BadInputError(f"the JSON in its text cannot be read: {error}") from error
    if not isinstance(text, dict):
        raise BadInputError(
            f"text must be a JSON string of question, chosen and rejected, not {type_name(text)}; correct it"
        )
    return _question(record, text, "rlhf_v")


def parse_rlaif_v(record: dict, source: str) -> Fields:
    return _question(record, record, "rlaif_v")


def parse_mmpr(record: dict, source: str) -> Fields:
    return _question(record, record, "mmpr")


def parse_llamafactory(record: dict, source: str) -> Fields:
    name = "messages" if record.get("conversations") is None and "messages" in record else "conversations"
    system, turns, instruction, answer = split_conversation(record.get(name), name)
    if answer is not None:
        raise BadInputError(f"its {name} end with an answer besides chosen and rejected; end them with the human turn")
    fields = {"id": record.get("id"), "images": image_list(record, IMAGES), "instruction": instruction, "turns": turns}
    fields["system"] = record.get("system") or system
    chosen, rejected = (_last_message(record.get(side), side) for side in ("chosen", "rejected"))
    return fields | give_pair("llamafactory", chosen, rejected)


def parse_ms_swift(record: dict, source: str) -> Fields:
    system, turns, instruction, chosen = split_conversation(record.get("messages"), "messages")
    if chosen is None:
        raise BadInputError("its messages have no last answer, which is the chosen one; add it")
    rejected = record.get("rejected_response")
    if rejected is None and record.get("rejected_messages") is not None:
        rejected = split_conversation(record["rejected_messages"], "rejected_messages")[3]
    if isinstance(rejected, list) and len(rejected) == 1:
        rejected = rejected[0]
    fields = {"id": record.get("id"), "images": image_list(record, IMAGES), "instruction": instruction, "turns": turns}
    return fields | {"system": record.get("system") or system} | give_pair("ms_swift", chosen, rejected)


def recognises_trl(record: dict) -> bool:
    if "chosen" not in record or "rejected" not in record:
        return False
    return "prompt" in record or isinstance(record["chosen"], list)


def recognises_rlhf_v(record: dict) -> bool:
    text = record.get("text")
    if isinstance(text, dict):
        return "chosen" in text and "rejected" in text
    if not isinstance(text, str) or "label" in record:
        return False
    return "origin_dataset" in record or (text.lstrip().startswith("{") and '"chosen"' in text)


def recognises_rlaif_v(record: dict) -> bool:
    return recognises_mmpr(record) and ("ds_name" in record or "origin_dataset" in record)


def recognises_mmpr(record: dict) -> bool:
    return "question" in record and "chosen" in record and "rejected" in record


def recognises_llamafactory(record: dict) -> bool:
    return "chosen" in record and "rejected" in record and ("conversations" in record or "messages" in record)


def recognises_ms_swift(record: dict) -> bool:
    return "messages" in record and ("rejected_response" in record or "rejected_messages" in record)


def _question(record: dict, texts: dict, annotator: str) -> Fields:
    if texts.get("question") is None:
        raise BadInputError("it has no question; add it under that key")
    id = record.get("id") if record.get("id") is not None else record.get("idx")
    return {
        "id": id,
        "split": record.get("split"),
        "images": image_list(record, ("image", "images", "image_path")),
        "instruction": texts["question"],
    } | give_pair(annotator, texts.get("chosen"), texts.get("rejected"))


def _check_answer(value: object, side: str) -> str:
    if value is None:
        raise BadInputError(f"it has no {side} answer; add it")
    text = check_text(value, f"the {side} answer")
    if not text.strip():
        raise BadInputError(f"the {side} answer is empty; write its text or leave the row out")
    return text


def _last_message(value: object, side: str) -> object:
    """The text of an answer that is a text, a message, or a list of one message."""
    value = as_records(value)
    if isinstance(value, list):
        if len(value) != 1:
            raise BadInputError(f"{side} has {len(value)} messages; write the answer alone")
        value = value[0]
    if isinstance(value, dict):
        [turn] = read_turns([value], side)
        if turn.role != "assistant":
            raise BadInputError(f"{side} is from the {turn.role}; write the assistant's answer")
        return read_content(turn.text, f"the {side} answer")
    return value


def _after(prompt: list, rejected: list) -> list:
    if rejected[:-1] != prompt:
        raise BadInputError("chosen and rejected begin with different conversations; make all but the answer equal")
    return rejected[-1:]
