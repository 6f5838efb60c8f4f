"""Experiment trackers beside TensorBoard: the figures of a run under its folder's name, in Weights & Biases or trackio.

Both have the same four calls. A tracker is an extra of its own and off unless a recipe asks for it: it may send figures
to another machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrs.errors import UserError
from mmrs.installation import install_command
from training.config import LogConfig

NO_TRACKER = "none"


@dataclass(frozen=True)
class Tracker:
    """An open run of a tracker; `library` is its module."""

    library: Any

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Figures of one step."""
        self.library.log(dict(values), step=step)

    def close(self) -> None:
        """End the run at the tracker, which sends what is left."""
        self.library.finish()


def open_tracker(log: LogConfig, out: Path) -> Tracker | None:
    """The tracker that a recipe names; None where it names none. A resumed run goes on under its name.

    Raises:
        UserError: its library is not installed.
    """
    if log.tracker == NO_TRACKER:
        return None
    library: Any
    try:
        if log.tracker == "wandb":
            import wandb

            library = wandb
        else:
            import trackio

            library = trackio
    except ImportError as error:
        raise UserError(f"log.tracker={log.tracker} needs its library: {install_command(log.tracker)}") from error
    options: dict[str, Any] = {"resume": "allow"}
    if log.tracker == "wandb":
        # The name is no key there: two runs may share one.
        options |= {"id": out.name, "dir": str(out)}
    library.init(project=log.project, name=out.name, **options)
    return Tracker(library)
