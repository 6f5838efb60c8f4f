"""Names inside the release: which source, family and sensor a path belongs to, whatever its spelling.

Folders and files of the archive are misspelt or spelt in several ways; they are looked up without case, separators and
the archive's own endings (``_split``, ``_caption``, ``_dataset``, ``_cls``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from mmrs.record import Sensor, TaskName

Family = Literal["caption", "classification", "detection", "rsvg", "vqa"]

FAMILIES: dict[str, Family] = {
    "caption": "caption",
    "captions": "caption",
    "classification": "classification",
    "detection": "detection",
    "rsvg": "rsvg",
    "vqa": "vqa",
}
# Folders whose rows have one task only; the others tell by prompt and answer.
FAMILY_TASKS: dict[Family, TaskName] = {"caption": "captioning", "classification": "classification", "vqa": "vqa"}

# Source -> its spellings in the release, in the normal form of `normal`; the first is the correct one.
_SPELLINGS: dict[Family, dict[str, tuple[str, ...]]] = {
    "caption": {
        "nwpu-captions": ("nwpu",),
        "rsicd": ("rsicd",),
        "rsitmd": ("rsitmd", "rstimd"),
        "sydney-captions": ("sydney", "syndney"),
        "ucm-captions": ("ucm",),
    },
    "classification": {
        "dscr": ("dscr", "dcsr"),
        "eurosat": ("eurosat",),
        "fgscr42": ("fgscr", "fgscr42"),
        "resisc45": ("nwpuresisc45", "resisc45"),
        "rsscn7": ("rsscn7",),
        "ucmerced": ("ucmerced", "ucm"),
        "whu-rs19": ("whurs19",),
    },
    "detection": {
        "aerial-mancar": ("aerialmancar", "irpeoplecar"),
        "air-sarship": ("airsarship", "airsarship20", "sarv2", "sarv2trainval", "sarv2trainnval"),
        "dior": ("dior", "diordetection"),
        "dota": ("dota", "dotav2"),
        "double-light-vehicle": ("doublelightvehicle", "irstreetscene"),
        "fair1m": ("fair1m", "far1m"),
        "hit-uav": ("hituav",),
        "hrrsd": ("hrrsd",),
        "hrsid": ("hrsid", "hrisd"),
        "infrared-security": ("infraredsecurity", "irsecurity"),
        "nwpu-vhr10": ("nwpuvhr10",),
        "oceanic-ship": ("oceanicship", "infraredshipfusion", "infraredshiplwir", "infraredshipswir"),
        "rsod": ("rsod",),
        "sea-shipping": ("seashipping", "irship"),
        "ssdd": ("ssdd",),
        "ucas-aod": ("ucasaod", "ucas"),
        "visdrone": ("visdrone",),
    },
    "rsvg": {"dior-rsvg": ("diorrsvg", "rsvg")},
    "vqa": {
        "crsvqa": ("crsvqa", "mqvqa"),
        "floodnet": ("floodnet",),
        "rsivqa": ("rsivqa", "sydney", "ucm", "hrrsd", "dota", "rsicd", "aid"),
        "rsvqa-hr": ("rsvqahr", "rsvqahigh"),
        "rsvqa-lr": ("rsvqalr", "rsvqalow", "rsvqa"),
    },
}
_SPELLING_TO_SOURCE = {
    family: {spelling: source for source, spellings in sources.items() for spelling in spellings}
    for family, sources in _SPELLINGS.items()
}
_INFRARED = frozenset(
    {"aerial-mancar", "double-light-vehicle", "hit-uav", "infrared-security", "oceanic-ship", "sea-shipping"}
)
_SAR = frozenset({"air-sarship", "hrsid", "ssdd"})
_ENDING = re.compile(r"(split|captions?|dataset|cls|train(val)?|test|val|hbb|obb|vqa)$")
_TILE = re.compile(r"(?P<parent>.+)__(?P<rate>\d+(?:\.\d+)?)__(?P<left>\d+)___(?P<up>\d+)")


@dataclass(frozen=True, slots=True)
class ArchiveLocation:
    """What a path of the release says. `source` and `sensor` are None where the folder is unknown.

    `misspelt` is the folder as written, where the correct spelling is another one.
    """

    family: Family | None
    source: str | None
    sensor: Sensor | None
    misspelt: str | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile as the DOTA tools name it: `name__rate__left___up`. Pixels of the scene after scaling by `rate`."""

    parent: str
    rate: str
    left: int
    up: int


def sources() -> tuple[str, ...]:
    """Names of all sources that the release has, sorted."""
    return tuple(sorted({source for spellings in _SPELLINGS.values() for source in spellings}))


def normal(name: str) -> str:
    """Lower case letters and digits only: under this form spellings of one name are compared."""
    return "".join(character for character in name.casefold() if character.isalnum())


def normal_path(image: str) -> str:
    """An image path of a row with forward slashes and without a leading ``./``; never used to open a file."""
    return image.replace("\\", "/").removeprefix("./")


def place_of_image(image: str) -> ArchiveLocation:
    """Family, source and sensor by the folders of an image path: ``data/<family>/<folder>/...``."""
    parts = normal_path(image).split("/")
    if len(parts) < 3 or parts[0] != "data":
        return ArchiveLocation(None, None, None)
    family = FAMILIES.get(parts[1].casefold())
    return _place(family, parts[2])


def place_of_file(path: str) -> ArchiveLocation:
    """Family and source by the path of a JSON file: ``data/json/<family>/[<folder>/]<file>.json``."""
    parts = path.split("/")
    position = next((index for index, part in enumerate(parts) if part.casefold() == "json"), None)
    if position is None or position + 2 >= len(parts):
        return ArchiveLocation(None, None, None)
    family = FAMILIES.get(parts[position + 1].casefold())
    names = [*reversed(parts[position + 2 : -1]), parts[-1].rsplit(".", 1)[0]]
    found = [_place(family, name.removeprefix("caption_")) for name in names]
    return next((place for place in found if place.source), ArchiveLocation(family, None, None))


def is_aggregate(path: str) -> bool:
    """Whether a JSON file repeats the rows of others: ``total.json`` and any name with ``total`` in it."""
    return "total" in path.rsplit("/", 1)[-1].casefold()


def tile_of(image: str) -> Tile | None:
    """The tile that a file name states, or None."""
    match = _TILE.fullmatch(normal_path(image).rsplit("/", 1)[-1].rsplit(".", 1)[0])
    return Tile(match["parent"], match["rate"], int(match["left"]), int(match["up"])) if match else None


def _place(family: Family | None, name: str) -> ArchiveLocation:
    if family is None:
        return ArchiveLocation(None, None, None)
    spellings = _SPELLING_TO_SOURCE[family]
    spelling = normal(name)
    while spelling not in spellings and (ending := _ENDING.search(spelling)) and ending.start() > 0:
        spelling = spelling[: ending.start()]
    source = spellings.get(spelling)
    if source is None:
        return ArchiveLocation(family, None, None)
    sensor: Sensor = "infrared" if source in _INFRARED else "sar" if source in _SAR else "optical"
    return ArchiveLocation(family, source, sensor, name if spelling in MISSPELT else None)


MISSPELT = frozenset({"rstimd", "syndney", "dcsr", "sarv2trainnval", "far1m", "hrisd"})
