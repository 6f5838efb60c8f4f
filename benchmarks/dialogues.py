"""Generated samples with the text lengths of a mixture of HIT-UAV and DIOR-RSVG, rendered by the project's own grammar.

Half of the images are detection images as in HIT-UAV: the number of objects follows its quantiles (median 6, mean 9),
most images hold one class, and each has a horizontal and an oriented dialogue for all objects and one pair per class.
The others are grounding images as in DIOR-RSVG: one to four expressions (2.2 on average), each asked both ways.
Pixels are random, so nothing is read from a disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mmrs.geometry import SquareFrame, quad_from_rotated
from mmrs.instructions import prompts
from mmrs.instructions.answers import format_detections
from mmrs.instructions.dialects import Dialect, dialect
from training.data.collate import EncodedDialogue, EncodedUnit
from training.model import EarthGPTProcessor
from training.model.language.dialogue_form import PLAIN_FORM

TASKS = ("detection-hbb", "detection-obb", "region-captioning", "visual-grounding")
_CLASSES = ("person", "car", "bicycle", "other vehicle")
# Objects per image of the published HIT-UAV: quantiles 0, 10, 25, 50, 75, 90, 95, 100 %.
_QUANTILES = ((0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1), (1, 2, 3, 6, 12, 21, 26, 38))
_DETECTION, _GROUNDING = SquareFrame(640, 512), SquareFrame(800, 800)
_WHAT = ("vehicle", "airplane", "ship", "baseball field", "tennis court", "storage tank", "bridge", "windmill")
_WHERE = ("on the left", "in the middle", "on the lower right", "next to the large building", "on the upper side")

Turns = list[tuple[str, str]]


@dataclass(frozen=True)
class Sample:
    """One image's dialogues: (number of the task in `TASKS`, turns)."""

    sample_id: str
    dialogues: tuple[tuple[int, Turns], ...]


def generate(images: int, seed: int) -> list[Sample]:
    """`images` samples; equal arguments give equal samples."""
    random = np.random.default_rng(seed)
    written = dialect("mmrs")
    kinds = random.permutation(images) % 2
    make = (_detection, _grounding)
    return [Sample(f"generated/{number:06d}", tuple(make[kind](random, written))) for number, kind in enumerate(kinds)]


def texts(samples: list[Sample]) -> Iterator[str]:
    """All turns as the model reads them, for a tokenizer."""
    for sample in samples:
        for _, turns in sample.dialogues:
            for role, text in turns:
                asked = "".join(piece for piece, _ in PLAIN_FORM.question(text, first=True))
                yield asked if role == "human" else PLAIN_FORM.answer(text)


def encode(samples: list[Sample], processor: EarthGPTProcessor, seed: int) -> list[EncodedUnit]:
    """The samples as units with random pixels."""
    random = np.random.default_rng(seed)
    size = processor.image_processor.image_size
    units = []
    for sample in samples:
        pixels_CHW = random.integers(0, 256, (3, size, size), np.uint8)
        encoded = [(*processor.encode_dialogue(turns), task) for task, turns in sample.dialogues]
        units.append(EncodedUnit(sample.sample_id, pixels_CHW, tuple(EncodedDialogue(*parts) for parts in encoded)))
    return units


def _detection(random: np.random.Generator, written: Dialect) -> Iterator[tuple[int, Turns]]:
    objects = int(np.interp(random.random(), *_QUANTILES))
    classes = random.permutation(len(_CLASSES))[: min(objects, 1 + int(random.choice(3, p=(0.77, 0.19, 0.04))))]
    members = np.sort(random.integers(0, len(classes), objects))
    rotated = np.column_stack(
        [
            random.uniform(20, 620, objects),
            random.uniform(20, 492, objects),
            random.uniform(8, 60, objects),
            random.uniform(8, 30, objects),
            random.uniform(0, np.pi, objects),
        ]
    )
    quads = quad_from_rotated(rotated)
    boxes = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
    for task, name in enumerate(TASKS[:2]):
        groups = []
        for place, number in enumerate(classes):
            mine = members == place
            if not mine.any():
                continue
            text = (
                written.format_hbb(boxes[mine], _DETECTION)
                if task == 0
                else written.format_obb(quads[mine], _DETECTION)
            )
            groups.append((_CLASSES[number], int(mine.sum()), text))
        yield task, _turns(prompts.DETECTION_ALL[name], format_detections(groups))
        for group in groups:
            question = prompts.DETECTION_CLASS[name].format(plural=prompts.plural(group[0]))
            yield task, _turns(question, format_detections([group]))


def _grounding(random: np.random.Generator, written: Dialect) -> Iterator[tuple[int, Turns]]:
    for _ in range(int(random.choice((1, 2, 3, 4), p=(0.3, 0.35, 0.2, 0.15)))):
        low = random.uniform(0, 600, 2)
        box = written.format_hbb([[*low, *(low + random.uniform(20, 200, 2))]], _GROUNDING)
        phrase = f"The {random.choice(_WHAT)} {random.choice(_WHERE)} of the {random.choice(_WHAT)}"
        yield 3, _turns(prompts.VISUAL_GROUNDING.format(text=phrase), box)
        yield 2, _turns(prompts.REGION_CAPTIONING.format(box=box), phrase)


def _turns(question: str, answer: str) -> Turns:
    return [("human", question), ("gpt", answer)]
