"""Fakes of the caption sources: painted scenes with five sentences each and the real sets' repeats.

Both schemas of `converters.formats.captions`: rows in one list, or rows by class with ``raw``, ``raw_1``, ...
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from converters.samples.counts import split_counts
from converters.samples.noise import Rng, make_pool
from converters.samples.scenes import paint_scene, save_image

SENTENCES = 5
# Image number whose third sentence has no words.
WORDLESS_IMAGE = 2
# Class word of RSICD -> painted scene, what a sentence calls it.
_SCENES = {
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
MIXED_ENDS = (" .", ".", "")


@dataclass(frozen=True)
class CaptionSample:
    """One source's layout.

    Args:
        image_folder: where the images lie, below the root; with `by_class`, in a folder per class below it.
        annotation_file: the caption file, below the root.
        dataset: the file's own name of the data set.
        images: usual number of images by split.
        side: side of the images in pixels.
        file_name: (number of the image from 0, class word) -> file name; its suffix decides the format.
        by_class: the schema of NWPU-Captions.
        mixed_text: sentences start with a capital letter or not and end in three ways.
        wordless: image `WORDLESS_IMAGE` has a sentence without words.
    """

    image_folder: str
    annotation_file: str
    dataset: str
    images: Mapping[str, int]
    side: int
    file_name: Callable[[int, str], str]
    by_class: bool = False
    mixed_text: bool = False
    wordless: bool = True

    def write(
        self, root: Path, *, images_per_split: int | Mapping[str, int] | None = None, seed: int = 0
    ) -> dict[str, Any]:
        """Write the fake into `root`.

        Args:
            root: becomes the source's root.
            images_per_split: one number for all splits, or a number by split.
            seed: equal seeds and options give equal bytes.

        Returns:
            Images per split, sentences and distinct sentences in all.
        """
        counts = split_counts(images_per_split, self.images)
        rng = np.random.default_rng(seed)
        pool = make_pool(rng, self.side + 64, self.side + 64)
        names = list(_SCENES)
        rows: list[tuple[str, dict[str, Any]]] = []
        texts: list[tuple[int, str]] = []
        for split, count in counts.items():
            for _ in range(count):
                number = len(rows)
                name = names[number % len(names)]
                file_name = self.file_name(number, name)
                folder = root / self.image_folder / (name if self.by_class else "")
                scene, phrase = _SCENES[name]
                save_image(paint_scene(scene, rng, pool, self.side, self.side), folder / file_name)
                sentences = self._sentences(rng, number, phrase)
                row = _numbered_row if self.by_class else _row
                rows.append((name, row(number, file_name, split, sentences)))
                texts += [(number, sentence) for sentence in sentences]
        self._write_rows(root / self.annotation_file, rows)
        return {"images": dict(counts), "sentences": len(texts), "distinct": len(set(texts))}

    def _sentences(self, rng: Rng, number: int, phrase: str) -> list[str]:
        distinct = int(rng.choice([1, 2, 3, 4, 5], p=[0.45, 0.15, 0.2, 0.1, 0.1]))
        openings = rng.permutation(OPENINGS)[:distinct]
        texts = [f"{opening}{phrase} ." for opening in openings]
        if self.mixed_text:
            texts = [
                text.removesuffix(" .").capitalize() + MIXED_ENDS[(number + position) % len(MIXED_ENDS)]
                for position, text in enumerate(texts)
            ]
        texts = (texts * SENTENCES)[:SENTENCES]
        if self.wordless and number == WORDLESS_IMAGE:
            texts[2] = " ."
        return texts

    def _write_rows(self, path: Path, rows: list[tuple[str, dict[str, Any]]]) -> None:
        content: dict[str, Any] = {"images": [row for _, row in rows], "dataset": self.dataset}
        if self.by_class:
            content = {}
            for name, row in rows:
                content.setdefault(name, []).append(row)
        path.write_text(json.dumps(content), encoding="utf-8")


def _row(number: int, file_name: str, split: str, texts: list[str]) -> dict[str, Any]:
    sentences = [
        {
            "tokens": text.removesuffix(".").split(),
            "raw": text,
            "imgid": number,
            "sentid": SENTENCES * number + position,
        }
        for position, text in enumerate(texts)
    ]
    sentids = [sentence["sentid"] for sentence in sentences]
    return {"filename": file_name, "imgid": number, "sentences": sentences, "split": split, "sentids": sentids}


def _numbered_row(number: int, file_name: str, split: str, texts: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"filename": file_name, "imgid": number, "split": split}
    for position, text in enumerate(texts):
        ending = f"_{position}" if position else ""
        row |= {f"raw{ending}": text, f"sentids{ending}": SENTENCES * number + position}
    return row
