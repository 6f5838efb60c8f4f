"""DOTA text labels: header lines, then eight corner numbers, a class and an optional difficult flag per line.

Format of DOTA v1.0 to v2.0 and of many sets that copied it. Headers are ``imagesource:``, ``gsd:`` and ``acquisition
dates:``, in the label file (v1.0, v1.5) or in a meta file of the image (v2.0).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from converters.formats.folders import normal_form
from converters.formats.objects import known_label
from converters.formats.shapes import BoxObject
from converters.formats.text import NUMBER, finite, integer, numbered_lines, read_bytes
from mmrs.errors import BadItem

HEADER_KEYS = frozenset({"imagesource", "gsd", "acquisition dates"})
MISSING = frozenset({"", "none", "null"})
CORNER_NUMBERS = 8
DIFFICULT, CUT_BY_TILE = 1, 2


@dataclass(frozen=True, slots=True)
class DotaObject:
    """One line: `corners` x1, y1 .. x4, y4 in pixels; `difficult` 0, 1, or 2 for an object cut by a tile's border."""

    corners: tuple[float, ...]
    label: str
    difficult: int
    line: int


@dataclass(frozen=True, slots=True)
class DotaFile:
    """One label file; `header` has the stated values only, under the keys of `HEADER_KEYS`."""

    objects: tuple[DotaObject, ...]
    header: dict[str, str]

    @property
    def boxes(self) -> list[BoxObject]:
        """The objects as boxes with corners; those cut by a tile's border are truncated."""
        return [
            BoxObject(
                obj.label,
                corners=obj.corners,
                difficult=obj.difficult == DIFFICULT,
                truncated=obj.difficult == CUT_BY_TILE,
                line=obj.line,
            )
            for obj in self.objects
        ]


def read_dota(path: Path, labels: Collection[str]) -> DotaFile:
    """Read one label file. Raises `BadItem`."""
    return parse_dota(read_bytes(path), str(path), labels)


def parse_dota(data: bytes, path: str, labels: Collection[str]) -> DotaFile:
    """Parse the bytes of one label file; an empty file has no objects.

    Args:
        data: the file, LF or CRLF, with or without a byte order mark.
        path: names the file in errors.
        labels: the classes that may appear.

    Raises:
        BadItem: with the line, for a line that is neither a known header nor an object of a known class.
    """
    objects, header = [], {}
    forms = frozenset(map(normal_form, labels))
    for number, line in numbered_lines(data, path):
        found = _header(line)
        if found is None:
            objects.append(_object(line, number, path, labels, forms))
        elif found[1].lower() not in MISSING:
            header[found[0]] = found[1]
    return DotaFile(tuple(objects), header)


def read_meta(path: Path) -> dict[str, str]:
    """Stated values of a v2.0 meta file under the keys of `HEADER_KEYS`. Raises `BadItem` for any other line."""
    header = {}
    for number, line in numbered_lines(read_bytes(path), str(path)):
        found = _header(line)
        if found is None:
            raise BadItem(f"line {line[:60]!r} is no header ({', '.join(sorted(HEADER_KEYS))})", str(path), number)
        if found[1].lower() not in MISSING:
            header[found[0]] = found[1]
    return header


def _header(line: str) -> tuple[str, str] | None:
    key, colon, value = line.partition(":")
    key = key.strip().lower().replace("_", " ")
    return (key, value.strip()) if colon and key in HEADER_KEYS else None


def _object(line: str, number: int, path: str, labels: Collection[str], forms: Collection[str]) -> DotaObject:
    words = line.split()
    if len(words) < CORNER_NUMBERS + 1:
        expected = "8 numbers, a class and an optional difficult flag"
        raise BadItem(f"{len(words)} words in {line[:60]!r}; {expected} are expected", path, number)
    corners = tuple(finite(word, "corner", path, number) for word in words[:CORNER_NUMBERS])
    # A class name may have blanks in it; what comes last is the flag where it is a number and no name is left out.
    names = words[CORNER_NUMBERS:]
    is_number = len(names) > 1 and NUMBER.fullmatch(names[-1]) is not None
    has_flag = is_number and normal_form("".join(names)) not in forms
    label = " ".join(names[:-1] if has_flag else names)
    known_label(label, labels, path, number)
    difficult = integer(names[-1], "difficult", path, number) if has_flag else 0
    if difficult not in (0, 1, 2):
        raise BadItem(f"difficult is {difficult}; 0, 1 or 2 expected", path, number)
    return DotaObject(corners, label, difficult, number)
