"""The pictures that are asked about now: of uploads, or of a data set, upright and rendered; the oldest go first."""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

from PIL import Image

from training.serving.pictures import GroundPlace

_MOST_PICTURES, _MOST_PIXELS = 64, 160_000_000


@dataclass(frozen=True)
class ShownPicture:
    """A picture, and where it lies on the ground, if its file said so."""

    image: Image.Image
    ground: GroundPlace | None = None


class Album:
    """Pictures by a name that cannot be guessed, so that one visitor does not see another's. Threads may share it."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[str, ShownPicture] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, picture: ShownPicture) -> str:
        """Keep a picture; its name."""
        name = secrets.token_urlsafe(16)
        with self._lock:
            self._pictures[name] = picture
            while len(self._pictures) > 1 and (len(self._pictures) > _MOST_PICTURES or self._pixels() > _MOST_PIXELS):
                self._pictures.popitem(last=False)
        return name

    def find(self, name: object) -> ShownPicture | None:
        """The picture of a name; None where it is none, or has gone."""
        with self._lock:
            if not isinstance(name, str) or name not in self._pictures:
                return None
            self._pictures.move_to_end(name)
            return self._pictures[name]

    def _pixels(self) -> int:
        return sum(picture.image.width * picture.image.height for picture in self._pictures.values())
