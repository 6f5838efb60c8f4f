"""A source whose samples have one to four images, and texts that are true of all of them together."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.record import Annotations, AnsweredQuestion, Provenance
from mmrs.source import Discovery, FurtherImage, Item
from tests.support.sources import ToySource, toy_build

COLOURS = {"red": (210, 40, 40), "green": (40, 170, 60), "blue": (40, 60, 210), "grey": (128, 128, 128)}
ROLES = ("before", "after", "later", "last")


@dataclass(frozen=True)
class PairSource(ToySource):
    """Implements `mmrs.source.Source` over a folder that `write_pairs` wrote."""

    tasks: tuple[str, ...] = ("captioning", "vqa")
    categories: tuple[str, ...] = ()

    def discover(self, root, split):
        items = []
        for label in sorted((root / split).glob("*.json")):
            first, *rest = json.loads(label.read_text())["images"]
            further = tuple(
                FurtherImage(label.parent / name, role, "sar" if role == "last" else None)
                for name, role in zip(rest, ROLES[1:], strict=False)
            )
            role = ROLES[0] if further else None
            items.append(Item(label.stem, label.parent / first, (label,), further=further, role=role))
        return Discovery(tuple(items))

    def read(self, item):
        content = json.loads(item.annotations[0].read_text())
        return Annotations(
            captions=tuple(content["captions"]),
            questions=tuple(AnsweredQuestion(question=q, answer=a) for q, a in content["questions"]),
            provenance=Provenance(annotation=item.annotations[0].name),
        )


def plain_picture(generator: np.random.Generator, colour: str, suffix: str, size: tuple[int, int] = (40, 32)) -> bytes:
    """An image of one colour with some noise."""
    noise = generator.integers(-12, 13, (size[1], size[0], 3))
    buffer = io.BytesIO()
    pixels = (np.array(COLOURS[colour]) + noise).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG" if suffix == "jpg" else suffix.upper())
    return buffer.getvalue()


def write_pairs(
    root: Path, counts: Sequence[int], suffix: str = "jpg", seed: int = 0, splits=("train", "test")
) -> None:
    """In each split a sample for each of `counts`, which says how many images it has; a seeded half of them change."""
    generator = np.random.default_rng(seed)
    for split in splits:
        (root / split).mkdir(parents=True, exist_ok=True)
        for number, count in enumerate(counts):
            first = str(generator.choice(list(COLOURS)))
            others = [colour for colour in COLOURS if colour != first]
            changes = bool(generator.integers(2))
            last = str(generator.choice(others)) if changes else first
            colours = [first, *[last] * (count - 1)]
            names = [f"{split}{number:03d}-{place}.{suffix}" for place in range(count)]
            for name, colour in zip(names, colours, strict=True):
                (root / split / name).write_bytes(plain_picture(generator, colour, suffix))
            changed = colours[0] != colours[-1]
            content = {
                "images": names,
                "captions": [f"The field turns from {first} to {last}." if changed else "Nothing changed."],
                "questions": [["Did the colour change?", "yes" if changed else "no"]],
            }
            (root / split / f"{split}{number:03d}.json").write_text(json.dumps(content))


def built_pairs(folder: Path, counts: Sequence[int], workers: int = 1, suffix: str = "jpg", **options) -> Path:
    """The data set of `write_pairs`, in shards of some 9 kB, in a folder of its own below `folder`."""
    write_pairs(folder / "pairs", counts, suffix)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 9_000, **options})
    quiet = Progress(quiet=True)
    plan = plan_build([toy_build(folder / "pairs", PairSource())], recipe, 1, quiet)
    build(plan, recipe, folder / f"out{workers}", workers, quiet)
    return folder / f"out{workers}"
