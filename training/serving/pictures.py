"""An image file as the builder would store it, whole or by windows, and where it lies on the ground."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from PIL import Image

from mmrs.errors import BadItem, UserError
from mmrs.imaging.limits import WHOLE_IMAGE, SizeLimit
from mmrs.record import Sensor, Window

_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")


@dataclass(frozen=True)
class ImageFile:
    """A file and what its header says; `width` and `height` are those of the upright picture."""

    path: Path
    width: int
    height: int
    sensor: Sensor
    probed: Any

    def whole(self) -> Image.Image:
        """The picture, mode L or RGB. Raises UserError where it cannot be decoded."""
        from mmrs.imaging.store import read_upright

        try:
            return Image.fromarray(read_upright(self.path, self.probed, self.sensor).pixels)
        except BadItem as error:
            raise UserError(f"{self.path}: {error}") from error

    def windows(self, windows: Sequence[Window]) -> Iterator[Image.Image]:
        """Its windows, one after the other; the scene is never in memory. Raises UserError likewise."""
        from mmrs.imaging.windows import read_rendered_windows

        try:
            for pixels, _ in read_rendered_windows(self.path, windows, self.sensor, None, self.probed.orientation):
                yield Image.fromarray(pixels)
        except BadItem as error:
            raise UserError(f"{self.path}: {error}") from error


def open_file(path: Path, sensor: str = "optical", limit: SizeLimit = WHOLE_IMAGE) -> ImageFile:
    """Look at a file's header. Raises UserError where it is no image that is read, or beyond the limit."""
    from mmrs.imaging.probe import probe

    if not path.is_file():
        raise _absent(path)
    try:
        probed = probe(path, limit)
    except BadItem as error:
        raise UserError(f"{path}: {error}") from error
    width, height = probed.upright_size
    return ImageFile(path, width, height, cast(Sensor, sensor), probed)


def _absent(path: Path) -> UserError:
    return UserError(f"there is no image {path}; give an existing file")


def images_of_paths(paths: Sequence[Path]) -> list[Path]:
    """Files as they are, and the images of folders, sorted; a file that is named twice counts once.

    Raises:
        UserError: a folder without any image, or what is not there.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.suffix.lower() in _SUFFIXES and each.is_file())
            if not inside:
                raise UserError(f"{path} holds no image ({', '.join(_SUFFIXES)}); give files, or another folder")
            found += inside
        elif not path.exists():
            raise _absent(path)
        else:
            found.append(path)
    # A folder and a file of it, or two patterns of a shell that overlap.
    once: dict[Path, Path] = {}
    for path in found:
        once.setdefault(path.resolve(), path)
    return list(once.values())


@dataclass(frozen=True)
class GroundPlace:
    """Where an image lies: its coordinate system, as authority code or WKT, and the six numbers (a, b, c, d, e, f) by
    which (x, y) in pixels is (a x + b y + c, d x + e y + f) in it."""

    system: str
    transform: tuple[float, ...]

    def polygons(self, quads: Sequence[tuple[dict[str, Any], Sequence[Sequence[float]]]]) -> dict[str, Any]:
        """Properties and corners in pixels as GeoJSON in this system, which its member ``crs`` names."""
        a, b, c, d, e, f = self.transform
        features = [
            {
                "type": "Feature",
                "properties": properties,
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[a * x + b * y + c, d * x + e * y + f] for x, y in (*quad, quad[0])]],
                },
            }
            for properties, quad in quads
        ]
        named = {"type": "name", "properties": {"name": self.system}}
        return {"type": "FeatureCollection", "crs": named, "features": features}


def ground_place(image: ImageFile) -> GroundPlace | None:
    """That of a GeoTIFF; None where the file states none, or is turned by a tag."""
    if image.path.suffix.lower() not in (".tif", ".tiff") or image.probed.orientation != 1:
        return None
    return _stated_place(image.path)


def ground_place_of(content: bytes) -> GroundPlace | None:
    """That of the bytes of a TIFF; None where they are none, state none, or are turned by a tag."""
    if not content.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) or _orientation(content) != 1:
        return None
    from rasterio.io import MemoryFile

    with MemoryFile(content) as file:
        return _stated_place(file.name)


def _orientation(content: bytes) -> int | None:
    """As the tag of a TIFF says; None where the file is damaged."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
                return int(image.getexif().get(0x0112, 1))
    # Whatever a damaged file makes the decoder raise.
    except (OSError, ValueError, SyntaxError, TypeError, ArithmeticError, LookupError):
        return None


def _stated_place(path: Path | str) -> GroundPlace | None:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            with rasterio.open(path, driver="GTiff") as scene:
                if scene.crs is None or scene.transform.is_identity:
                    return None
                return GroundPlace(scene.crs.to_string(), tuple(scene.transform)[:6])
        except RasterioError:
            return None
