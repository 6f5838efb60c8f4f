import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import converters
from converters import samples
from converters.own_data.formats.registry import OWN_FORMATS
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import BadItem, UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import Absent, Source, SourceBuild, read_block
from mmrs.verify.dataset import verify_dataset

FORMATS = tuple(OWN_FORMATS)
BOXED = tuple(form for form in FORMATS if form not in ("folders", "llava", "coco-captions"))
DOCS = Path(__file__).resolve().parents[3] / "docs" / "your-own-data.md"
QUIET = Progress(quiet=True)


@pytest.fixture
def own(tmp_path):
    """Write a sample of a format; return its root and a function that makes the converter with changed keys."""

    def write(form: str, **changes):
        root = tmp_path / form
        if not root.exists():
            samples.write("generic", root, format=form)
        content = yaml.safe_load((root / "mmrs.yaml").read_text()) | changes
        path = tmp_path / f"{form}.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return root, converters.get("generic", description=str(path))

    return write


def read_all(root, converter, split="train"):
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def boxes(known):
    return {
        stem: [(obj.category, [round(value, 1) for value in obj.extent()]) for obj in one.objects]
        for stem, one in known.items()
    }


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_reads_without_problems(own, form):
    root, converter = own(form)
    assert isinstance(converter, Source) and pickle.loads(pickle.dumps(converter)).options() == converter.options()
    assert (converter.name, converter.licence, converter.sensor) == ("my-harbour", "CC-BY-4.0", "optical")
    for split, count in (("train", 4), ("val", 2)):
        found, known = read_all(root, converter, split)
        assert len(known) == count * (2 if form == "folders" else 1)
        assert found.problems == () and list(known) == sorted(known)


def test_all_box_formats_say_the_same(own):
    expected = boxes(read_all(*own("coco"))[1])
    assert sum(map(len, expected.values())) == 3
    for form in BOXED[1:]:
        assert boxes(read_all(*own(form))[1]) == expected


@pytest.mark.parametrize("form", FORMATS)
def test_a_block_of_images_is_read_as_each_alone(own, form):
    root, converter = own(form)
    items = converter.discover(root, "train").items
    lost = next((item for item in items if item.annotations and not item.payload), None)
    expected = [converter.read(item) for item in items]
    if lost is not None:
        lost.annotations[0].unlink()
    known = read_block(converter, items)
    assert [isinstance(one, BadItem) for one in known] == [item is lost for item in items]
    assert [one for one in known if not isinstance(one, BadItem)] == [
        one for item, one in zip(items, expected, strict=True) if item is not lost
    ]


def test_tasks_follow_the_format(own):
    assert own("coco")[1].tasks == own("yolo")[1].tasks == ("detection-hbb",)
    assert own("dota")[1].tasks == own("yolo-obb")[1].tasks == ("detection-hbb", "detection-obb")
    assert own("folders")[1].tasks == ("classification",)
    assert own("llava")[1].tasks == ("vqa",)
    assert own("coco-captions")[1].tasks == ("captioning",)


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL))
def test_every_example_of_the_page_works_on_the_sample_of_its_format(block, tmp_path):
    samples.write("generic", tmp_path / "root", format=yaml.safe_load(block)["format"])
    (tmp_path / "own.yaml").write_text(block)
    converter = converters.get("generic", description=str(tmp_path / "own.yaml"))
    for split in converter.splits:
        found, known = read_all(tmp_path / "root", converter, split)
        assert known and found.problems == ()


def test_the_page_has_an_example_of_each_format():
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert [yaml.safe_load(block)["format"] for block in blocks] == list(FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_a_build_verifies(own, form, tmp_path):
    root, converter = own(form)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "generic"}]})
    plan = plan_build([SourceBuild(converter, root, ("train", "val"))], recipe, 1, QUIET)
    build(plan, recipe, tmp_path / "out", 1, QUIET)
    assert verify_dataset(tmp_path / "out", 1, QUIET).findings == ()
    data = ShardSet(tmp_path / "out")
    assert {data.record(row).source for row in data.table("train").to_pylist()} == {"my-harbour"}


def test_categories_map_labels_and_keep_them(own):
    root, converter = own("coco", classes={"ship": "vessel", "storage_tank": "oil tank"})
    objects = [obj for one in read_all(root, converter)[1].values() for obj in one.objects]
    assert {(obj.label, obj.category) for obj in objects} == {("ship", "vessel"), ("storage-tank", "oil tank")}
    assert converter.categories == ("vessel", "oil tank")


def test_ignored_labels_count_as_nothing(own):
    root, converter = own("dota", classes=["ship"], options={"ignored": ["storage-tank"]})
    objects = [obj for one in read_all(root, converter)[1].values() for obj in one.objects]
    assert {obj.label for obj in objects if obj.ignore} == {"storage-tank"}


def test_voc_edges_from_one(own):
    plain, shifted = (
        boxes(read_all(*own("voc", options={"one_based": rule}))[1])["train1"][0][1] for rule in (False, True)
    )
    assert shifted == [plain[0] - 1, plain[1] - 1, plain[2], plain[3]]


def test_classes_from_a_file_beside_the_description(own, tmp_path):
    (tmp_path / "classes.txt").write_text("ship\nstorage-tank\n")
    assert boxes(read_all(*own("yolo", classes="classes.txt"))[1]) == boxes(read_all(*own("coco"))[1])
    with pytest.raises(UserError, match=r"classes: .*none\.txt: cannot be read"):
        own("yolo", classes="none.txt")


def test_yolo_image_without_a_label_file_shows_nothing(own):
    root, converter = own("yolo")
    (root / "labels/train/train1.txt").unlink()
    found, known = read_all(root, converter)
    assert known["train1"].objects == () and "1 images have no label file" in found.notes[0]


def test_label_and_image_without_each_other(own):
    root, converter = own("dota")
    (root / "labels/train/train1.txt").rename(root / "labels/train/other.txt")
    reasons = {reason for _, reason in converter.discover(root, "train").problems}
    assert reasons == {"image without a label file", "label file without an image"}


def test_list_files_name_the_images_of_a_split(own):
    lists = {"train": "lists/train.txt", "test": "lists/test.txt"}
    root, converter = own("voc", images="images", annotations="labels", splits=lists)
    (root / "lists").mkdir()
    (root / "lists/train.txt").write_text("\ufefftrain0\r\n./images/train/train1.jpg\r\nval/val0.xml\r\nnone\r\n")
    (root / "lists/test.txt").write_text("val1 1\n")
    found, known = read_all(root, converter)
    assert list(known) == ["train/train0", "train/train1", "val/val0"]
    assert found.problems == (Absent(str(root / "lists/train.txt"), "line 4: no annotated image is named 'none'"),)
    assert list(read_all(root, converter, "test")[1]) == ["val/val1"]


def test_shares_part_all_images_by_hash_and_class(own):
    root, converter = own("folders", images="train", splits={"train": 0.75, "test": 0.25})
    train, test = read_all(root, converter)[1], read_all(root, converter, "test")[1]
    assert (len(train), len(test)) == (6, 2) and not train.keys() & test.keys()
    assert {one.label for one in test.values()} == {"ship", "storage tank"}
    other = own("folders", images="train", splits={"train": 0.75, "test": 0.25}, options={"seed": 3})[1]
    assert set(read_all(root, other, "test")[1]) != set(test)


def test_llava_tasks(own):
    root, converter = own("llava")
    known = read_all(root, converter)[1]["train/train1"]
    assert [(q.question, q.answer, q.type) for q in known.questions] == [
        ("How many objects are in the image?", "There are 1.", "verbatim"),
        ("Which ones?", "ship", "verbatim"),
    ]
    captions = read_all(*own("llava", options={"task": "captioning"}))[1]["train/train1"].captions
    assert captions == ("There are 1.", "ship")
    classed = own("llava", options={"task": "classification"}, classes=["ship"])[1]
    with pytest.raises(BadItem, match=r"unknown class 'There are 1'"):
        classed.read(classed.discover(root, "train").items[1])


def test_captions_of_coco(own):
    """Rows of one image in file order, repeats once; what has no caption, no letter or no image is told, never lost."""
    root, converter = own("coco-captions")
    source = root / "annotations" / "captions_train.json"
    tables = json.loads(source.read_text())
    tables["images"][1]["width"], tables["images"][1]["height"] = 64, 48
    tables["annotations"] = [
        {"id": 1, "image_id": 10, "caption": " A harbour. "},
        {"id": 2, "image_id": 11, "caption": "Two ships."},
        {"id": 3, "image_id": 10, "caption": "Water."},
        {"id": 4, "image_id": 10, "caption": "A harbour."},
        {"id": 5, "image_id": 10, "caption": None},
        {"id": 6, "image_id": 12, "caption": "12."},
        {"id": 7, "image_id": 99, "caption": "Of no image."},
    ]
    source.write_text(json.dumps(tables))
    found = converter.discover(root, "train")
    assert [item.stem for item in found.items] == ["train0", "train1", "train2", "train3"]
    first, second, *others = found.items
    assert converter.read(first).captions == ("A harbour.", "Water.")
    assert (converter.read(second).captions, converter.read(second).declared_size) == (("Two ships.",), (64, 48))
    for item in others:
        with pytest.raises(BadItem, match="no caption with a letter"):
            converter.read(item)
    assert sorted(reason.split(" ")[1] for _, reason in found.unread_rows) == ["(id", "5"]
    source.write_text(json.dumps({"images": tables["images"], "annotations": []}))
    with pytest.raises(UserError, match="has a caption"):
        converter.discover(root, "train")


def test_llava_labels(own):
    root, converter = own("llava", options={"task": "classification"}, classes={"ship": "vessel"})
    path = root / "annotations/train.json"
    path.write_text(path.read_text().replace('"There are 1."', '"Ship."').replace('"Which ones?"', '"Again?"'))
    known = converter.read(converter.discover(root, "train").items[1])
    assert (known.label, known.source_label) == ("vessel", "ship")


def test_names_that_lead_out_of_the_images_are_problems(own):
    root, converter = own("coco")
    path = root / "annotations/train.json"
    path.write_text(path.read_text().replace("train0.jpg", "../val/val0.jpg").replace("train1.jpg", "none.jpg"))
    found = converter.discover(root, "train")
    assert ["leads to another folder" in reason for _, reason in found.problems] == [True, False]
    assert "2 images are not named" in found.notes[0]


def test_crowds_count_as_nothing(own):
    root, converter = own("coco")
    path = root / "annotations/train.json"
    path.write_text(path.read_text().replace('"iscrowd": 0', '"iscrowd": 1'))
    objects = [obj for one in read_all(root, converter)[1].values() for obj in one.objects]
    assert objects and all(obj.ignore and obj.flags == {"iscrowd": True} for obj in objects)


def test_coco_boxes_that_are_corners_are_refused_until_the_description_says_so(own):
    root, converter = own("coco")
    right = boxes(read_all(root, converter)[1])
    path = root / "annotations/train.json"
    content = json.loads(path.read_text())
    for row in content["annotations"]:
        x, y, width, height = row["bbox"]
        row["bbox"] = [x, y, x + width, y + height]
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"look like x1, y1, x2, y2: .*`box_order: xyxy`.*`mmrs scan generic "):
        converter.discover(root, "train")
    assert boxes(read_all(root, own("coco", options={"box_order": "xyxy"})[1])[1]) == right


def test_tiling_is_the_descriptions(own):
    assert own("dota", options={"tile_size": 64, "tile_overlap": 8})[1].tiling.size == 64
    assert own("dota")[1].tiling is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"anotations": "x"}, r"anotations: unknown key; did you mean 'annotations'\?"),
        ({"options": {"one_base": True}}, r"options\.one_base: unknown key; did you mean 'one_based'\?"),
        ({"format": "cocoa"}, "format: Input should be 'coco'"),
        ({"sensor": "radar"}, "sensor"),
        ({"name": "My Data"}, "name"),
        ({"name": "dota"}, "that of a source"),
        ({"images": "../images/{split}"}, "below the root"),
        ({"annotations": "/etc/{split}.json"}, "below the root"),
        ({"annotations": None}, "format coco needs `annotations`"),
        ({"classes": None}, "needs `classes`"),
        ({"images": "images", "annotations": "a.json"}, "would be the same images"),
        ({"splits": {"train": 0.5, "test": 0.6}, "images": "i", "annotations": "a"}, "must add up to 1"),
        ({"splits": {"train": 0.5, "test": "t.txt"}, "images": "i", "annotations": "a"}, "all list files or all"),
        ({"splits": {"train": "t.txt"}}, "no path has"),
        ({"splits": ["Train"]}, "must be made of"),
        ({"splits": []}, "names no split"),
        ({"options": {"tile_size": 64, "tile_overlap": 64}}, "tiling overlap 64"),
    ],
)
def test_wrong_descriptions_are_refused_when_the_converter_is_made(own, changes, words):
    with pytest.raises(UserError, match=words):
        own("coco", **changes)


def test_missing_description_and_missing_places(own, tmp_path):
    with pytest.raises(UserError, match=r"description .*none\.yaml not found"):
        converters.get("generic", description=str(tmp_path / "none.yaml"))
    root, converter = own("coco")
    with pytest.raises(UserError, match=rf"--option description={root}/mmrs.yaml"):
        converters.get("generic").discover(root, "train")
    (root / "annotations/val.json").unlink()
    with pytest.raises(UserError, match=r"has no file annotations/val\.json"):
        converter.discover(root, "val")
    with pytest.raises(UserError, match="has no folder images/train"):
        converter.discover(tmp_path, "train")
    with pytest.raises(UserError, match=r"no split 'tset'"):
        converter.discover(root, "tset")


def test_the_place_of_the_description_changes_nothing(own, tmp_path):
    root, converter = own("coco")
    assert converter.options() == converters.get("generic", description=str(root / "mmrs.yaml")).options()
    assert own("coco", sensor="sar")[1].options() != converter.options()


@pytest.mark.parametrize("fault", ["class", "number"])
@pytest.mark.parametrize("form", [form for form in BOXED if form != "parquet"])
def test_a_row_that_is_not_understood_costs_itself_and_the_claims_of_its_image(own, form, fault, tmp_path):
    """All formats alike: the other rows stay, the row is counted as a row, and nothing is said of all objects."""
    root, converter = own(form)
    before = read_all(root, converter)[1]
    stem = next(stem for stem, one in before.items() if len(one.objects) > 1)
    item = next(item for item in converter.discover(root, "train").items if item.stem == stem)
    _spoil_last_row(item, form, fault)
    after = read_all(root, converter)[1][stem]
    assert after.objects == before[stem].objects[:-1] and len(after.unread) == 1
    recipe = BuildRecipe.model_validate({"sources": [{"name": "generic"}], "quarantine_ceiling": 1.0})
    plan = plan_build([SourceBuild(converter, root, ("train",))], recipe, 1, QUIET)
    result = build(plan, recipe, tmp_path / "out", 1, QUIET)
    assert [(entry.level, entry.id, entry.images) for entry in result.quarantine] == [
        ("object", f"my-harbour/train/{stem}", 0)
    ]
    data = ShardSet(tmp_path / "out")
    records = [data.record(row) for row in data.table("train").to_pylist()]
    assert {record.id.rpartition("/")[2]: bool(record.dialogues) for record in records if record.unread_rows} == {
        stem.rpartition("/")[2]: False
    }


def _spoil_last_row(item, form, fault):
    path = item.annotations[0]
    if form == "masks":
        with Image.open(path) as mask:
            values = np.array(mask)
        values[values == values[values < 255].max()] = 77
        Image.fromarray(values).save(path)
        return
    text = path.read_text()
    if form == "coco":
        tables = json.loads(text)
        (image,) = (row for row in tables["images"] if Path(row["file_name"]).stem == item.image.stem)
        row = [row for row in tables["annotations"] if row["image_id"] == image["id"]][-1]
        row |= {"category_id": 77} if fault == "class" else {"bbox": [1, 2, "x", 4]}
        path.write_text(json.dumps(tables))
        return
    if form == "voc":
        start = text.rindex("<object>")
        wrong = ("<name>", "<name>un") if fault == "class" else ("<xmin>", "<xmin>x")
        path.write_text(text[:start] + text[start:].replace(*wrong, 1))
        return
    lines = text.rstrip("\n").split("\n")
    if form == "csv":
        place = max(place for place, line in enumerate(lines) if line.startswith(f"{item.image.name},"))
        found, wrong = (r",(ship|storage-tank),", ",boat,") if fault == "class" else (r"$", "x")
        lines[place] = re.sub(found, wrong, lines[place])
        path.write_text("\n".join(lines) + "\n")
        return
    if form in ("labelme", "supervisely"):
        content = json.loads(text)
        row = content["shapes" if form == "labelme" else "objects"][-1]
        if fault == "class":
            row["label" if form == "labelme" else "classTitle"] = "boat"
        else:
            row |= {"points": [[1, "x"]], "bitmap": {"data": "?", "origin": [0, 0]}}
        path.write_text(json.dumps(content))
        return
    if form == "geojson":
        content = json.loads(text)
        row = content["features"][-1]
        row["properties"] |= {"class": "boat"} if fault == "class" else {}
        row["geometry"]["coordinates"][0][0] = ["x", 1] if fault == "number" else row["geometry"]["coordinates"][0][0]
        path.write_text(json.dumps(content))
        return
    if form == "cvat":
        start = text.index("<box", text.index(f'name="{item.image.name}"'))
        start, end = text.rindex("<box", start, text.index("</image>", start)), text.index("</image>", start)
        found, wrong = (r'label="[^"]*"', 'label="boat"') if fault == "class" else ('xtl="', 'xtl="x')
        path.write_text(text[:start] + re.sub(found, wrong, text[start:end], count=1) + text[end:])
        return
    words = lines[-1].split()
    place = {("dota", "class"): 8, ("dota", "number"): 0}.get((form, fault), 0 if fault == "class" else 1)
    words[place] = "77" if fault == "class" else "x"
    path.write_text("\n".join([*lines[:-1], " ".join(words)]) + "\n")
