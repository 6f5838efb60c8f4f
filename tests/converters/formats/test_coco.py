import json

import pytest

from converters.formats.coco import bbox, is_crowd, parse_coco
from mmrs.errors import BadItem


def tables(**changes):
    base = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 48}, {"id": 2, "file_name": "b.jpg"}],
        "categories": [{"id": 0, "name": "ship"}],
        "annotations": [
            {"id": 5, "image_id": 2, "category_id": 0, "bbox": [1, 2, 3, 4]},
            {"id": 6, "image_id": 1, "category_id": 9, "bbox": [1, 2, 3, 4]},
            {"id": 7, "image_id": 2, "category_id": 0, "bbox": [5, 6, 7, 8]},
        ],
    }
    return {**base, **changes}


def parse(value):
    return parse_coco(json.dumps(value).encode(), "x.json")


def test_rows_are_joined_by_image_id_in_file_order():
    coco = parse(tables())
    first, second = coco.images
    assert (first.file_name, first.size, second.size) == ("a.jpg", (64, 48), None)
    assert [row["id"] for row in second.rows] == [5, 7] and second.rows[0]["label"] == "ship"
    assert first.rows[0]["label"] is None
    assert coco.problems == ()


def test_dialect_with_singular_table_and_filename():
    value = tables()
    value["annotation"] = value.pop("annotations")
    for row in value["images"]:
        row["filename"] = row.pop("file_name")
    assert parse(value).images[1].rows[0]["id"] == 5


def test_numbers_as_ids_may_be_text():
    value = tables(categories=[{"id": "0", "name": 0}])
    assert parse(value).images[1].rows[0]["label"] == "0"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"annotations": [{"id": 1, "image_id": 77, "category_id": 0}]}, "names image 77, which the file lacks"),
        ({"annotations": [{"id": 1}]}, "has no image_id"),
        ({"annotations": [None]}, "annotations[0] is None (null), an object is expected"),
        ({"annotations": [{"id": 1, "image_id": True}]}, "has the image_id True (true or false); a number or a text"),
        ({"images": [{"file_name": "a.jpg"}], "annotations": []}, "images[0] has no id"),
        ({"images": [{"id": 1}], "annotations": []}, "images[0] has no file_name"),
        ({"images": [{"id": 1, "file_name": 5}], "annotations": []}, "has the file_name 5 (a number); a text"),
        ({"images": [{"id": [1], "file_name": "a.jpg"}], "annotations": []}, "has the id [1] (a list); a number"),
        ({"images": [{"id": 1, "file_name": "a", "width": "x", "height": 1}], "annotations": []}, "width is 'x'"),
        ({"categories": [{"id": 0}], "annotations": []}, "has the name None (null); a text is expected"),
        ({"categories": [{"id": 0.5, "name": "x"}], "annotations": []}, "has the id 0.5 (a number)"),
    ],
)
def test_rows_that_cannot_be_used_become_problems(changes, words):
    coco = parse(tables(**changes))
    (problem,) = coco.problems + coco.unread_rows
    assert words in problem[1]
    assert bool(coco.unread_rows) == ("annotations" in words or "image_id" in words or "names image 77" in words)


def test_annotation_ids_are_no_keys():
    """Many files count them from the start again in every image."""
    rows = [{"id": 0, "image_id": image, "category_id": 0, "bbox": [x, 2, 3, 4]} for image in (1, 2) for x in (1, 9)]
    coco = parse(tables(annotations=rows))
    assert [len(image.rows) for image in coco.images] == [2, 2] and coco.problems == coco.unread_rows == ()


@pytest.mark.parametrize(
    ("image_id", "named"),
    [("0000001_02999_d_0000005", "0000001_02999_d_0000005"), ("7", 7), (7.0, 7), (-7, "-7"), (0, 0), (" x ", "x")],
)
def test_ids_are_numbers_or_text(image_id, named):
    images = [{"id": image_id, "file_name": "a.jpg"}, {"id": "007", "file_name": "b.jpg"}]
    rows = [{"id": 1, "image_id": named, "category_id": "0", "bbox": [1, 2, 3, 4]}]
    coco = parse(tables(images=images, annotations=rows))
    assert [len(image.rows) for image in coco.images] == [1, 0] and coco.problems == coco.unread_rows == ()
    assert coco.images[0].rows[0]["label"] == "ship"


def test_an_id_of_two_images_joins_neither_and_two_ids_of_one_image_both():
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}]
    images += [{"id": 2, "file_name": "c.jpg"}, {"id": 3, "file_name": "c.jpg"}]
    rows = [{"id": n, "image_id": image, "category_id": 0, "bbox": [n, 2, 3, 4]} for n, image in enumerate((1, 2, 3))]
    coco = parse(tables(images=images, annotations=rows))
    assert [(image.file_name, len(image.rows)) for image in coco.images] == [("c.jpg", 2)]
    assert len(coco.unread_rows) == 1 and len(coco.problems) == 2


def test_an_image_of_two_sizes_is_left_out():
    images = [{"id": n, "file_name": "a.jpg", "width": 3 + n, "height": 3} for n in (1, 2)]
    coco = parse(tables(images=images))
    assert coco.images == () and len(coco.unread_rows) == 3
    assert ["another size" in reason for _, reason in coco.problems] == [True, False]


def test_a_category_id_with_two_names_names_no_row():
    coco = parse(tables(categories=[{"id": 0, "name": "ship"}, {"id": 0, "name": "boat"}]))
    assert coco.images[1].rows[0]["label"] is None and "names id 0 'boat'" in coco.problems[0][1]
    assert parse(tables(categories=[{"id": 0, "name": "ship"}] * 2)).problems == ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, False), (0, False), (1, True), ("0", False), ("1", True), (True, True), ("False", False), ("yes", True)],
)
def test_crowds_are_told_by_what_the_value_means(value, expected):
    assert is_crowd({"id": 5, "iscrowd": value}, "x.json") is expected


@pytest.mark.parametrize("value", [2, "2", "crowd", [], {}])
def test_other_marks_of_a_crowd_are_named(value):
    with pytest.raises(BadItem, match="iscrowd of annotation 5 is"):
        is_crowd({"id": 5, "iscrowd": value}, "x.json")


@pytest.mark.parametrize("value", [[], {}, {"images": [], "categories": []}, tables(annotation=[]), tables(images={})])
def test_files_that_are_no_coco(value):
    with pytest.raises(BadItem):
        parse(value)


@pytest.mark.parametrize("values", [None, [1, 2, 3], [1, 2, 3, "x"], [1, 2, 3, None], "1234", [1, 2, 3, 4, 5]])
def test_bad_bbox_names_the_annotation(values):
    with pytest.raises(BadItem, match="bbox of annotation 5"):
        bbox({"id": 5, "bbox": values}, 4, "x.json")
