"""Which tables a folder has, and what their columns are."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from converters.mirrors.columns import read_image_table, read_labelled_rows
from converters.mirrors.tables import find_tables
from mmrs.errors import BadItem, UserError
from tests.support.tables import IMAGE, write_table

CLASSES = ("Forest", "River")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train-00000-of-00001.parquet"], ["train"]),
        (["test-00000-of-00002-0a1b2c.parquet", "test-00001-of-00002-3d4e5f.parquet"], ["test"]),
        (["train.parquet", "validation.parquet"], ["train", "validation"]),
        (["train/0000.parquet", "val/0000.parquet", "images/0000.parquet"], ["train", "val"]),
        (["my-data-00000-of-00001.parquet"], ["my-data"]),
        (["README.md"], []),
    ],
)
def test_words_of_splits(tmp_path, names, words):
    touch(tmp_path, *names)
    found = find_tables(tmp_path)
    assert list(found.by_word) == words and found.problems == ()


def test_missing_parts_are_said_and_two_versions_are_refused(tmp_path):
    touch(tmp_path, "train-00000-of-00003.parquet", "train-00002-of-00003.parquet")
    ((_, reason),) = find_tables(tmp_path).problems
    assert reason == "1 of 3 tables train-*-of-00003.parquet are missing"
    touch(tmp_path, "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match=r"tables of two versions, train-.*-of-00001.parquet and train"):
        find_tables(tmp_path)


def test_a_link_out_of_the_folder_is_a_problem(tmp_path):
    touch(tmp_path, "blobs/x.parquet", "snapshot/README.md")
    (tmp_path / "snapshot" / "train.parquet").symlink_to(tmp_path / "blobs" / "x.parquet")
    found = find_tables(tmp_path / "snapshot")
    assert found.by_word == {} and found.is_any and "outside the root" in found.problems[0][1]


def test_labels_and_names_of_rows(tmp_path):
    path = tmp_path / "t.parquet"
    names = ["River_1.jpg", None, "a/b/Forest_2.jpg", "..\\..\\x.jpg", "..", "bad\x1b[31m.jpg", "n" * 300]
    write_table(path, [b"x"] * 7, names, [1, 0, 0, 1, 0, 0, 0], CLASSES, rows_per_group=3)
    table = read_image_table(path)
    assert (table.image, table.names, table.label, table.class_names) == (
        "image.bytes",
        ("image.path",),
        "label",
        CLASSES,
    )
    rows = list(read_labelled_rows(path, table))
    assert [row.names for row in rows] == [("River_1.jpg",), (), ("Forest_2.jpg",), ("x.jpg",), (), (), ()]
    assert [row.label for row in rows[:3]] == ["River", "Forest", "Forest"]
    assert [row.fault is None for row in rows] == [True] * 4 + [False] * 3
    assert [(row.row, row.block_row) for row in rows] == [(0, 0), (1, 0), (2, 0), (3, 3), (4, 3), (5, 3), (6, 6)]


def test_labels_that_are_words_and_names_in_a_column_of_their_own(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, [b"x", b"y"], [None, None], ["river", ""], image_id=["River_1", "River_2"])
    table = read_image_table(path)
    assert (table.names, table.class_names) == (("image.path", "image_id"), None)
    rows = list(read_labelled_rows(path, table))
    assert [(row.label, row.names, row.fault) for row in rows] == [
        ("river", ("River_1",), None),
        ("", ("River_2",), "the row has no class"),
    ]


def test_numbers_of_no_class_cost_their_rows(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, [b"x"] * 4, ["a.jpg"] * 4, [0, 2, -1, None], CLASSES)
    faults = [row.fault for row in read_labelled_rows(path, read_image_table(path))]
    assert (
        faults[0] is None
        and [fault[:26] for fault in faults[1:]]
        == [
            "class number 2 is none of ",
            "class number -1 is none of"[:26],
            "class number null is none "[:26],
        ]
    ) or faults[3].startswith("class number")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"PAR1" + b"\0" * 40 + b"PAR1", "cannot be read"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, words):
    path = tmp_path / "t.parquet"
    path.write_bytes(content)
    with pytest.raises(BadItem, match=words) as caught:
        read_image_table(path)
    assert caught.value.path == str(path)


def write_columns(path, features=None, **columns):
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": features})
    pq.write_table(table, path)
    return path


CELLS = pa.array([{"bytes": b"x", "path": "a.jpg"}], IMAGE)
INFO = json.dumps({"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", 1]}}}})


@pytest.mark.parametrize(
    ("columns", "features", "words"),
    [
        ({"label": ["a"]}, None, "no column of images"),
        ({"image": CELLS, "other": CELLS, "label": ["a"]}, None, r"several columns of images \(image, other\)"),
        ({"image": CELLS}, None, "no column of classes"),
        ({"image": CELLS, "label": [1]}, None, "does not say which classes"),
        ({"image": CELLS, "label": [1]}, INFO, "names of the classes of its column label"),
        ({"image": CELLS, "label": ["a"]}, "{", "not JSON"),
        ({"image": CELLS, "label": ["a"]}, "[1]", None),
        ({"image": CELLS, "label": ["a"]}, '{"info": {"features": {"image": 3}}}', None),
    ],
)
def test_tables_of_something_else(tmp_path, columns, features, words):
    path = write_columns(tmp_path / "t.parquet", features, **columns)
    if words is None:
        assert read_image_table(path).label == "label"
        return
    with pytest.raises(BadItem, match=words):
        read_image_table(path)


def test_a_table_that_is_damaged_inside(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, [bytes(range(256)) * 40] * 40, [f"Forest_{n}.jpg" for n in range(40)], [0] * 40, CLASSES)
    table = read_image_table(path)
    content = bytearray(path.read_bytes())
    # The pages of names and labels, not the footer.
    for place in range(4, len(content) - 4000):
        content[place] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(BadItem, match="cannot be read"):
        list(read_labelled_rows(path, table))
