"""A fake CRSVQA: painted PNGs and a text file each, CRLF, full-width and plain question marks, one odd last line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.samples.noise import make_pool
from converters.samples.questions import make_scene, other_things, yes_no
from converters.samples.scenes import paint_scene, save_image

_SIDE = 600
_FIRST_ID = 14280
# Image number whose text ends with a question without an answer.
ODD_IMAGE = 1


def write(root: Path, *, images: Annotated[int, Field(ge=1)] = 10, seed: int = 0) -> dict[str, Any]:
    """Write the fake into ``root/data``.

    Args:
        root: becomes the source's root.
        images: number of images.
        seed: equal seeds and options give equal bytes.

    Returns:
        Images and questions in all.
    """
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, _SIDE + 64, _SIDE + 64, planes=2)
    (root / "data" / "text").mkdir(parents=True)
    for number in range(images):
        scene = make_scene(rng, number)
        picture = paint_scene(scene.painter, rng, pool, _SIDE, _SIDE)
        save_image(picture, root / "data" / "image" / f"{_FIRST_ID + number}.png")
        things = other_things(rng, scene)
        lines = [
            "What is the theme of this scene？",
            scene.theme,
            f"How many {scene.things} are in the picture?",
            str(scene.count),
            f"Are there {things} Next to the {scene.things}？",
            yes_no(False),
        ]
        if number == ODD_IMAGE:
            lines.append("What is the shape of the road?")
        data = "".join(f"{line}\r\n" for line in lines).encode()
        (root / "data" / "text" / f"{_FIRST_ID + number}.txt").write_bytes(data)
    return {"images": images, "questions": 3 * images}
