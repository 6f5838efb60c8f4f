import json

import pytest

from converters.formats.coco import bbox, parse_coco
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
        ({"annotations": tables()["annotations"][:1] * 2}, "repeats annotation id 5"),
        ({"annotations": [{"id": 1, "image_id": 77, "category_id": 0}]}, "names image 77, which the file lacks"),
        ({"annotations": [{"id": 1}]}, "has no image_id"),
        ({"annotations": [None]}, "has no image_id"),
        (
            {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}], "annotations": []},
            "repeats im",
        ),
        (
            {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "a.jpg"}], "annotations": []},
            "repeats fi",
        ),
        ({"images": [{"file_name": "a.jpg"}], "annotations": []}, "no id or no file name"),
        ({"images": [{"id": True, "file_name": "a.jpg"}], "annotations": []}, "no id or no file name"),
        ({"images": [{"id": 1, "file_name": "a", "width": "x", "height": 1}], "annotations": []}, "width is 'x'"),
        ({"categories": [{"id": 0}], "annotations": []}, "no id or name"),
    ],
)
def test_rows_that_cannot_be_used_become_problems(changes, words):
    problems = parse(tables(**changes)).problems
    assert len(problems) == 1 and words in problems[0][1]


@pytest.mark.parametrize("value", [[], {}, {"images": [], "categories": []}, tables(annotation=[]), tables(images={})])
def test_files_that_are_no_coco(value):
    with pytest.raises(BadItem):
        parse(value)


@pytest.mark.parametrize("values", [None, [1, 2, 3], [1, 2, 3, "x"], [1, 2, 3, None], "1234", [1, 2, 3, 4, 5]])
def test_bad_bbox_names_the_annotation(values):
    with pytest.raises(BadItem, match="bbox of annotation 5"):
        bbox({"id": 5, "bbox": values}, 4, "x.json")
