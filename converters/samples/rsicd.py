"""A fake RSICD: painted 224-pixel JPEGs, five sentences each with the real set's repeats, one of them wordless."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.samples.counts import split_counts
from converters.samples.noise import Rng, make_pool
from converters.samples.scenes import paint_scene

IMAGES = {"train": 16, "val": 4, "test": 5}
SIDE = 224
SENTENCES = 5
# Image number whose third sentence has no words.
WORDLESS_IMAGE = 2
# Class word of RSICD -> painted scene, what a sentence calls it.
SCENES = {
    "airport": ("airplane", "white planes are parked on a gray apron"),
    "baseballfield": ("baseballdiamond", "a baseball field with a brown infield is surrounded by green grass"),
    "beach": ("beach", "white waves are between a yellow beach and a blue ocean"),
    "denseresidential": ("denseresidential", "many red buildings are in a dense residential area"),
    "farmland": ("agricultural", "many yellow and green stripes are on a piece of farmland"),
    "forest": ("forest", "many dark green trees are in a piece of forest"),
    "parking": ("parkinglot", "many cars are parked in order in a parking lot"),
    "port": ("harbor", "many white boats are in a port near blue water"),
    "river": ("river", "a curved river is near many green trees"),
    "storagetanks": ("storagetanks", "several white storage tanks are on bare land"),
    "viaduct": ("overpass", "a viaduct goes across a road with yellow lines"),
}
OPENINGS = ("", "in this picture ", "we can see that ", "it is clear that ", "seen from above ")


def write(root: Path, *, images_per_split: int | Mapping[str, int] | None = None, seed: int = 0) -> dict[str, Any]:
    """Write the fake into `root`.

    Args:
        root: becomes the source's root.
        images_per_split: one number for all splits, or a number by split.
        seed: equal seeds and options give equal bytes.

    Returns:
        Images per split, sentences and distinct sentences in all.
    """
    counts = split_counts(images_per_split, IMAGES)
    rng = np.random.default_rng(seed)
    pool = make_pool(rng, SIDE + 64, SIDE + 64)
    folder = root / "RSICD_images"
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    names = list(SCENES)
    for split, count in counts.items():
        for _ in range(count):
            number = len(rows)
            name = names[number % len(names)]
            file_name = f"{number:05d}.jpg" if number % 4 == 3 else f"{name}_{number}.jpg"
            scene, phrase = SCENES[name]
            paint_scene(scene, rng, pool, SIDE, SIDE).save(folder / file_name, quality=88)
            rows.append(_row(number, file_name, split, _sentences(rng, number, phrase)))
    (root / "dataset_rsicd.json").write_text(json.dumps({"images": rows, "dataset": "rsicd"}), encoding="utf-8")
    texts = [(row["imgid"], sentence["raw"]) for row in rows for sentence in row["sentences"]]
    return {"images": dict(counts), "sentences": len(texts), "distinct": len(set(texts))}


def _sentences(rng: Rng, number: int, phrase: str) -> list[str]:
    distinct = int(rng.choice([1, 2, 3, 4, 5], p=[0.45, 0.15, 0.2, 0.1, 0.1]))
    openings = rng.permutation(OPENINGS)[:distinct]
    texts = [f"{opening}{phrase} ." for opening in openings]
    texts = (texts * SENTENCES)[:SENTENCES]
    if number == WORDLESS_IMAGE:
        texts[2] = " ."
    return texts


def _row(number: int, file_name: str, split: str, texts: list[str]) -> dict[str, Any]:
    sentences = [
        {"tokens": text.split()[:-1], "raw": text, "imgid": number, "sentid": SENTENCES * number + position}
        for position, text in enumerate(texts)
    ]
    sentids = [sentence["sentid"] for sentence in sentences]
    return {"filename": file_name, "imgid": number, "sentences": sentences, "split": split, "sentids": sentids}
