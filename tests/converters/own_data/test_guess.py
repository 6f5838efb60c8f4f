"""A guessed description reads what the true one reads, for every format, and the commands that are printed work."""

import json
import os
import re
import shlex
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import cli
from converters import samples
from converters.own_data.description import Description
from converters.own_data.formats.registry import OWN_FORMATS
from converters.own_data.guess.candidates import line_kind
from converters.own_data.guess.trial import guess_description
from mmrs.errors import UserError

FORMATS = tuple(OWN_FORMATS)


def mmrs(*words):
    return CliRunner().invoke(cli.main, ["--quiet", *map(str, words)])


@pytest.fixture
def made(tmp_path):
    """Writes a set of a format; its true description is moved away."""

    def write(form, **options):
        root = tmp_path / "My Set (1)"
        samples.write("generic", root, format=form, **options)
        return root, shutil.move(root / "mmrs.yaml", tmp_path / "true.yaml")

    return write


def described(shown):
    """The description file that was printed."""
    return yaml.safe_load(shown.partition("\n\nevidence:")[0])


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_guessed_reads_what_the_truth_reads(made, form):
    root, truth = made(form)
    shown = mmrs("scan", "generic", root, "--guess")
    assert shown.exit_code == 0, shown.output
    guessed = described(shown.output)
    assert guessed["format"] == form and guessed["splits"] == ["train", "val"]
    assert "100% of those tried were understood" in shown.output
    (root / "mmrs.yaml").write_text(shown.output.partition("\n\nevidence:")[0])
    scan, build = re.findall(r"^next: `mmrs (.*)`$", shown.output, re.MULTILINE)
    done = mmrs(*shlex.split(scan), "--json")
    assert done.exit_code == 0, done.output
    true = json.loads(mmrs("scan", "generic", root, "--option", f"description={truth}", "--json").output)
    keys = ("split", "images", "objects", "captions", "questions")
    assert [[part[key] for key in keys] for part in json.loads(done.output)["splits"]] == [
        [part[key] for key in keys] for part in true["splits"]
    ]
    if form == "coco":
        words = [*shlex.split(build)[:-1], root.parent / "shards", "--workers", 1]
        assert mmrs(*words).exit_code == 0


def test_names_of_yolo_s_classes_come_from_its_own_file(made):
    root, _ = made("yolo")
    (root / "data.yaml").write_text("names:\n  0: ship\n  1: storage-tank\n  2: crane\n")
    guess = guess_description(root)
    assert guess.description["classes"] == ["ship", "storage-tank", "crane"]
    assert any("those of" in sentence and "data.yaml" in sentence for sentence in guess.evidence)


@pytest.mark.parametrize("form", ["voc", "yolo"])
def test_without_folders_of_splits_there_is_one(made, form):
    root, _ = made(form)
    for kind in ("images", "labels"):
        for path in sorted((root / kind).rglob("*.*")):
            path.rename(root / kind / f"{path.parent.name}-{path.name}")
        for folder in [path for path in (root / kind).iterdir() if path.is_dir()]:
            folder.rmdir()
    guess = guess_description(root)
    assert guess.description["splits"] == ["train"] and guess.images == {"train": 6}


@pytest.mark.parametrize("form", ["folders", "yolo"])
def test_splits_keep_the_names_of_their_folders(made, form):
    root, _ = made(form)
    for folder in [path for path in root.rglob("val") if path.is_dir()]:
        folder.rename(folder.with_name("valid"))
    guess = guess_description(root)
    assert guess.description["splits"] == ["train", "valid"]
    assert sorted(guess.images) == ["train", "valid"] and min(guess.images.values()) > 0


def test_labels_alone_and_tables_of_something_else_are_named(tmp_path):
    pq.write_table(pa.table({"picture": [b"x"], "height": [1]}), tmp_path / "train.parquet")
    (tmp_path / "labels.csv").write_text("file,class\na.jpg,ship\n")
    with pytest.raises(UserError) as caught:
        guess_description(tmp_path)
    said = str(caught.value)
    assert "train.parquet is a table of picture, height; which of them hold images and labels is not known" in said
    assert "labels.csv is a table of file, class" in said and "There is no image" in said


def pictures(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.new("RGB", (96, 64)).save(folder / name)


def test_annotations_of_roboflow(tmp_path):
    """One table a split, in the folder of its images."""
    for split, count in (("train", 3), ("valid", 2)):
        names = [f"{split}{number}.jpg" for number in range(count)]
        pictures(tmp_path / split, *names)
        rows = [f"{name},96,64,ship,1,2,30,40" for name in names]
        text = "\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax", *rows])
        (tmp_path / split / "_annotations.csv").write_text(text)
    guess = guess_description(tmp_path)
    assert guess.images == {"train": 3, "valid": 2} and guess.understood == 1
    assert guess.description["images"] == "{split}"
    assert guess.description["columns"] == {
        "image": "filename",
        "boxes": ["xmin", "ymin", "xmax", "ymax"],
        "category": "class",
    }


@pytest.mark.parametrize(("box", "order"), [("[50, 20, 10, 10]", "xywh"), ("[5, 2, 30, 40]", "xyxy")])
def test_the_order_of_a_box_is_told_from_all_of_them(tmp_path, box, order):
    pictures(tmp_path / "train", "a.png", "b.png")
    rows = [f'{name},96,64,"{box}",wheat,ear' for name in ("a", "a", "b", "b")]
    (tmp_path / "train.csv").write_text("\n".join(["image_id,width,height,bbox,source,label", *rows]))
    guess = guess_description(tmp_path)
    assert guess.description["options"] == {"box_order": order} and guess.description["classes"] == ["ear"]
    assert any("third number" in sentence for sentence in guess.evidence)


def test_a_column_of_splits_and_columns_of_texts(tmp_path):
    pictures(tmp_path / "images", "a.png", "b.png", "c.png")
    rows = ["a.png,train,A ship.,Two ships.", "b.png,val,Sea.,Water.", "c.png,test,Land.,Sand."]
    (tmp_path / "captions.csv").write_text("\n".join(["filepath,split,caption_1,caption_2", *rows]))
    guess = guess_description(tmp_path)
    assert guess.description["splits"] == ["train", "val", "test"]
    assert guess.description["columns"] == {
        "image": "filepath",
        "captions": ["caption_1", "caption_2"],
        "split": "split",
    }
    assert guess.images == {"train": 1, "val": 1, "test": 1}


@pytest.mark.parametrize(
    ("columns", "meaning", "tasks"),
    [
        ({"label": [0, 1]}, {"label": "label"}, ("classification",)),
        ({"captions": [["A.", "B."], ["C."]]}, {"captions": "captions"}, ("captioning",)),
        ({"question": ["a?", "b?"], "answer": ["1", "2"]}, {"question": "question", "answer": "answer"}, ("vqa",)),
        (
            {"conversations": [[{"from": "human", "value": "a?"}, {"from": "gpt", "value": "b"}]] * 2},
            {"conversations": "conversations"},
            ("vqa",),
        ),
    ],
)
def test_tables_of_the_hub_with_several_configurations(tmp_path, columns, meaning, tasks):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}}
    if "label" in columns:
        features["label"] = {"names": ["ship", "tank"], "_type": "ClassLabel"}
    images = pa.array([{"bytes": f"{number}".encode(), "path": f"{number}.png"} for number in range(2)], kind)
    table = pa.table({"image": images, **columns})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    for name in ("all/train-00000-of-00002", "all/train-00001-of-00002-ab", "all/test-00000-of-00001", "few/train"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / f"{name}.parquet")
    shown = mmrs("scan", "generic", tmp_path, "--guess")
    assert shown.exit_code == 0, shown.output
    guessed = described(shown.output)
    assert guessed["columns"] == {"image": "image", **meaning} and guessed["annotations"] == "all/{split}"
    assert guessed.get("classes") == (["ship", "tank"] if "label" in columns else None)
    assert "train 4, test 2" in shown.output and "each a description of its own: few/{split}" in shown.output
    assert Description.model_validate(guessed).tasks == tasks


def test_only_data_of_one_s_own_is_guessed(tmp_path):
    refused = mmrs("scan", "dota", tmp_path, "--guess")
    assert refused.exit_code == 2 and "the source is then generic" in refused.output


def test_no_link_leads_out_and_no_pipe_is_waited_for(made, tmp_path):
    root, _ = made("coco")
    secret = tmp_path / "secret.json"
    shutil.move(root / "annotations" / "train.json", secret)
    (root / "annotations" / "train.json").symlink_to(secret)
    os.mkfifo(root / "annotations" / "test.json")
    (root / "annotations" / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="nothing that a description can read"):
        guess_description(root)


@pytest.mark.parametrize("name", ["train.csv", "train.parquet", "train.json"])
def test_nothing_of_a_linked_table_is_told_where_nothing_is_recognised(tmp_path, name):
    secret = tmp_path / "secret"
    if name.endswith("parquet"):
        pq.write_table(pa.table({"hunter2": [1]}), secret)
    else:
        secret.write_text("root:hunter2:0\n")
    root = tmp_path / "set"
    root.mkdir()
    Image.new("L", (5, 5)).save(root / "a.png")
    (root / name).symlink_to(secret)
    shown = mmrs("scan", "generic", root, "--guess")
    assert shown.exit_code == 2 and "nothing that a description can read" in shown.output
    assert "hunter2" not in shown.output


def test_names_of_columns_are_told_by_their_beginning(tmp_path):
    Image.new("L", (5, 5)).save(tmp_path / "a.png")
    (tmp_path / "train.csv").write_text("," + "[" * 100_000 + "\na.png,ship\n")
    (tmp_path / "mmrs.yaml").write_text(
        "name: own\nformat: csv\nsensor: optical\nimages: .\nannotations: train.csv\nsplits: [train]\nclasses: [ship]\n"
        "columns: {image: filename, label: class}\n"
    )
    for words in (["--guess"], ["--option", f"description={tmp_path}/mmrs.yaml"]):
        shown = mmrs("scan", "generic", tmp_path, *words)
        assert shown.exit_code == 2 and len(shown.output) < 1_500, shown.output[:300]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0.25 0.125", ("yolo", "0")),
        ("1 0 0 1 0 1 1 0 1", ("yolo-obb", "1")),
        ("1.0 2.0 3.0 2.0 3.0 4.0 1.0 4.0 large-vehicle 0", ("dota", "large-vehicle")),
        ("1 2 3 2 3 4 1 4 plane", ("dota", "plane")),
        ("imagesource:GoogleEarth", None),
        ("0 512 300 20 20", None),
        ("0 nan 0.5 0.5 0.5", None),
        ("", None),
    ],
)
def test_lines_of_labels(line, kind):
    assert line_kind(line) == kind
