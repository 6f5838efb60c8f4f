"""Questions and answers about records that a test states, without a data set."""

from __future__ import annotations

from mmrs.instructions.dialects import dialect
from mmrs.record import AnnotatedObject, Expression, ImageInfo, Record
from training.evaluation.task import Answer, Answered, AnswerForm, Question
from training.evaluation.tasks import find_task


def make_object(category, box, **fields):
    """An object with a true horizontal box (xmin, ymin, xmax, ymax) in pixels."""
    x1, y1, x2, y2 = map(float, box)
    quad = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    return AnnotatedObject(category=category, label=category, quad=quad, hbb=(x1, y1, x2, y2), **fields)


def make_record(name, objects=(), size=(1000, 1000), expressions=(), **fields):
    """A record of the source ``made`` whose image is `size` pixels wide and high."""
    return Record(
        id=f"made/test/{name}",
        source="made",
        split="test",
        sensor="optical",
        image=ImageInfo(width=size[0], height=size[1], mode="RGB", sha256="0" * 64),
        licence="none",
        objects=tuple(objects),
        expressions=tuple(Expression(text=text, object=number) for text, number in expressions),
        **fields,
    )


def ask(task, records, categories=("car", "ship"), box_dialect="mmrs"):
    """The questions of a task about the records."""
    form = AnswerForm(tuple(categories), dialect(box_dialect))
    return [
        Question(f"{record.id}#{task}-{number}", task, prompt, truth, record, form, {})
        for record in records
        for number, (prompt, truth) in enumerate(find_task(task).ask(record, form))
    ]


def answer(questions, texts, **fields):
    """Each question with its text."""
    return [
        Answered(q, Answer(q.id, text, q.prompt, "stop", **fields)) for q, text in zip(questions, texts, strict=True)
    ]


def protocol(task, name):
    """The protocol of a task, by its name."""
    return next(each for each in find_task(task).protocols if each.name == name)
