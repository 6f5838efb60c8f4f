"""Scoring of many answers: `python -m benchmarks.scoring --out RESULT.json`.

A million answers to questions of the types and shares of RSVQA, 100 questions an image, scored by every protocol that
applies, failures, constant row and interval over images included; then as many captions as NWPU-Captions' test has,
with five references each. Peak memory is that of the process, the answers themselves included; METEOR is left out.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from mmrs.instructions.dialects import dialect
from mmrs.record import AnsweredQuestion, ImageInfo, Record
from training.evaluation.scores import score
from training.evaluation.task import Answer, Answered, AnswerForm, Question
from training.evaluation.tasks import find_task

# Questions of RSVQA-LR's test of each type, of 100.
SHARES = {"comp": 40, "presence": 30, "count": 29, "rural_urban": 1}
PROTOCOLS = ("rsvqa/authors", "rsvqa/three-types-oa", "rsvqa/three-types-aa", "vqa/by-type")
CAPTIONED_IMAGES, REFERENCES = 3_150, 5
FORM = AnswerForm((), dialect("mmrs"))


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--answers", type=int, default=1_000_000)
    arguments = parser.parse_args()
    rng = random.Random(0)
    rows = [measured("captions", captioned(rng), ("captions/ptb-py",))]
    questions = answered_questions(rng, arguments.answers // sum(SHARES.values()))
    rows += [measured("questions about images", questions, (protocol,)) for protocol in PROTOCOLS]
    result = {"date": date.today().isoformat(), "machine": describe(), "rows": rows}
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        print(f"{row['what']}, {row['protocol']}: {row['answers']:,} in {row['seconds']} s, {row['peak_gb']} GB")


def measured(what: str, pairs: list[Answered[Any]], protocols: tuple[str, ...]) -> dict[str, Any]:
    started = time.perf_counter()
    (row,) = score(pairs, protocols)
    return {
        "what": what,
        "protocol": row.protocol,
        "answers": len(pairs),
        "images": row.images,
        "value": row.value,
        "constant_value": row.constant_value,
        "seconds": round(time.perf_counter() - started, 2),
        "peak_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def answered_questions(rng: random.Random, images: int) -> list[Answered[Any]]:
    """Four answers of five right, as text of its own, as if read from a file."""
    asked = []
    for number in range(images):
        questions = tuple(
            AnsweredQuestion(question="Is it?", answer=_answer(rng, kind), type=kind)
            for kind, count in SHARES.items()
            for _ in range(count)
        )
        asked += _asked("vqa", _record("rsvqa-lr", number, questions=questions))
    said = [q.truth.text if rng.random() < 0.8 else _answer(rng, q.truth.type) for q in asked]
    return [_answered(question, "".join([*text])) for question, text in zip(asked, said, strict=True)]


def captioned(rng: random.Random) -> list[Answered[Any]]:
    words = ["many", "planes", "are", "parked", "near", "a", "the", "large", "terminal", "in", "an", "airport", "with"]
    words += [f"word{number}" for number in range(1_000)]
    asked = []
    for number in range(CAPTIONED_IMAGES):
        captions = tuple(" ".join(rng.choices(words, k=rng.randint(8, 16))) + " ." for _ in range(REFERENCES))
        asked += _asked("captioning", _record("nwpu-captions", number, captions=captions))
    return [_answered(question, rng.choice(question.truth.references)) for question in asked]


def _answer(rng: random.Random, kind: str) -> str:
    if kind == "count":
        return str(int(rng.expovariate(1 / 60)))
    return rng.choice(["rural", "urban"] if kind == "rural_urban" else ["yes", "no"])


def _record(source: str, number: int, **fields: Any) -> Record:
    image = ImageInfo(width=256, height=256, mode="RGB", sha256="0" * 64)
    name = f"{source}/test/{number}"
    return Record(id=name, source=source, split="test", sensor="optical", image=image, licence="none", **fields)


def _asked(task: str, record: Record) -> list[Question[Any]]:
    return [
        Question(f"{record.id}#{task}-{place}", task, prompt, truth, record, FORM, {})
        for place, (prompt, truth) in enumerate(find_task(task).ask(record, FORM))
    ]


def _answered(question: Question[Any], text: str) -> Answered[Any]:
    return Answered(question, Answer(question.id, text, question.prompt, "stop"))


if __name__ == "__main__":
    main()
