"""Groups of images that must stay on one side of a split: all reasons together, over all sources and splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mmrs.curation.aliases import AliasTable
from mmrs.curation.fingerprints import Load, find_copies
from mmrs.curation.links import Index, Kind, Links, components, joined, links_by_key
from mmrs.curation.rows import Rows


@dataclass(frozen=True)
class Groups:
    """``labels[row]`` is the smallest row of the row's group; `links` are why."""

    labels: Index
    links: Links


def find_groups(rows: Rows, aliases: AliasTable, load: Load) -> Groups:
    """Union of equal bytes, pictures that the alias table knows by name, tiles of one scene, and copies by pixels.

    Tiles belong together when they carry the name of one scene of one source, in any split; in one split only where the
    alias table says that the source numbers its splits apart.
    """
    links = joined(
        [
            links_by_key(Kind.BYTES, rows.sha256, "byte for byte the same as"),
            links_by_key(Kind.ORIGINAL, _each(rows, _picture(rows, aliases)), "the same picture ({key}) as"),
            links_by_key(Kind.SCENE, _each(rows, _scene(rows, aliases)), "a tile of the same scene ({key}) as"),
            find_copies(rows, load),
        ]
    )
    return Groups(components(len(rows), links), links)


def _each(rows: Rows, key: Callable[[int], str | None]) -> list[str | None]:
    return [key(row) for row in range(len(rows))]


def _picture(rows: Rows, aliases: AliasTable) -> Callable[[int], str | None]:
    return lambda row: aliases.picture(rows.source(row), rows.stem(row))


def _scene(rows: Rows, aliases: AliasTable) -> Callable[[int], str | None]:
    def scene(row: int) -> str | None:
        name, source = rows.scene(row), rows.source(row)
        if name is None:
            return None
        return f"{source}/{rows.split(row)}/{name}" if source in aliases.numbered_per_split else f"{source}/{name}"

    return scene
