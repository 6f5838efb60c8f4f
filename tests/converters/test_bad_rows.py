"""One bad row of a label file, in every layout of every source with boxes: it costs itself, not its image.

The other objects stay, nothing is said of "all objects" or of "no objects" in that image, and the row is counted, and
weighed against the ceiling, as a row.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import converters
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import RunFailure
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import Discovery, SourceBuild

QUIET = Progress(quiet=True)
LABEL_TAGS = r"<(name|Class_ID)>"
NUMBER_TAGS = r"<(xmin|x_left_top|cx|box_xmin|x1|point)>"


@dataclass(frozen=True)
class Layout:
    """A layout of a source: options of its sample and of its converter.

    `label` and `number` are the places of a class and of a number in the words of a line, None where there is none.
    """

    source: str
    sample: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    label: int | None = None
    number: int = 0

    def __str__(self) -> str:
        return "-".join([self.source, *map(str, self.sample.values()), *map(str, self.options.values())])


YOLO = {"annotations": "yolo"}
LAYOUTS = [
    *(Layout("hit-uav", {}, {"layout": one}) for one in ("rotate_json", "normal_json", "normal_xml", "rotate_xml")),
    Layout("hit-uav"),
    *(Layout(one, {}, {"boxes": kind}) for one in ("dior", "mar20") for kind in ("horizontal", "oriented")),
    Layout("air-sarship", {"release": "2.0"}, {"release": "2.0"}),
    Layout("air-sarship", {"release": "1.0", "images_per_split": 1, "side": 1200}, {"release": "1.0"}),
    *(Layout("ssdd", {}, {"layout": one}) for one in ("voc", "coco")),
    Layout("ssdd", {"layouts": ("mmrotate",)}, {"layout": "mmrotate"}, label=8),
    Layout("ssdd", {"layouts": ("mmrotate",)}, {"layout": "mmrotate_json"}),
    Layout("nwpu-vhr10", label=4),
    Layout("nwpu-vhr10", {}, {"annotations": "coco"}),
    Layout("rsod", {"objects_per_image": (2, 3)}),
    Layout("rsod", {"objects_per_image": (2, 3)}, {"labels": "txt"}, label=1, number=2),
    Layout("dota", {"images_per_split": 1}, label=8),
    Layout("ucas-aod"),
    Layout("visdrone", label=5),
    Layout("fair1m", {"images_per_part": 1}),
    *(Layout(one) for one in ("dior-rsvg", "hrrsd", "hrsc2016", "hrsid")),
    *(Layout(one) for one in ("aerial-mancar", "double-light-vehicle", "infrared-security", "oceanic-ship")),
    Layout("sea-shipping"),
    Layout("sea-shipping", YOLO, YOLO, label=0, number=1),
]
BOXED = {"detection-hbb", "detection-obb", "visual-grounding"}


def test_every_source_with_boxes_is_here():
    named = {name for name in converters.names() if name != "generic" and BOXED & {*converters.facts(name).tasks}}
    assert named == {layout.source for layout in LAYOUTS}


class OneImage:
    """A converter that finds one image alone, so that a build takes no time."""

    def __init__(self, converter, stem):
        self.converter, self.stem = converter, stem

    def __getattr__(self, name):
        return getattr(self.converter, name)

    def discover(self, root: Path, split: str) -> Discovery:
        return Discovery(tuple(item for item in self.converter.discover(root, split).items if item.stem == self.stem))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_row_that_is_not_understood_costs_itself_and_the_claims_of_its_image(fake, layout, tmp_path):
    root = fake(layout.source, **layout.sample)
    converter = converters.get(layout.source, **layout.options)
    split, item, whole = _crowded(converter, root)
    path, stem = item.annotations[0], item.stem
    content = path.read_bytes()
    faults = {"number": _with_bad_number(item, layout)}
    if path.suffix != ".txt" or layout.label is not None:
        faults["class"] = _with_unknown_class(item, layout)
    for fault, damaged in faults.items():
        assert damaged != content, fault
        path.write_bytes(damaged)
        (again,) = (one for one in converter.discover(root, split).items if one.stem == stem)
        known = converter.read(again)
        assert known.objects == whole.objects[:-1], fault
        assert [row.path for row in known.unread] == [str(path)] and known.unread[0].reason, fault

    source = OneImage(converter, stem)
    recipe = BuildRecipe.model_validate({"sources": [{"name": layout.source}], "quarantine_ceiling": 1.0})
    plan = plan_build([SourceBuild(source, root, (split,))], recipe, 1, QUIET)
    (entry,) = build(plan, recipe, tmp_path / "out", 1, QUIET).quarantine
    # A row of a scene is told with its first tile.
    assert (entry.level, entry.id.partition("__")[0], entry.images) == ("object", f"{layout.source}/{split}/{stem}", 0)
    data = ShardSet(tmp_path / "out")
    records = [data.record(row) for row in data.table(split).to_pylist()]
    assert records and {record.unread_rows for record in records} == {1}
    asked = {dialogue.task for record in records for dialogue in record.dialogues}
    assert asked <= {"visual-grounding", "region-captioning"}
    with pytest.raises(RunFailure, match=r"\b1 of \d+ rows are bad"):
        build(plan, recipe.model_copy(update={"quarantine_ceiling": 0.005}), tmp_path / "out", 1, QUIET)


def _crowded(converter, root):
    """The first image with two objects or more, whose last row is its last object."""
    for split in converter.splits:
        for item in converter.discover(root, split).items:
            known = converter.read(item)
            is_last = converter.name != "dior-rsvg" or known.metadata["object_positions"][-1] == _last_position(item)
            if len(known.objects) > 1 and is_last:
                return split, item, known
    raise AssertionError(f"{converter.name}: no image with two objects")


def _last_position(item):
    return item.annotations[0].read_text().count("<object>") - 1


def _with_bad_number(item, layout):
    return _damaged(item, layout, {"bbox": [1, 2, "x", 4]}, NUMBER_TAGS, layout.number, "x")


def _with_unknown_class(item, layout):
    word = "777" if layout.source in ("sea-shipping", "visdrone", "nwpu-vhr10") else "zeppelin"
    return _damaged(item, layout, {"category_id": 777}, LABEL_TAGS, layout.label, word)


def _damaged(item, layout, fields, tags, place, word):
    """The label file with another word in the last row of the image."""
    path = item.annotations[0]
    text = path.read_text()
    if path.suffix == ".json":
        tables = json.loads(text)
        key = "annotation" if "annotation" in tables else "annotations"
        names = {row["id"]: row.get("file_name", row.get("filename")) for row in tables["images"]}
        own = [row for row in tables[key] if Path(names[row["image_id"]]).stem == item.image.stem]
        own[-1] |= fields
        return json.dumps(tables).encode()
    if path.suffix == ".xml":
        start = [match.start() for match in re.finditer(r"<(HRSC_O|o)bject>", text)][-1]
        return (text[:start] + re.sub(tags, rf"<\1>{word}", text[start:], count=1)).encode()
    *lines, last = text.rstrip("\n").split("\n")
    # Words, and what stands between them, in every layout of lines.
    pieces = re.split(r"([\s,()]+)", last.rstrip(","))
    words = [number for number, piece in enumerate(pieces) if number % 2 == 0 and piece]
    pieces[words[place]] = word
    return "\n".join([*lines, "".join(pieces), ""]).encode()
