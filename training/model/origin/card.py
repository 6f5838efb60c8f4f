"""The model card of a folder, ``README.md``: what the weights were made of, under which licences, and how to use them.

`EarthGPTForConditionalGeneration.save_pretrained` writes it from the configuration, so that a pushed model has one.
"""

from __future__ import annotations

import re
from typing import Any

from training.model.configuration import EarthGPTConfig

LANGUAGE_MODEL = "llm"
RANDOM = "random weights"
NOT_STATED = "not stated"
NO_LICENCE_NEEDED = "none needed"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_USE = """## Use

All that is needed lies in this folder: `pip install torch transformers pillow jinja2`. FOLDER is the folder or its
name on the Hub. `trust_remote_code` runs the code beside the weights; with `pip install 'mmrs[train]'` and
`import mmrs.model` the installed code is run in its place.

```python
from transformers import AutoModelForImageTextToText, AutoProcessor

model = AutoModelForImageTextToText.from_pretrained("FOLDER", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("FOLDER", trust_remote_code=True)
asked = [
    {"type": "image", "path": "IMAGE"},
    {"type": "text", "text": "Please detect all objects in this image."},
]
inputs = processor.apply_chat_template(
    [{"role": "user", "content": asked}],
    add_generation_prompt=True,
    tokenize=True,
    return_dict=True,
    return_tensors="pt",
)
output = model.generate(**inputs, max_new_tokens=256, do_sample=False)
print(processor.decode_answers(output, inputs["input_ids"].shape[1])[0])
```

Or in three lines:

```python
from transformers import pipeline

ask = pipeline("image-text-to-text", model="FOLDER", trust_remote_code=True)
print(ask(images="IMAGE", text="Please detect all objects in this image.", max_new_tokens=256)[0]["generated_text"])
```"""


def model_card(config: EarthGPTConfig) -> str:
    """Markdown with the Hub's front matter. What is not known is said to be unknown, never guessed."""
    origin = config.origin or {}
    parts, runs, scores = (origin.get(key, []) for key in ("parts", "training", "scores"))
    sections = [
        _front_matter(parts),
        "# EarthGPT",
        "A multimodal language model for optical, SAR and infrared remote-sensing images, in the architecture of "
        "EarthGPT (arXiv 2401.16822) as the `mmrs` project reads it. It is not the authors' model, which was never "
        "released.",
        _USE,
        "## Parts\n\n" + _parts(parts),
        "## Architecture\n\n" + _architecture(config),
        "## Training\n\n" + _training(runs),
        "## Scores\n\n" + _scores(scores),
        "## Limits\n\nAnswers are text of a language model: boxes and counts may be wrong or malformed, and were "
        "scored only where a score is given above. Boxes are fractions of the centred padded square.",
    ]
    return "\n\n".join(sections) + "\n"


def licence_of_parts(parts: list[dict[str, Any]]) -> str | None:
    """The one licence that all parts with weights of others state, or None where they differ or one states none."""
    licences = {part["licence"] for part in parts if part["licence"] != NO_LICENCE_NEEDED}
    return licences.pop() if len(licences) == 1 and NOT_STATED not in licences else None


def _front_matter(parts: list[dict[str, Any]]) -> str:
    common = licence_of_parts(parts)
    # The Hub knows identifiers such as apache-2.0; any other text is a name.
    known = common if common and re.fullmatch(r"[a-z0-9.-]+", common) else None
    lines = ["---", "library_name: transformers", "pipeline_tag: image-text-to-text"]
    lines += [f"license: {known}"] if known else ["license: other", "license_name: see-the-parts-below"]
    bases = [part["origin"] for part in parts if _HUB_NAME.fullmatch(part["origin"])]
    if bases:
        lines += ["base_model:", *(f"- {base}" for base in bases)]
    return "\n".join([*lines, "tags:", "- remote-sensing", "- earthgpt", "---"])


def _parts(parts: list[dict[str, Any]]) -> str:
    if not parts:
        return "Not recorded."
    rows = [
        f"| {_role(part)} | {_cell(part['origin'])} | {_cell(part['licence'])} | {part['parameters']:,} | "
        f"`{_cell(part['digest'])[:12]}` |"
        for part in parts
    ]
    head = "| part | from | licence | parameters | weights at the start |\n|---|---|---|---|---|"
    unstated = [part["origin"] for part in parts if part["licence"] == NOT_STATED]
    note = f"\n\nNo licence is stated by {', '.join(map(_cell, unstated))}: find it before any use." if unstated else ""
    return "\n".join([head, *rows]) + note


def _role(part: dict[str, Any]) -> str:
    return "language model" if part["role"] == LANGUAGE_MODEL else _cell(part["role"])


def _architecture(config: EarthGPTConfig) -> str:
    lines = [
        f"- {entry.name}: {entry.encoder.model_type} at {entry.image_size} px, {entry.encoder.layer_word}s "
        f"{list(entry.layers)} joined by {entry.fusion}"
        for entry in config.entries
    ]
    return "\n".join(
        [
            *lines,
            f"- encoders joined by {config.fusion}, {config.visual_tokens} visual tokens per image",
            f"- language model: {config.decoder_kind.model_type}",
            f"- tuning vectors in the weights: {config.tuning or 'none'}",
        ]
    )


def _training(runs: list[dict[str, Any]]) -> str:
    if not runs:
        return "None: the parts as they came, joined by a random projector."
    rows = [
        f"| {_cell(run['stage'])} | {_cell(run['tuning'] or 'none')} | {run['trained_parameters']:,} | "
        f"{run['steps']:,} | {run['samples']:,} | `{_cell(run['data_set_id'])[:16]}` |"
        for run in runs
    ]
    head = "| stage | tuning | trained parameters | steps | images seen | data set |\n|---|---|---|---|---|---|"
    return "\n".join([head, *rows])


def _value(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(ends: list[float] | None) -> str:
    return "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"


def _scores(scores: list[dict[str, Any]]) -> str:
    if not scores:
        return "None recorded."
    rows = [
        f"| {_cell(row['source'])} {_cell(row['split'])} | {_cell(row['protocol'])} | {_cell(row['metric'])} | "
        f"{_value(row['value'])}{_interval(row['interval_95'])} | "
        f"{_value(row['constant_value'])} | {row['images']:,} | {row['questions']:,} | {row['failed']:,} | "
        f"`{_cell(row['data_set_id'])[:16]}` |"
        for row in scores
    ]
    head = (
        "| data | protocol | metric | value (95 %) | blind | images | questions | unreadable | data set |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    note = "Blind: a constant answer by the same protocol. Unreadable, in whole or in part: still in the denominator."
    return "\n".join([head, *rows]) + f"\n\n{note}"


def _cell(text: object) -> str:
    """Text of strangers inside a table: no markup, one line."""
    line = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return re.sub(r"[|<>`\[\]]", " ", line).strip()
