"""Adapters of other models by name and by `model_type`. Another one is one file here, and its registration below."""

from __future__ import annotations

from mmrs.errors import UserError
from mmrs.text import nearest
from training.evaluation.adapters.adapter import Adapter
from training.evaluation.adapters.internvl import INTERNVL
from training.evaluation.adapters.llava import LLAVA
from training.evaluation.adapters.own import OwnWords
from training.evaluation.adapters.qwen import QWEN3_VL, QWEN25_VL

_REGISTERED: dict[str, Adapter] = {}


def register_adapter(adapter: Adapter) -> None:
    """Make an adapter known. Raises ValueError where its name, or one of its model types, is taken."""
    types = {kind for other in _REGISTERED.values() for kind in other.model_types}
    if adapter.name in _REGISTERED or types & set(adapter.model_types):
        raise ValueError(f"there is an adapter {adapter.name!r}, or one of its model types, already")
    _REGISTERED[adapter.name] = adapter


def adapters() -> tuple[Adapter, ...]:
    """All adapters, ours first."""
    return tuple(_REGISTERED.values())


def find_adapter(name: str) -> Adapter:
    """The adapter of that name. Raises UserError that lists the known ones."""
    if name not in _REGISTERED:
        known = ", ".join(_REGISTERED)
        raise UserError(f"adapter {name!r} is not known{nearest(name, _REGISTERED)}; set --adapter to one of {known}.")
    return _REGISTERED[name]


def adapter_of(model_type: str, what: str) -> Adapter:
    """The adapter of a kind of model. Raises UserError where there is none: `what` names the model."""
    for adapter in _REGISTERED.values():
        if model_type in adapter.model_types:
            return adapter
    raise UserError(
        f"{what}: nothing is known of how a {model_type} model writes boxes; say it with --adapter, one of "
        f"{', '.join(_REGISTERED)}."
    )


register_adapter(OwnWords())
register_adapter(QWEN3_VL)
register_adapter(QWEN25_VL)
register_adapter(INTERNVL)
register_adapter(LLAVA)
