"""Groups of images that must stay on one side of a split: all reasons together, over all sources and splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from mmrs.curation.fingerprints import Thumbnails, find_copies
from mmrs.curation.image_table import Rows
from mmrs.curation.known_copies import AliasTable
from mmrs.curation.links import Index, LinkKind, Links, components, joined, links_by_key


@dataclass(frozen=True)
class Groups:
    """``labels[row]`` is the smallest row of the row's group; `links` are why."""

    labels: Index
    links: Links


def find_groups(rows: Rows, aliases: AliasTable, load: Thumbnails, workers: int = 1) -> Groups:
    """Union of equal bytes, pictures that the alias table knows by name, tiles of one scene, and copies by pixels.

    Tiles belong together when they carry the name of one scene of one source, in any split; in one split only where the
    alias table says that the source numbers its splits apart.
    """
    links = joined(
        [
            links_by_key(LinkKind.BYTES, rows.sha256, "byte for byte the same as"),
            links_by_key(LinkKind.ORIGINAL, _shared_pictures(rows, aliases), "the same picture ({key}) as"),
            links_by_key(LinkKind.SCENE, _each(rows, _scene(rows, aliases)), "a tile of the same scene ({key}) as"),
            find_copies(rows, load, workers),
        ]
    )
    return Groups(components(len(rows), links), links)


def _each(rows: Rows, key: Callable[[int], str | None]) -> list[str | None]:
    return [key(row) for row in range(len(rows))]


def _shared_pictures(rows: Rows, aliases: AliasTable) -> list[str | None]:
    """The picture's name of each row where it has two names; those with one are tiles of one scene, linked as such."""
    pictures = _each(rows, lambda row: aliases.picture(rows.source(row), rows.stem(row)))
    names: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row, picture in enumerate(pictures):
        if picture is not None:
            names[picture].add((rows.source(row), rows.stem(row)))
    return [picture if picture is not None and len(names[picture]) > 1 else None for picture in pictures]


def _scene(rows: Rows, aliases: AliasTable) -> Callable[[int], str | None]:
    def scene(row: int) -> str | None:
        name, source = rows.scene(row), rows.source(row)
        if name is None:
            return None
        return f"{source}/{rows.split(row)}/{name}" if source in aliases.numbered_per_split else f"{source}/{name}"

    return scene
