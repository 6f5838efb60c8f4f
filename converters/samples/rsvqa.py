"""Fakes of RSVQA: painted TIFFs, three tables per split, with the inactive stubs of the other splits before them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.samples.counts import split_counts
from converters.samples.noise import Rng, make_pool
from converters.samples.questions import Scene, make_scene, other_things, yes_no
from converters.samples.scenes import paint_scene, save_image

Row = dict[str, Any]
_DATE = 1579865382.5


@dataclass(frozen=True)
class RsvqaSample:
    """One resolution: `prefix` of the tables, usual number of `images` by split, image folder and side in pixels.

    With `areas`, areas in square metres are asked for instead of rural or urban.
    """

    prefix: str
    images: Mapping[str, int]
    image_folder: str
    side: int
    sensor: str
    areas: bool = False

    def write(
        self, root: Path, *, images_per_split: int | Mapping[str, int] | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """Write the fake into `root`.

        Args:
            root: becomes the source's root.
            images_per_split: one number for all splits, or a number by split.
            seed: equal seeds and options give equal bytes.

        Returns:
            Images and questions per split.
        """
        counts = split_counts(images_per_split, self.images)
        rng = np.random.default_rng(seed)
        pool = make_pool(rng, self.side + 64, self.side + 64)
        images: list[Row] = []
        questions: list[Row] = []
        answers: list[Row] = []
        splits: dict[str, set[int]] = {}
        for split, count in counts.items():
            splits[split] = set(range(len(images), len(images) + count))
            for image_id in sorted(splits[split]):
                scene = make_scene(rng, image_id)
                picture = paint_scene(scene.painter, rng, pool, self.side, self.side)
                save_image(picture, root / self.image_folder / f"{image_id}.tif")
                asked = list(enumerate(self._asked(rng, scene), len(questions)))
                images.append(_image(image_id, self.sensor, [row_id for row_id, _ in asked]))
                for row_id, (kind, question, answer) in asked:
                    questions.append(_question(row_id, image_id, kind, question))
                    answers.append(_answer(row_id, answer))
        asked_in = {}
        for split, own in splits.items():
            ids = {row["id"] for row in questions if row["img_id"] in own}
            asked_in[split] = len(ids)
            for table, rows, active in (
                ("images", images, own),
                ("questions", questions, ids),
                ("answers", answers, ids),
            ):
                path = root / f"{self.prefix}_split_{split}_{table}.json"
                path.write_text(json.dumps({table: _with_stubs(rows, active)}), encoding="utf-8")
        return {"images": dict(counts), "questions": asked_in}

    def _asked(self, rng: Rng, scene: Scene) -> list[tuple[str, str, str]]:
        absent = other_things(rng, scene)
        asked = [
            ("presence", f"Are {absent} present?", "no"),
            ("presence", f"Are {scene.things} present?", "yes"),
            ("count", f"What is the number of {scene.things} in the image?", str(scene.count)),
            ("comp", f"Are there more {scene.things} than {absent}?", yes_no(True)),
        ]
        if self.areas:
            # An empty attribute leaves two blanks in the real questions.
            return [*asked, ("area", f"What is the area covered by  {absent}?", "0m2")]
        return [("rural_urban", "Is it a rural or an urban area", "urban" if scene.urban else "rural"), *asked]


def _image(image_id: int, sensor: str, questions: list[int]) -> Row:
    return {
        "id": image_id,
        "date_added": _DATE,
        "original_name": f"{image_id + 400}.png",
        "sensor": sensor,
        "people_id": 0,
        "type": "0",
        "questions_ids": questions,
        "active": True,
    }


def _question(row_id: int, image_id: int, kind: str, question: str) -> Row:
    return {
        "id": row_id,
        "date_added": _DATE,
        "img_id": image_id,
        "people_id": 0,
        "type": kind,
        "question": question,
        "answers_ids": [row_id],
        "active": True,
    }


def _answer(row_id: int, answer: str) -> Row:
    return {
        "id": row_id,
        "date_added": _DATE,
        "question_id": row_id,
        "people_id": 0,
        "answer": answer,
        "active": True,
    }


def _with_stubs(rows: list[Row], own: set[int]) -> list[Row]:
    """Rows of other splits become stubs; the list ends after its last active row."""
    end = max(own, default=-1) + 1
    return [row if row["id"] in own else {"id": row["id"], "active": False} for row in rows[:end]]
