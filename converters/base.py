"""The `Converter` base class and the lazily imported registry of converters.

A source module defines one frozen dataclass whose fields are the source's options, decorated with ``@register(name)``.
`get` imports only the module that ``facts/*.yaml`` name for that source.
"""

from __future__ import annotations

import dataclasses
import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from pydantic import TypeAdapter, ValidationError

from converters import catalog
from converters.catalog import Counts, SourceFacts
from mmrs.errors import UserError
from mmrs.record import Annotations, Sensor, TaskName
from mmrs.source import BandSelection, Discovery, Item, Tiling

C = TypeVar("C", bound="type[Converter]")


@dataclass(frozen=True)
class Converter(ABC):
    """Implements `mmrs.source.Source` from the catalogue's facts; subclasses add options, `discover` and `read`.

    The protocol has these properties and not one `facts`, because options change what the catalogue says (an option for
    horizontal boxes takes a task away, one release has fewer classes), and `mmrs` knows no catalogue.
    """

    key: ClassVar[str] = ""
    revision: ClassVar[int] = 1
    finding_options: ClassVar[frozenset[str]] = frozenset()
    """Options that only say how files are found: what is stored of an image does not depend on them."""

    @property
    def facts(self) -> SourceFacts:
        """The source's row of the catalogue."""
        return catalog.facts(self.key)

    @property
    def name(self) -> str:
        return self.key

    @property
    def version(self) -> int:
        """`revision` of the class: raised whenever the converter's output changes."""
        return self.revision

    @property
    def sensor(self) -> Sensor:
        return self.facts.sensor

    @property
    def licence(self) -> str:
        return self.facts.licence

    @property
    def tasks(self) -> Sequence[TaskName]:
        return self.facts.tasks

    @property
    def optional_tasks(self) -> Sequence[TaskName]:
        """Tasks that `Discovery.tasks` may add where the annotations allow them."""
        return ()

    @property
    def splits(self) -> Sequence[str]:
        return self.facts.splits

    @property
    def categories(self) -> Sequence[str]:
        return self.facts.categories

    @property
    def tiling(self) -> Tiling | None:
        """None: images are stored whole."""
        return None

    @property
    def bands(self) -> BandSelection | None:
        """None: files have one grey or three colour bands."""
        return None

    def published(self, split: str) -> Counts:
        """Published size of a split; all None where nothing was published."""
        return self.facts.published.get(split, Counts())

    def published_found(self, split: str, found: Discovery) -> Counts:
        """`published` of what was found, where a source circulates in releases of different size."""
        return self.published(split)

    def options(self) -> dict[str, Any]:
        """Every option that changes what is stored, by name, as plain values."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in self.finding_options}

    def changed_options(self) -> dict[str, Any]:
        """The options that are not as they are by default, by name."""
        fields = dataclasses.fields(self)
        return {field.name: value for field in fields if (value := getattr(self, field.name)) != field.default}

    def splits_in(self, root: Path) -> Sequence[str]:
        """The splits that the source has at `root`: `splits`, but where users hold it in folders of other splits."""
        return self.splits

    def check_split(self, split: str, root: Path | None = None) -> None:
        """Raises `UserError` when the source has no such split, at `root` where one is given."""
        known = self.splits if root is None else self.splits_in(root)
        if split not in known:
            place = f" at {root}" if tuple(known) != tuple(self.splits) else ""
            raise UserError(
                f"{self.name} has no split {split!r}{place}{catalog.nearest(split, known)}; "
                f"its splits are {', '.join(known)}. `mmrs sources` shows them."
            )

    @abstractmethod
    def discover(self, root: Path, split: str) -> Discovery:
        """List the split's items, sorted by stem, without opening an image. Raises `UserError` for a wrong layout."""

    @abstractmethod
    def read(self, item: Item) -> Annotations:
        """Parse one image's annotation. Raises `BadItem` when it cannot be used."""


class LayoutComparison(Protocol):
    """How the layouts of a source agree in one split."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for programs."""

    def render(self, shown: int) -> str:
        """Text for a person, with the first `shown` disagreements."""


@runtime_checkable
class LayoutComparer(Protocol):
    """What a converter may have: a source that repeats its objects in several layouts can say where they differ."""

    def compare_layouts(self, root: Path) -> Sequence[LayoutComparison]:
        """One comparison for each split. Raises `UserError` when there is nothing to compare."""
        ...


def register(name: str) -> Callable[[C], C]:
    """Class decorator: this class converts the catalogue's source `name`."""

    def mark(cls: C) -> C:
        cls.key = name
        return cls

    return mark


def option_names(name: str) -> tuple[str, ...]:
    """The options of a source. Raises `UserError` when there is no such source."""
    return tuple(field.name for field in dataclasses.fields(_converter_class(catalog.facts(name))))


def get(name: str, **options: Any) -> Converter:
    """The converter of a source with the given options. Imports that source's module only.

    Raises:
        UserError: unknown source, unknown option, or a value that the option does not take.
    """
    cls = _converter_class(catalog.facts(name))
    known = [field.name for field in dataclasses.fields(cls)]
    for option in options:
        if option not in known:
            listed = f"its options are {', '.join(known)}" if known else "it has no options"
            raise UserError(
                f"{name} has no option {option!r}{catalog.nearest(option, known)}; {listed}. "
                "`mmrs sources` describes them."
            )
    try:
        return TypeAdapter(cls).validate_python(options)
    except ValidationError as error:
        first = error.errors()[0]
        named = f"option {first['loc'][0]} = {first['input']!r}: " if first["loc"] else "options: "
        raise UserError(f"{name}: {named}{first['msg']}. `mmrs sources` describes the options.") from error


def _converter_class(facts: SourceFacts) -> type[Converter]:
    module = importlib.import_module(facts.module)
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Converter) and value.key == facts.name:
            return value
    raise LookupError(f"{facts.module} registers no converter for {facts.name!r}; decorate its class with @register")
