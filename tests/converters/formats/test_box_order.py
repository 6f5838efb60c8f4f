import json
import random

import pytest

from converters.formats.box_order import check_box_order
from converters.formats.coco import parse_coco, row_object
from mmrs.errors import BadItem

SIZE = (640, 512)


def corners(seed, count):
    """Random boxes inside an image, as corners, and the same as x, y, width, height."""
    rng = random.Random(seed)
    for _ in range(count):
        x1, y1 = rng.randrange(SIZE[0] - 8), rng.randrange(SIZE[1] - 8)
        x2, y2 = rng.randrange(x1 + 4, SIZE[0]), rng.randrange(y1 + 4, SIZE[1])
        yield (x1, y1, x2, y2), (x1, y1, x2 - x1, y2 - y1)


def rows(boxes, area=False):
    found = [{"bbox": list(box)} for box in boxes]
    if area:
        for row, (_, _, width, height) in zip(found, (xywh for _, xywh in corners(0, len(found))), strict=True):
            row["area"] = width * height
    return found


@pytest.mark.parametrize("seed", range(20))
def test_widths_and_heights_are_never_taken_for_corners(seed):
    boxes = [xywh for _, xywh in corners(seed, seed + 1)]
    check_box_order([(SIZE, rows(boxes))], "x.json")
    check_box_order([(None, rows(boxes))], "x.json")


def test_corners_are_known_by_the_sides_of_the_image_and_by_areas():
    boxes = [one for one, _ in corners(0, 40)]
    with pytest.raises(BadItem, match="look like x1, y1, x2, y2: of 40, ") as told:
        check_box_order([(SIZE, rows(boxes))], "x.json")
    assert "box_order: xyxy" in told.value.remedy and told.value.path == "x.json"
    with pytest.raises(BadItem, match=r"of 40, .* and \d+ contradict `area`"):
        check_box_order([(None, rows(boxes, area=True))], "x.json")
    with pytest.raises(BadItem, match="of 1, 0 leave their images and 1 contradict `area`"):
        check_box_order([(SIZE, [{"bbox": [10, 10, 30, 20], "area": 200}])], "x.json")


@pytest.mark.parametrize(
    "right",
    [
        {"bbox": [10, 10, 5, 90]},
        {"bbox": [0, 0, 640, 512], "area": 640 * 512},
        {"bbox": [600, 10, 630, 20], "bbox_mode": 0},
        {"bbox": [600, 10, 630, 20, 0.1]},
        {"bbox": None},
    ],
)
def test_what_could_be_right_is_not_refused(right):
    check_box_order([(SIZE, [right])], "x.json")
    leaving = {"bbox": [600, 10, 630, 20]}
    check_box_order([(SIZE, [leaving] * 2)], "x.json")


def test_the_order_is_that_of_the_row_then_that_of_the_file():
    boxes = [one for one, _ in corners(3, 9)]
    table = [{"id": n, "image_id": 1, "category_id": 0, "bbox": list(box)} for n, box in enumerate(boxes)]
    table[0] |= {"bbox": [1, 2, 3, 4], "bbox_mode": 1}
    text = json.dumps(
        {
            "images": [{"id": 1, "file_name": "a.jpg", "width": SIZE[0], "height": SIZE[1]}],
            "categories": [{"id": 0, "name": "ship"}],
            "annotations": table,
        }
    ).encode()
    with pytest.raises(BadItem, match="look like x1"):
        parse_coco(text, "x.json")
    read = [row_object(row, "x.json").box for row in parse_coco(text, "x.json", "xyxy").images[0].rows]
    assert read == [(1, 2, 4, 6), *boxes[1:]]
    assert len(parse_coco(text, "x.json", "xywh").images[0].rows) == 9
