"""Where the images of an export are: copied out of the shards, linked to another export's, or left in the shards.

A reference is a chained URL of fsspec, ``tar://KEY.jpg::/path/of/shard.tar``: `fsspec.open` reads it, and what opens
paths through it.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from mmrs.errors import RunFailure, UserError
from mmrs.export.format import FURTHER_IMAGES, SEVERAL_IMAGES, PlacedSample, SeveralRule, image_path, write_into
from mmrs.export.target import EXPORT_STATE_NAME
from mmrs.shards.index import IMAGE_PLACES, image_places
from mmrs.shards.reader import OneShard
from mmrs.shards.tar import image_member

ImageRule = Literal["copy", "link", "reference", "none"]
_PLACES = ("key", "id", "record_offset", "record_size", *IMAGE_PLACES)


@dataclass(frozen=True, slots=True)
class ImagePlacement:
    """What becomes of the images.

    Args:
        rule: copy, link, reference or none.
        linked: for ``link``, another export of the same data set that has its images.
        are_embedded: whether the format holds them in its own files; they are then read and not written.
        several: what becomes of samples of several images.
    """

    rule: ImageRule
    linked: Path | None
    are_embedded: bool
    several: SeveralRule = "none"

    def left_out(self, shard: OneShard) -> Counter[str]:
        """What the format has no place for, by reason, counted in the shard's index."""
        if self.several == "all":
            return Counter()
        further = shard.index(["further_size"])["further_size"].to_pylist()
        if self.several == "first":
            return +Counter({FURTHER_IMAGES: sum(map(len, further))})
        return +Counter({SEVERAL_IMAGES: sum(map(bool, further))})

    def samples(self, shard: OneShard, suffix: str, folder: Path) -> Iterator[PlacedSample]:
        """The samples of a shard, each with its image in its place.

        Raises:
            RunFailure: a sample is damaged.
            UserError: an image to link is not there, or lies on another disk.
        """
        location = _shard_location(shard) if self.rule == "reference" else ""
        rows = shard.index(_PLACES).to_pylist()
        with shard.opened() as read:
            for row in rows:
                places = image_places(row)
                if len(places) > 1 and self.several == "none":
                    continue
                record = shard.record(row, read)
                if self.several == "first":
                    places = places[:1]
                paths, images, contents = [], [], []
                for number, place in enumerate(places):
                    path = image = image_path(record, suffix, shard.location, number)
                    content = b""
                    if location:
                        image = f"tar://{image_member(row['key'], number, suffix)}::{location}"
                    elif self.are_embedded:
                        content = _content(shard, row, read, place)
                    elif self.rule == "copy":
                        write_into(folder, path, _content(shard, row, read, place))
                    elif self.rule == "link":
                        self._link(folder, path)
                    paths.append(path)
                    images.append(image)
                    contents.append(content)
                yield PlacedSample(record, paths[0], images[0], contents[0], tuple(images[1:]), tuple(contents[1:]))

    def _link(self, folder: Path, path: str) -> None:
        if self.linked is None:
            raise ValueError("there is no export to link images of")
        target = self.linked / path
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).unlink(missing_ok=True)
        try:
            os.link(target, folder / path)
        except FileNotFoundError as error:
            raise UserError(
                f"{target} is not there to be linked. Name an export of the same splits and sources with its images, "
                "or use `--images copy`."
            ) from error
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
            raise UserError(f"{target} cannot be linked: {error.strerror}. Use `--images copy`.") from error


def check_linked(linked: Path, data_set: str) -> None:
    """Look whether a folder is an export of the data set.

    Raises:
        UserError: it is none, or one of another data set.
    """
    try:
        state = orjson.loads((linked / EXPORT_STATE_NAME).read_bytes())
        found = state["data_set"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{linked} is no finished export: {error}. Name one for --images-from.") from error
    if found != data_set:
        raise UserError(f"{linked} is an export of the data set {str(found)[:12]}, not of {data_set[:12]}.")


def _content(shard: OneShard, row: dict[str, Any], read: Callable[[int, int], bytes], place: tuple[int, int]) -> bytes:
    try:
        return read(*place)
    except OSError as error:
        raise shard.damaged(row["id"], f"the image cannot be read: {error}") from error


def _shard_location(shard: OneShard) -> str:
    location, path = shard.location, shard.entry.path
    if isinstance(location, Path):
        return str(location.resolve() / path)
    if not location.startswith(("s3://", "https://", "http://", "hf://")):
        raise RunFailure(f"{location}: a reference to its images has no form. Use `--images copy`.")
    return f"{location}/{path}"
