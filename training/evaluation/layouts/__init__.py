"""Files of answers by layout. Another one is one file here with an `AnswerLayout` in it, and its registration below."""

from __future__ import annotations

from mmrs.errors import UserError
from mmrs.text import nearest
from training.evaluation.layouts.earthdial import EarthDial
from training.evaluation.layouts.geochat import GeoChat
from training.evaluation.layouts.layout import AnswerLayout
from training.evaluation.layouts.mmrs import OwnLines
from training.evaluation.layouts.vrsbench import VRSBench

_REGISTERED: dict[str, AnswerLayout] = {}


def register_layout(layout: AnswerLayout) -> None:
    """Make a layout known by its name. Raises ValueError where that is taken."""
    if layout.name in _REGISTERED:
        raise ValueError(f"there is a layout {layout.name!r} already")
    _REGISTERED[layout.name] = layout


def layouts() -> tuple[AnswerLayout, ...]:
    """All layouts, ours first."""
    return tuple(_REGISTERED.values())


def find_layout(name: str) -> AnswerLayout:
    """The layout of that name. Raises UserError that lists the known ones."""
    if name not in _REGISTERED:
        known = ", ".join(_REGISTERED)
        raise UserError(f"layout {name!r} is not known{nearest(name, _REGISTERED)}; set --layout to one of {known}.")
    return _REGISTERED[name]


register_layout(OwnLines())
register_layout(EarthDial())
register_layout(GeoChat())
register_layout(VRSBench())
