"""Groups of images that must stay on one side of a split: all reasons together, over all sources and splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

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


def groups_of_samples(rows: Rows, groups: Groups) -> tuple[Rows, Groups]:
    """The samples in the place of their images: linked where any image of one is linked with any of the other.

    So no image is on both sides of a split. Samples are copies of each other where all their images are, in order; a
    link between others is one of `LinkKind.PART`.
    """
    if not rows.number.any():
        return rows, groups
    links, sample = groups.links, np.cumsum(rows.number == 0) - 1
    alike = components(len(rows), _taken(links, np.flatnonzero(links.kinds != LinkKind.SCENE)))
    shown: dict[int, list[int]] = defaultdict(list)
    for place, label in zip(sample.tolist(), alike.tolist(), strict=True):
        shown[place].append(label)
    kept = np.flatnonzero(sample[links.first] != sample[links.second])
    kinds, reasons = links.kinds[kept].copy(), []
    for position, link in enumerate(kept.tolist()):
        first, second = int(links.first[link]), int(links.second[link])
        own, other = shown[int(sample[first])], shown[int(sample[second])]
        if links.kinds[link] != LinkKind.SCENE and own != other:
            kinds[position] = LinkKind.PART
        reasons.append(_of_images(links.reasons[link], (first, len(own)), (second, len(other)), rows))
    between = Links(kinds, sample[links.first[kept]], sample[links.second[kept]], tuple(reasons))
    samples = rows.first_images()
    return samples, Groups(components(len(samples), between), between)


def _of_images(reason: str, first: tuple[int, int], second: tuple[int, int], rows: Rows) -> str:
    """The reason of a link between images, (row, images of its sample) each, as one between their samples."""
    numbers = [f"image {rows.number[row] + 1} of {count}" if count > 1 else "" for row, count in (first, second)]
    if not any(numbers):
        return reason
    own, other = (number or "the image" for number in numbers)
    return f"a sample ({own} is {reason} {other}) that shares an image with"


def _taken(links: Links, kept: Index) -> Links:
    return Links(links.kinds[kept], links.first[kept], links.second[kept], ("",) * len(kept))


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
