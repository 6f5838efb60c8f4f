"""Template sets: the wording of prompts. Answers are the same in every set, so one parser reads them all.

``mmrs1m`` has one wording of each prompt, that of the release. ``diverse`` has several; which one a dialogue gets
follows from the seed, the record's id and the dialogue's number in the record, so that it is the same on any machine
and in any order, and two captions of one image are mostly asked for in two ways.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass

from mmrs.errors import UserError
from mmrs.instructions import prompts
from mmrs.seeding import seeded_choice
from mmrs.text import nearest

# The parts that a prompt of each kind must hold, each exactly once.
FIELDS = {
    "classification": (),
    "captioning": (),
    "vqa": ("question",),
    "visual-grounding": ("text",),
    "region-captioning": ("box",),
    "detection-hbb": (),
    "detection-obb": (),
    "detection-hbb class": ("plural",),
    "detection-obb class": ("plural",),
    "detection-hbb region": ("plural", "box"),
    "detection-obb region": ("plural", "box"),
}


@dataclass(frozen=True, slots=True)
class TemplateSet:
    """Wordings by kind of prompt (keys of `FIELDS`), as format strings.

    Raises:
        ValueError: a kind is missing, or a wording has other parts than its kind needs.
    """

    name: str
    wordings: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if set(self.wordings) != set(FIELDS):
            raise ValueError(f"template set {self.name} must have wordings of {sorted(FIELDS)}")
        for kind, texts in self.wordings.items():
            for text in texts:
                parts = sorted(part for _, part, _, _ in string.Formatter().parse(text) if part is not None)
                if parts != sorted(FIELDS[kind]):
                    raise ValueError(f"template set {self.name}: {text!r} must hold {FIELDS[kind]} for {kind}")

    def prompt(self, kind: str, seed: int, record: str, number: int, **parts: str) -> str:
        """The prompt of dialogue `number` of the record with the id `record`."""
        texts = self.wordings[kind]
        if len(texts) == 1:
            return texts[0].format(**parts)
        chosen = seeded_choice(len(texts), seed, "template", record, number, kind)
        return texts[chosen].format(**parts)


_RELEASED = {
    "classification": (prompts.CLASSIFICATION,),
    "captioning": (prompts.CAPTIONING,),
    "vqa": (prompts.VQA,),
    "visual-grounding": (prompts.VISUAL_GROUNDING,),
    "region-captioning": (prompts.REGION_CAPTIONING,),
    "detection-hbb": (prompts.DETECTION_ALL["detection-hbb"],),
    "detection-obb": (prompts.DETECTION_ALL["detection-obb"],),
    "detection-hbb class": (prompts.DETECTION_CLASS["detection-hbb"],),
    "detection-obb class": (prompts.DETECTION_CLASS["detection-obb"],),
    "detection-hbb region": (prompts.DETECTION_REGION["detection-hbb"],),
    "detection-obb region": (prompts.DETECTION_REGION["detection-obb"],),
}

# Each states the form of the answer where the released wording does: a word for classes and questions, the kind of box.
_PARAPHRASES = {
    "classification": (
        "Which category does this remote sensing image belong to? Answer with a single word or phrase.",
        "Classify the scene in this image. Use a single word or phrase.",
        "What kind of scene does the image show? Reply with one word or a short phrase.",
        "Name the land-use or object class of this image in a single word or phrase.",
        "Give the scene category of the picture, in one word or phrase only.",
    ),
    "captioning": (
        "Describe this remote sensing image in one sentence.",
        "What does the image show? Answer in one sentence.",
        "Write a one-sentence caption for this picture taken from above.",
        "Summarise the content of the scene in a single sentence.",
        "Please give a short description of this image, one sentence long.",
    ),
    "vqa": (
        "{question} Answer with a single word or phrase.",
        "{question} Reply with one word or a short phrase.",
        "Look at the image and answer in a single word or phrase: {question}",
        "Question about the image: {question} Give a single word or phrase.",
    ),
    "visual-grounding": (
        "Where is the object described as: {text}? Answer with its horizontal bounding box.",
        "Locate this object in the image and give its horizontal bounding box: {text}",
        "Give the horizontal bounding box of the region that this sentence describes: {text}",
        "Find what is described here and return one horizontal bounding box: {text}",
    ),
    "region-captioning": (
        "Describe the object inside the box {box} in a short sentence.",
        "What is in the region {box} of this image? Give a short description.",
        "Write a short description that fits only the object at {box}.",
        "Please describe the marked region {box} of this remote sensing image in a few words.",
    ),
    "detection-hbb": (
        "Detect every object in this image with horizontal bounding boxes.",
        "Find all objects in the image and list them by class with their horizontal bounding boxes.",
        "Which objects does the image show, and where? Use horizontal bounding boxes.",
        "List all objects of this scene with counts and horizontal bounding boxes.",
    ),
    "detection-obb": (
        "Detect every object in this image with oriented bounding boxes.",
        "Find all objects in the image and list them by class with their oriented bounding boxes.",
        "Which objects does the image show, and where? Use oriented bounding boxes.",
        "List all objects of this scene with counts and oriented bounding boxes.",
    ),
    "detection-hbb class": (
        "Find all {plural} in this image and give their horizontal bounding boxes.",
        "Where are the {plural}? Answer with horizontal bounding boxes.",
        "Locate every one of the {plural} in the scene using horizontal bounding boxes.",
        "How many {plural} does the image show, and where? Use horizontal bounding boxes.",
    ),
    "detection-obb class": (
        "Find all {plural} in this image and give their oriented bounding boxes.",
        "Where are the {plural}? Answer with oriented bounding boxes.",
        "Locate every one of the {plural} in the scene using oriented bounding boxes.",
        "How many {plural} does the image show, and where? Use oriented bounding boxes.",
    ),
    "detection-hbb region": (
        "Find all {plural} with their centres inside {box} and give their horizontal bounding boxes.",
        "Where are the {plural} whose centres the region {box} holds? Answer with horizontal bounding boxes.",
        "Locate every one of the {plural} centred in the part {box} of the scene using horizontal bounding boxes.",
        "How many {plural} have their centres in the region {box}, and where? Use horizontal bounding boxes.",
    ),
    "detection-obb region": (
        "Find all {plural} with their centres inside {box} and give their oriented bounding boxes.",
        "Where are the {plural} whose centres the region {box} holds? Answer with oriented bounding boxes.",
        "Locate every one of the {plural} centred in the part {box} of the scene using oriented bounding boxes.",
        "How many {plural} have their centres in the region {box}, and where? Use oriented bounding boxes.",
    ),
}

TEMPLATES = {
    "mmrs1m": TemplateSet("mmrs1m", _RELEASED),
    "diverse": TemplateSet("diverse", {kind: texts + _PARAPHRASES[kind] for kind, texts in _RELEASED.items()}),
}


def template_set(name: str) -> TemplateSet:
    """The template set of that name. Raises UserError that lists the known ones."""
    if name not in TEMPLATES:
        raise UserError(
            f"template set {name!r} is not known{nearest(name, TEMPLATES)}"
            f"; set `templates:` to one of {', '.join(sorted(TEMPLATES))}."
        )
    return TEMPLATES[name]
