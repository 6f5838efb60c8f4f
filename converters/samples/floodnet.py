"""A fake FloodNet-VQA: painted JPEGs and the three question files, of which only the training one has answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.samples.noise import Rng, make_pool
from converters.samples.questions import Scene, make_scene
from converters.samples.scenes import paint_scene, save_image

# A tenth of the true size on each side.
WIDTH, HEIGHT = 459, 307
_FIRST_ID = 10165
ID_STEP = 3


def write(root: Path, *, images: Annotated[int, Field(ge=1)] = 10, seed: int = 0) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images: number of training images; ids have gaps.
        seed: equal seeds and options give equal bytes.

    Returns:
        Images and answered questions in all.
    """
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, WIDTH + 64, WIDTH + 64, planes=2)
    rows = []
    for number in range(images):
        scene = make_scene(rng, number)
        name = f"{_FIRST_ID + ID_STEP * number}.JPG"
        picture = paint_scene(scene.painter, rng, pool, WIDTH, HEIGHT)
        save_image(picture, root / "Images" / "Train_Image" / name)
        rows += [
            {"Image_ID": name, "Question": question, "Ground_Truth": answer, "Question_Type": kind}
            for kind, question, answer in _asked(rng, scene, number)
        ]
    unanswered = [{key: value for key, value in row.items() if key != "Ground_Truth"} for row in rows[:2]]
    files = {"Training Question.json": rows, "Valid Question.json": unanswered, "Test_Question.json": unanswered}
    (root / "Questions").mkdir()
    for file_name, content in files.items():
        numbered = {str(number): row for number, row in enumerate(content)}
        (root / "Questions" / file_name).write_text(json.dumps(numbered), encoding="utf-8")
    return {"images": images, "questions": len(rows)}


def _asked(rng: Rng, scene: Scene, number: int) -> list[tuple[str, str, str | int]]:
    flooded = bool(rng.random() < 0.2)
    state = "flooded,non flooded" if number == 2 else "flooded" if flooded else "non flooded"
    asked: list[tuple[str, str, str | int]] = [
        ("Condition_Recognition", "What is the overall condition of the given image?", state)
    ]
    if scene.urban:
        asked.append(("Simple_Counting", "How many buildings can be seen in the image?", scene.count))
    if number % 2:
        asked.append(("Yes_No", "Is the entire road flooded?", "Yes" if flooded else "No"))
    return asked
