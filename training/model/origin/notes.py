"""What a model was made of: kept in its configuration as `origin`, shown by the model card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from training.model.configuration import EarthGPTConfig
from training.model.origin.card import NO_LICENCE_NEEDED, RANDOM
from training.model.origin.digest import weights_digest


@dataclass(frozen=True)
class PartNote:
    """What is known of one part.

    `role` is an encoder's name or `LANGUAGE_MODEL`; `origin` a hub name, or the name of a folder or file.
    """

    role: str
    origin: str
    licence: str
    parameters: int
    digest: str


def note_parts(
    config: EarthGPTConfig, parts: Mapping[str, nn.Module], sources: Mapping[str, tuple[str, str]], seed: int
) -> tuple[PartNote, ...]:
    """Write the parts of a model into `config.origin` and return them.

    Args:
        config: the model's.
        parts: the model's `parts()`.
        sources: (origin, licence) by role; a role that is missing has random weights.
        seed: of all random weights.
    """
    notes = tuple(
        PartNote(
            role,
            *sources.get(role, (RANDOM, NO_LICENCE_NEEDED)),
            parameters=sum(value.numel() for value in part.parameters()),
            digest=weights_digest(part),
        )
        for role, part in parts.items()
    )
    config.origin = {"seed": seed, "parts": [vars(note) for note in notes]}
    return notes


def note_training(config: EarthGPTConfig, run: Mapping[str, Any]) -> None:
    """Append a finished run to `config.origin`.

    Args:
        run: `stage` and `tuning` by name, `trained_parameters`, `steps`, `samples`, `data_set_id`, `dialects`.
    """
    origin = config.origin or {}
    config.origin = origin | {"training": [*origin.get("training", []), dict(run)]}


def note_scores(config: EarthGPTConfig, rows: list[dict[str, Any]]) -> None:
    """Append measured scores to `config.origin`, as `training.model.export.export.read_scores` gives them."""
    origin = config.origin or {}
    config.origin = origin | {"scores": [*origin.get("scores", []), *rows]}
