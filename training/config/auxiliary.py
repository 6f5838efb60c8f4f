"""What teaches the image side beside the text: a task whose answer lies in the record, not in the dialogue."""

from __future__ import annotations

from pydantic import PositiveFloat

from training.config.section import Section, UnitShare


class AuxiliaryConfig(Section):
    """Dense targets for the visual positions, by linear heads that no saved model has.

    See `training.step.objective.auxiliary`.

    A detection answer has few tokens that depend on places, so encoders with random weights learn slowly from it.
    """

    weight: PositiveFloat = 1.0
    """Factor on the heads' loss beside the text's nats per target token."""

    alone_share: UnitShare = 0.5
    """The first share of the run's steps trains encoders, projector and heads alone: the language model is not run. The
    schedule of the learning rate then starts anew for the rest. Reported as loss is that of the heads meanwhile."""

    frozen_after: bool = False
    """Leave encoders and projector as they are after that, without heads: only the language model goes on. Cheaper
    steps, for what it learns of the text no longer reaches the encoders."""
