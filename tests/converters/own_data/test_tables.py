"""CSV and Parquet tables of a user's own: what their columns hold, in the layouts that tools and the Hub write."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import converters
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import BadItem, UserError
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import Absent, RowImage, SourceBuild

QUIET = Progress(quiet=True)
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(shade=0):
    buffer = io.BytesIO()
    Image.new("RGB", (96, 64), (shade, 20, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def described(tmp_path):
    """Makes the converter of a description and its root."""

    def make(form, columns, splits=("train",), **keys):
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        content = {"name": "mine", "format": form, "sensor": "optical", "splits": list(splits), "columns": columns}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content | keys))
        return root, converters.get("generic", description=str(tmp_path / "mine.yaml"))

    return make


@pytest.fixture
def csv_set(described):
    """A CSV set with two images `a.png` and `b.png`."""

    def make(text, columns, **keys):
        root, converter = described("csv", columns, images="images", annotations="t.csv", **keys)
        (root / "images").mkdir(exist_ok=True)
        for shade, name in enumerate(("a.png", "b.png")):
            (root / "images" / name).write_bytes(picture(shade))
        (root / "t.csv").write_text(text)
        return root, converter

    return make


def read_all(root, converter, split="train"):
    found = converter.discover(root, split)
    return found, {item.stem: converter.read(item) for item in found.items}


def write_table(path, features=None, rows_per_group=2, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=rows_per_group)


def cells(*names):
    return pa.array([{"bytes": picture(n), "path": name} for n, name in enumerate(names)], IMAGE)


EDGES = {"boxes": ["xmin", "ymin", "xmax", "ymax"], "category": "class"}
XYXY, XYWH = {"box_order": "xyxy"}, {"box_order": "xywh"}


def test_boxes_of_retinanet_and_roboflow(csv_set):
    """Semicolons, a byte order mark, columns that nobody asked for, a row for an empty image."""
    text = (
        "\ufefffilename;width;height;class;xmin;ymin;xmax;ymax\r\na.png;96;64;ship;1;2;11;22\r\n"
        '"a.png";96;64;tank;3;4;5.5;6\r\nb.png;96;64;;;;;\r\n'
    )
    root, converter = csv_set(text, {"image": "filename", **EDGES}, classes=["ship", "tank"], options=XYXY)
    found, known = read_all(root, converter)
    assert converter.tasks == ("detection-hbb",) and found.problems == ()
    assert [(thing.label, thing.hbb) for thing in known["a"].objects] == [
        ("ship", (1, 2, 11, 22)),
        ("tank", (3, 4, 5.5, 6)),
    ]
    assert known["b"].objects == () and known["b"].unread == ()


@pytest.mark.parametrize("box", ["[10, 20, 30.5, 4]", "10.0 20 30.5 4", '"[10., 20, 3.05e1, 4]"', "(10,20,30.5,4)"])
def test_boxes_in_one_cell(csv_set, box):
    cell = box if box.startswith('"') else f'"{box}"'
    root, converter = csv_set(
        f"image_id,bbox,source\na,{cell},ship\n",
        {"image": "image_id", "boxes": "bbox", "category": "source"},
        classes=["ship"],
        options=XYWH,
    )
    (thing,) = read_all(root, converter)[1]["a"].objects
    assert thing.hbb == (10, 20, 40.5, 24)


def test_several_meanings_of_one_table(csv_set):
    """Class, captions and questions of one image; what is equal is said once."""
    text = (
        "file,label,c1,c2,q,a,kind\na.png,ship,A ship., .,How many?,1,count\na.png,ship,A ship.,At sea.,Where?,sea,\n"
        "b.png,ship,Two.,,How many?,,count\n"
    )
    columns = {"image": "file", "label": "label", "captions": ["c1", "c2"]}
    columns |= {"question": "q", "answer": "a", "question_type": "kind"}
    root, converter = csv_set(text, columns, classes={"ship": "vessel"})
    assert converter.tasks == ("classification", "captioning", "vqa")
    known = read_all(root, converter)[1]
    assert (known["a"].label, known["a"].source_label) == ("vessel", "ship")
    assert known["a"].captions == ("A ship.", "At sea.")
    assert known["a"].metadata == {"caption_counts": [2, 1], "captions_without_words": 1}
    assert [(q.question, q.answer, q.type) for q in known["a"].questions] == [
        ("How many?", "1", "count"),
        ("Where?", "sea", None),
    ]
    assert known["b"].questions == () and "answer ''" in known["b"].unread[0].reason


def test_rows_that_cannot_be_used_are_named_with_their_lines(csv_set):
    text = (
        "filename,class,xmin,ymin,xmax,ymax\na.png,ship,1,2,11,22\na.png,ship,1,2,11\na.png,ship,1,x,11,22\n"
        'a.png,ship,9,2,1,22\na.png,"two\nlines",1,2,3,4\na.png,,1,2,3,4\na.png,ship,0.1,0.2,0.3,0.4\n,ship,1,2,3,4\n'
        "c.png,ship,1,2,3,4\n../../a.png,ship,1,2,3,4\na.png,ship,,,,\n"
    )
    root, converter = csv_set(text, {"image": "filename", **EDGES}, classes=["ship"], options=XYXY)
    found, known = read_all(root, converter)
    assert len(known["a"].objects) == 1
    # Only the row whose class is unknown has its cells in order, so it comes last.
    assert [row.line for row in known["a"].unread] == [3, 4, 5, 8, 9, 13, 6]
    assert found.unread_rows == ((f"{root}/t.csv:10", "the row has no filename"),)
    reasons = sorted(reason for _, reason in found.shared_problems)
    assert reasons[0].startswith("file name '../../a.png' leads to another folder")
    assert reasons[1] == "image c.png is named but is not there" and isinstance(found.shared_problems[0], Absent)


def test_a_column_of_splits(csv_set):
    text = "file,set,label\na.png,train,ship\nb.png,validation,ship\nb.png,extra,ship\n"
    root, converter = csv_set(
        text, {"image": "file", "label": "label", "split": "set"}, classes=["ship"], splits=("train", "val")
    )
    assert [list(read_all(root, converter, split)[1]) for split in ("train", "val")] == [["a"], ["b"]]
    assert converter.discover(root, "val").notes == ("1 rows are of split 'extra', which is not described",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty file"),
        ("a.png,1,2,3,4,ship\n", "is no header"),
        ("file,klass\na.png,ship\n", "has no column 'label'; its columns are file, klass"),
        ("file,label,label\na.png,ship,x\n", "has 2 columns 'label'"),
        ('file,label\n"a.png,ship\n', "not CSV"),
        ("file,label\na.png," + "x" * 200_000 + "\n", "not CSV: field larger"),
        ("file,label\na.png,\x00\udcff\n", None),
    ],
)
def test_tables_that_cannot_be_read(csv_set, text, words):
    root, converter = csv_set("file,label\n", {"image": "file", "label": "label"}, classes=["ship"])
    (root / "t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=words or "not UTF-8") as caught:
        converter.discover(root, "train")
    assert "--option description=" in str(caught.value)


def test_one_class_an_image(csv_set):
    text = "file,label\na.png,ship\na.png,tank\nb.png,\n"
    root, converter = csv_set(text, {"image": "file", "label": "label"}, classes=["ship", "tank"])
    items = converter.discover(root, "train").items
    for item, words in zip(items, ("several classes: ship, tank", "no class"), strict=True):
        with pytest.raises(BadItem, match=words):
            converter.read(item)


@pytest.mark.parametrize(
    ("form", "changes", "words"),
    [
        ("csv", {"columns": {"image": "a", "boxes": "b"}}, "`boxes` and `category` belong together"),
        ("csv", {"columns": {"image": "a", "question": "b"}}, "`question` and `answer` belong together"),
        ("csv", {"columns": {"image": "a"}}, "nothing but images"),
        ("csv", {"columns": {"image": "a", "labels": "b"}}, r"columns\.labels: unknown key; did you mean 'label'"),
        ("csv", {"columns": {"image": "a", "boxes": ["b", "c"], "category": "d"}}, "one or four, not 2"),
        ("csv", {"columns": {"image": "a", "boxes": "b", "category": "c"}}, "needs options.box_order"),
        ("csv", {"images": None}, "needs `images`"),
        ("csv", {"columns": None}, "needs `columns`"),
        ("voc", {}, "format voc has no `columns`"),
        ("parquet", {"columns": {"image": "a", "label": "b", "split": "c"}}, "columns.split is for csv"),
        ("parquet", {"annotations": None}, "needs `annotations`"),
        ("parquet", {"classes": None}, "needs `classes`"),
    ],
)
def test_wrong_descriptions(described, form, changes, words):
    keys = {"images": "images", "annotations": "t", "classes": ["x"], "columns": {"image": "a", "label": "b"}} | changes
    kept = {key: value for key, value in keys.items() if value is not None and key != "columns"}
    with pytest.raises(UserError, match=words):
        described(form, keys["columns"], **kept)


LABELS = {"image": {"_type": "Image"}, "label": {"names": ["ship", "tank"], "_type": "ClassLabel"}}


@pytest.mark.parametrize(
    ("names", "annotations"),
    [
        (["data/train-00000-of-00002.parquet", "data/train-00001-of-00002-0a1b.parquet"], "data/{split}"),
        (["default/train/0000.parquet", "default/train/0001.parquet"], "default/{split}"),
        (["train.parquet"], "{split}"),
        (["all/train.parquet"], "all/train.parquet"),
    ],
)
def test_layouts_of_the_hub(described, names, annotations):
    root, converter = described(
        "parquet",
        {"image": "image", "label": "label"},
        annotations=annotations,
        classes={"ship": "vessel", "tank": "t"},
    )
    for number, name in enumerate(names):
        pair = (f"{number}a.png", f"{number}b.png")
        write_table(root / name, LABELS, image=cells(*pair), label=pa.array([0, 1]))
    # Another configuration is not read.
    write_table(root / "other" / "train.parquet", LABELS, image=cells("x.png"), label=pa.array([0]))
    found, known = read_all(root, converter)
    assert found.problems == () and len(known) == 2 * len(names)
    assert (known["0a"].label, known["0b"].source_label) == ("vessel", "tank")
    assert all(isinstance(item.image, RowImage) and item.image.column == "image.bytes" for item in found.items)


def test_a_missing_part_and_missing_tables(described):
    root, converter = described("parquet", {"image": "i", "label": "label"}, annotations="{split}", classes=["ship"])
    with pytest.raises(UserError, match=r"has no tables train\*"):
        converter.discover(root, "train")
    write_table(root / "train-00001-of-00002.parquet", LABELS, i=cells("a.png"), label=pa.array([0]))
    write_table(root / "val-00001-of-00002.parquet", LABELS, i=cells("a.png"), label=pa.array([0]))
    ((_, reason),) = converter.discover(root, "train").problems
    assert reason == "1 of 2 tables train-*-of-00002.parquet are missing"


def test_texts_in_every_form_of_list(described):
    """Captions as a list, as texts in structs in a list; questions in lists; turns of both families."""
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A ship."}]
    root, converter = described(
        "parquet",
        {
            "image": "image",
            "captions": ["captions", "sentences.raw"],
            "question": "qa.q",
            "answer": "qa.a",
            "conversations": "conversations",
        },
        annotations="{split}",
    )
    write_table(
        root / "train.parquet",
        image=cells("a.png"),
        captions=pa.array([["One.", "Two."]]),
        sentences=pa.array([[{"raw": "Three.", "id": 1}, {"raw": "One.", "id": 2}]]),
        qa=pa.array([[{"q": "How many?", "a": 3}, {"q": "Where?", "a": 4}]]),
        conversations=pa.array([turns]),
    )
    known = read_all(root, converter)[1]["a"]
    assert known.captions == ("One.", "Two.", "Three.")
    assert [(q.question, q.answer, q.type) for q in known.questions] == [
        ("What?", "A ship.", "verbatim"),
        ("How many?", "3", None),
        ("Where?", "4", None),
    ]


def test_messages_with_parts(described):
    root, converter = described("parquet", {"image": "im", "conversations": "messages"}, annotations="{split}")
    parts = [{"type": "image", "text": None}, {"type": "text", "text": "What?"}]
    said = [
        {"role": "system", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": "A ship."}]},
    ]
    write_table(root / "train.parquet", im=pa.array([picture()]), messages=pa.array([said]))
    found, known = read_all(root, converter)
    # The bytes stand in the column itself, and nothing names them.
    assert found.items[0].image.column == "im" and list(known) == ["train-0"]
    assert [(q.question, q.answer) for q in known["train-0"].questions] == [("What?", "A ship.")]


def test_objects_in_lists_of_structs_and_numbers_of_no_class(described):
    features = {
        "image": {"_type": "Image"},
        "objects": [{"bbox": {"_type": "Sequence"}, "category": {"names": ["ship"], "_type": "ClassLabel"}}],
    }
    root, converter = described(
        "parquet",
        {"image": "image", "boxes": "objects.bbox", "category": "objects.category"},
        annotations="{split}",
        classes=["ship"],
        options=XYXY,
    )
    rows = [
        [{"bbox": [1.0, 2.0, 30.0, 40.0], "category": 0}, {"bbox": [1.0, 2.0, 3.0, 4.0], "category": 7}],
        [{"bbox": [1.0, 2.0], "category": 0}, {"bbox": [5.0, 6.0, 9.0, 9.0], "category": 0}],
        None,
    ]
    write_table(root / "train.parquet", features, image=cells("a.png", "b.png", "c.png"), objects=pa.array(rows))
    known = read_all(root, converter)[1]
    assert [thing.hbb for thing in known["a"].objects] == [(1, 2, 30, 40)]
    assert "unknown class '7'" in known["a"].unread[0].reason
    assert [thing.hbb for thing in known["b"].objects] == [(5, 6, 9, 9)] and len(known["b"].unread) == 1
    assert known["c"].objects == () and known["c"].unread == ()


def test_numbers_without_names_are_named_by_the_description(described):
    root, converter = described(
        "parquet", {"image": "image", "label": "label"}, annotations="{split}", classes={"0": "ship", "1": "tank"}
    )
    write_table(root / "train.parquet", image=cells("a.png", "b.png"), label=pa.array([1, 0]))
    assert {stem: one.label for stem, one in read_all(root, converter)[1].items()} == {"a": "tank", "b": "ship"}


@pytest.mark.parametrize("kind", ["struct", "text"])
def test_images_that_are_files_beside_the_table(described, kind):
    root, converter = described(
        "parquet",
        {"image": "image", "label": "label"},
        annotations="{split}",
        images="pictures",
        classes=["ship", "tank"],
    )
    (root / "pictures").mkdir()
    (root / "pictures" / "a.png").write_bytes(picture())
    names = ["a.png", "../secret.png", "gone.png"]
    column = pa.array([{"bytes": None, "path": name} for name in names], IMAGE) if kind == "struct" else pa.array(names)
    write_table(root / "train.parquet", LABELS, image=column, label=pa.array([0, 1, 1]))
    found, known = read_all(root, converter)
    assert {stem: one.label for stem, one in known.items()} == {"a": "ship"}
    assert sorted(isinstance(problem, Absent) for problem in found.problems) == [False, True]


@pytest.mark.parametrize("join", [False, True])
def test_rows_of_one_name(described, join):
    root, converter = described(
        "parquet",
        {"image": "image", "question": "q", "answer": "a"},
        annotations="{split}",
        options={"join_rows": join},
    )
    write_table(
        root / "train.parquet", image=cells("a.png", "a.png", "b.png"), q=pa.array(["x?", "y?", "z?"]), a=["1"] * 3
    )
    found, known = read_all(root, converter)
    stems = ["a", "b"] if join else ["a-train-0", "a-train-1", "b"]
    assert list(known) == stems and len(found.notes) == 1
    assert [len(one.questions) for one in known.values()] == ([2, 1] if join else [1, 1, 1])


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("other", pa.array([1]), "has no column 'label', or several"),
        ("label", pa.array([b"x"]), "values of type binary; texts and numbers are read"),
        ("label", pa.array([1], pa.timestamp("s")), "values of type timestamp"),
        ("label", pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), "values of type map"),
    ],
)
def test_columns_that_cannot_be_read(described, column, values, words):
    root, converter = described("parquet", {"image": "i", "label": "label"}, annotations="{split}", classes=["1"])
    write_table(root / "train.parquet", i=cells("a.png"), **{column: values})
    with pytest.raises(UserError, match=words):
        converter.discover(root, "train")
    write_table(root / "train.parquet", i=pa.array([1]), label=["1"])
    with pytest.raises(UserError, match="images or names of files are expected"):
        converter.discover(root, "train")


def test_a_text_that_is_said_often_is_refused_before_it_fills_memory(described, monkeypatch):
    monkeypatch.setattr("converters.mirrors.cells._MOST_BYTES_AT_ONCE", 1 << 20)
    root, converter = described("parquet", {"image": "i", "captions": "t"}, annotations="{split}")
    write_table(root / "train.parquet", rows_per_group=200, i=cells(*["a.png"] * 40), t=pa.array(["x" * 100_000] * 40))
    assert (root / "train.parquet").stat().st_size < 200_000
    with pytest.raises(UserError, match="of text"):
        converter.discover(root, "train")


def test_hostile_names_stay_names(described):
    root, converter = described(
        "parquet", {"image": "image", "label": "label"}, annotations="{split}", classes=["ship", "tank"]
    )
    names = ["../../etc/passwd.png", "C:\\x\\b.png", "..", "bad\x1b[31m.png", None]
    write_table(root / "train.parquet", LABELS, image=cells(*names), label=pa.array([0] * 5))
    stems = [item.stem for item in converter.discover(root, "train").items]
    assert sorted(stems) == ["b", "passwd", "train-2", "train-3", "train-4"]


def test_a_build_of_tables_keeps_the_bytes(described, tmp_path):
    root, converter = described(
        "parquet", {"image": "image", "label": "label"}, annotations="{split}", classes=["ship", "tank"]
    )
    write_table(root / "train.parquet", LABELS, image=cells("a.png", "b.png", "c.png"), label=pa.array([0, 1, 0]))
    recipe = BuildRecipe.model_validate({"sources": [{"name": "generic"}]})
    plan = plan_build([SourceBuild(converter, root, ("train",))], recipe, 1, QUIET)
    build(plan, recipe, tmp_path / "out", 1, QUIET)
    shards = ShardSet(tmp_path / "out")
    rows = shards.table("train").to_pylist()
    assert sorted(shards.image(row) for row in rows) == sorted(picture(shade) for shade in range(3))
    assert {shards.record(row).label for row in rows} == {"ship", "tank"}
