"""What a model was made of: kept in its configuration as `origin`, shown by the model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.model.export.delta import weights_digest
from training.model.modeling import EarthGPTForConditionalGeneration
from training.model.origin.card import NO_LICENCE_NEEDED, RANDOM

ROLES = ("vit", "cnn", "llm")


@dataclass(frozen=True)
class PartNote:
    """What is known of one part: `role` is vit, cnn or llm; `origin` a hub name, or the name of a folder or file."""

    role: str
    origin: str
    licence: str
    parameters: int
    digest: str


def note_parts(
    model: EarthGPTForConditionalGeneration, sources: Mapping[str, tuple[str, str]], seed: int
) -> tuple[PartNote, ...]:
    """Write the parts into `model.config.origin` and return them.

    Args:
        sources: (origin, licence) by role; a role that is missing has random weights.
        seed: of all random weights.
    """
    modules = {"vit": model.vision.vit, "cnn": model.vision.cnn, "llm": model.language_model}
    notes = tuple(
        PartNote(
            role,
            *sources.get(role, (RANDOM, NO_LICENCE_NEEDED)),
            parameters=sum(value.numel() for value in modules[role].parameters()),
            digest=weights_digest(modules[role]),
        )
        for role in ROLES
    )
    model.config.origin = {"seed": seed, "parts": [vars(note) for note in notes]}
    return notes


def note_training(model: EarthGPTForConditionalGeneration, run: Mapping[str, Any]) -> None:
    """Append a finished run to `model.config.origin`.

    Args:
        run: `stage` and `tuning` by name, `trained_parameters`, `steps`, `samples`, `data_set_id`.
    """
    origin = model.config.origin or {}
    model.config.origin = origin | {"training": [*origin.get("training", []), dict(run)]}


def note_scores(model: EarthGPTForConditionalGeneration, rows: list[dict[str, Any]]) -> None:
    """Append measured scores to `model.config.origin`: `source`, `split`, `task`, `metric`, `value`, `images`,
    `data_set_id` each."""
    origin = model.config.origin or {}
    model.config.origin = origin | {"scores": [*origin.get("scores", []), *rows]}
