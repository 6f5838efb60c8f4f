"""A fake RSIVQA: the seven label files with their quirks and a few painted images of each of the five sources.

A blank follows the colon in the HRRSD and DOTA files only; a line stands there twice; questions of ``ucm_res`` start
with a capital letter, lack their object word now and then, and have answers with blanks at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from converters.samples.noise import NoisePool, Rng, make_pool
from converters.samples.questions import Scene, make_scene, other_things
from converters.samples.scenes import paint_scene, save_image

_LARGEST = 500
_WORDS = ("one", "two", "three", "about forty")


def write(root: Path, *, images_per_set: Annotated[int, Field(ge=1)] = 5, seed: int = 0) -> dict[str, Any]:
    """Write the fake into `root`: ``RSIVQA/<set>/*.txt`` and ``images/<set>``.

    Args:
        root: becomes the source's root.
        images_per_set: images of each of the five sources.
        seed: equal seeds and options give equal bytes.

    Returns:
        Images in all and lines by label file.
    """
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, _LARGEST + 64, _LARGEST + 64, planes=2)
    numbers = range(images_per_set)
    half = (images_per_set + 1) // 2
    hrrsd = _images(root, "HRRSD", [f"{number + 1:05d}.jpg" for number in numbers], 300, rng, pool)
    dota = _images(root, "DOTA", [f"P{number:04d}.png" for number in numbers], 400, rng, pool)
    rsicd = _images(root, "RSICD", [f"{number + 433:05d}.jpg" for number in numbers], 224, rng, pool)
    ucm = _images(root, "UCM", [f"{number + 1}.tif" for number in numbers], 256, rng, pool)
    sydney = _images(root, "Sydney", [f"{number + 1}.tif" for number in numbers], _LARGEST, rng, pool)
    counted = _counted(rng, hrrsd)
    files = {
        "HRRSD/opt_val_vqa.txt": [*counted, counted[-1]],
        "DOTA/dota_train_vqa2.txt": _counted(rng, dota[:half]),
        "DOTA/dota_val_vqa2.txt": _counted(rng, dota[half:]),
        "AID/rsicd_vqa.txt": _themes(rsicd),
        "UCM/ucm_vqa.txt": _themes(ucm),
        "UCM/ucm_res.txt": _places(ucm),
        "Sydney/sydney_vqa.txt": _themes(sydney),
    }
    for name, lines in files.items():
        path = root / "RSIVQA" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {"images": 5 * images_per_set, "lines": {name: len(lines) for name, lines in files.items()}}


Named = tuple[str, Scene]


def _images(root: Path, folder: str, names: Sequence[str], side: int, rng: Rng, pool: NoisePool) -> list[Named]:
    scenes = []
    for number, name in enumerate(names):
        scene = make_scene(rng, number)
        save_image(paint_scene(scene.painter, rng, pool, side, side), root / "images" / folder / name)
        scenes.append((name, scene))
    return scenes


def _counted(rng: Rng, images: Sequence[Named]) -> list[str]:
    lines = []
    for name, scene in images:
        stem = Path(name).stem
        lines += [
            f"{stem}: how many {scene.things} are there in this picture?{scene.count}",
            f"{stem}: does this picture contain {scene.things}?yes",
            f"{stem}: does this picture contain {other_things(rng, scene)}?no",
        ]
    return lines


def _themes(images: Sequence[Named]) -> list[str]:
    return [f"{name}:what is the theme of this picture?{scene.theme}" for name, scene in images]


def _places(images: Sequence[Named]) -> list[str]:
    lines = []
    for number, (name, scene) in enumerate(images):
        things = "" if number == 0 else f"{scene.things} are"
        lines += [
            f"{name}:What is the theme of this picture?{scene.theme}",
            f"{name}:How many {things} in the picture?{_WORDS[number % len(_WORDS)]}",
            f"{name}:What is the location of the {scene.things} in this picture?top left corner ",
        ]
    return lines
