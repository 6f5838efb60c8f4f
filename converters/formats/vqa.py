"""Questions and answers by image: the three tables of RSVQA, the lines of RSIVQA, the text of CRSVQA, FloodNet's JSON.

Questions and answers keep the source's text but for blanks around it. A number in JSON becomes its decimal text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from converters.formats.text import Id, decode, id_of, parse_json, shown
from mmrs.errors import BadItem


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """One question with its answer; `type` as the source states it, None where it states none."""

    question: str
    answer: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class ImageQuestions:
    """Questions by image, in file order.

    `images` maps the source's name of the image to its distinct questions and `repeats` counts those that stood there
    before, word for word with the same answer. `problems` are (place, reason) of rows left out.
    """

    images: dict[str, tuple[QuestionAnswer, ...]]
    repeats: dict[str, int]
    problems: tuple[tuple[str, str], ...]


def parse_rsvqa(images: bytes, questions: bytes, answers: bytes, path: str) -> ImageQuestions:
    """Join the three tables of an RSVQA split by id; `path` names the questions' file in errors.

    Rows that are not active are stubs of other splits, kept there so that position equals id; they count as absent.
    The image's name is its id.

    Raises:
        BadItem: a table is not JSON or not a list of rows under its own name.
    """
    rows, bad_images = _active(images, "images", path)
    answer_rows, bad_answers = _active(answers, "answers", path)
    question_rows, bad_questions = _active(questions, "questions", path)
    problems = [*bad_images, *bad_answers, *bad_questions]
    found: list[tuple[str, QuestionAnswer]] = []
    for key, row in question_rows.items():
        image, answer = _joined_id(row, "img_id"), None
        answer_ids = row.get("answers_ids")
        if isinstance(answer_ids, list) and answer_ids:
            answer_id = _joined_id({"id": answer_ids[0]}, "id")
            answer = _text(answer_rows.get(answer_id, {}).get("answer")) if answer_id is not None else None
        question, kind = _text(row.get("question")), _text(row.get("type"))
        if image is None or image not in rows:
            asked = shown(row.get("img_id"))
            problems.append((path, f"question {key} is of image {asked}, which is not active in this split"))
        elif question is None or answer is None:
            problems.append((path, f"question {key} has no text or no active answer"))
        else:
            found.append((str(image), QuestionAnswer(question, answer, kind)))
    return _by_image(found, problems, (str(key) for key in rows))


def parse_question_lines(data: bytes, path: str) -> ImageQuestions:
    """Parse lines ``image:question?answer``, cut at the first colon and the first question mark after it.

    A line without the two marks or without an answer is a problem.

    Raises:
        BadItem: not UTF-8.
    """
    found, problems = [], []
    for number, line in enumerate(decode(data, path).split("\n"), 1):
        if not line.strip():
            continue
        image, colon, rest = line.partition(":")
        question, mark, answer = (part.strip() for part in rest.partition("?"))
        if colon and image.strip() and question and mark and answer:
            found.append((image.strip(), QuestionAnswer(f"{question}?", answer)))
        else:
            problems.append((f"{path}:{number}", f"{shown(line)} is not of the form image:question?answer"))
    return _by_image(found, problems)


def parse_question_text(data: bytes, path: str) -> tuple[tuple[QuestionAnswer, ...], int]:
    """Parse one image's text: a question and its answer on lines of their own in turn; full-width ``？`` becomes ``?``.

    A line that a question follows, where its answer should stand, is left out, and the question begins a new pair.

    Returns:
        The distinct questions, and how many lines or repeats were left out (a question without an answer).

    Raises:
        BadItem: not UTF-8, or no pair at all.
    """
    lines = [line.strip().replace("？", "?") for line in decode(data, path).split("\n") if line.strip()]
    pairs = []
    place = 0
    while place + 1 < len(lines):
        if lines[place + 1].endswith("?"):
            place += 1
            continue
        pairs.append(QuestionAnswer(lines[place], lines[place + 1]))
        place += 2
    if not pairs:
        raise BadItem("no question with an answer", path)
    distinct = tuple(dict.fromkeys(pairs))
    return distinct, len(lines) - 2 * len(pairs) + len(pairs) - len(distinct)


def parse_floodnet(data: bytes, path: str) -> ImageQuestions:
    """Parse FloodNet's questions: a dictionary of rows with Image_ID, Question, Ground_Truth and Question_Type.

    A row without Ground_Truth (the validation and test files have none) is a problem.

    Raises:
        BadItem: not JSON, or no dictionary.
    """
    rows = parse_json(data, path)
    if not isinstance(rows, dict):
        raise BadItem(f"top level is a {type(rows).__name__}, an object of rows expected", path)
    found, problems = [], []
    for key, row in rows.items():
        fields = row if isinstance(row, dict) else {}
        image, question, answer = (_text(fields.get(name)) for name in ("Image_ID", "Question", "Ground_Truth"))
        if image is None or question is None or answer is None:
            problems.append((path, f"row {key!r} lacks Image_ID, Question or Ground_Truth"))
        else:
            found.append((image, QuestionAnswer(question, answer, _text(fields.get("Question_Type")))))
    return _by_image(found, problems)


def _by_image(
    found: Iterable[tuple[str, QuestionAnswer]], problems: Iterable[tuple[str, str]], images: Iterable[str] = ()
) -> ImageQuestions:
    by_image: dict[str, dict[QuestionAnswer, None]] = {image: {} for image in images}
    repeats: dict[str, int] = {}
    for image, asked in found:
        own = by_image.setdefault(image, {})
        if asked in own:
            repeats[image] = repeats.get(image, 0) + 1
        own[asked] = None
    return ImageQuestions({image: tuple(own) for image, own in by_image.items()}, repeats, tuple(problems))


def _active(data: bytes, key: str, path: str) -> tuple[dict[Id, dict[str, Any]], list[tuple[str, str]]]:
    """The table's active rows by id, and (path, reason) of those without an id of their own."""
    tables = parse_json(data, path)
    rows = tables.get(key) if isinstance(tables, dict) else None
    if not isinstance(rows, list):
        raise BadItem(f"no list `{key}` at the top level", path)
    active: dict[Id, dict[str, Any]] = {}
    problems = []
    for number, row in enumerate(rows):
        try:
            own = id_of(row, "id", f"{key}[{number}]")
        except BadItem as error:
            problems.append((path, error.reason))
            continue
        if row.get("active") is not False and active.setdefault(own, row) is not row:
            problems.append((path, f"{key}[{number}] repeats id {own}"))
    return active, problems


def _joined_id(row: dict[str, Any], key: str) -> Id | None:
    try:
        return id_of(row, key, "")
    except BadItem:
        return None


def _text(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip() or None
