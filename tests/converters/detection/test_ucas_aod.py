import numpy as np
import pytest

import converters
from converters.detection.ucas_aod import parse_ucas_aod
from mmrs.errors import BadItem

# A line of the real set, as its users quote it.
QUOTED = (
    "2.763971e+02\t9.125021e+01\t2.911375e+02\t3.823406e+01\t3.308891e+02\t4.928647e+01\t3.161486e+02\t1.023026e+02\t"
    "1.055379e+02\t2.787673e+02\t3.876027e+01\t4.975157e+01\t6.301615e+01\t\n"
)


def read_all(root, **options):
    converter = converters.get("ucas-aod", **options)
    found = [converter.discover(root, split) for split in converter.splits]
    return found, {item.stem: converter.read(item) for part in found for item in part.items}


def test_equal_names_of_cars_and_planes_stay_apart(fake):
    found, read = read_all(fake("ucas-aod"))
    names = {
        f"{folder}-{mark}{n:04d}" for folder, mark in (("car", "P"), ("plane", "P"), ("neg", "N")) for n in (1, 2, 3)
    }
    assert set(read) == names
    assert all(part.problems == () and part.notes == () for part in found)
    assert {obj.category for obj in read["car-P0001"].objects} == {"car"}
    assert read["neg-N0001"].objects == () and read["plane-P0001"].provenance.original_id == "PLANE/P0001.png"
    assert [len(part.items) for part in found] == [6, 3]


def test_quoted_line_has_both_kinds_of_boxes(fake):
    root = fake("ucas-aod")
    (root / "CAR" / "P0001.txt").write_bytes(b"\xef\xbb\xbf" + QUOTED.replace("\n", "\r\n").encode())
    (obj,) = read_all(root)[1]["car-P0001"].objects
    assert np.allclose(obj.hbb, (278.7673, 38.76027, 328.51887, 101.77642))
    # The horizontal box is no hull of the corners: their least x is 276.4.
    assert min(x for x, _ in obj.quad) == 276.3971 < obj.hbb[0]
    assert obj.flags == {"angle_deg": 105.5379} and obj.label == "CAR"


def test_without_negatives(fake):
    assert len(read_all(fake("ucas-aod"), negatives=False)[1]) == 6


def test_only_files_named_p_are_labels(fake):
    root = fake("ucas-aod")
    assert (root / "CAR" / "names.txt").exists()
    (root / "CAR" / "P0001.txt").rename(root / "CAR" / "P0009.txt")
    found, _ = read_all(root)
    reasons = [reason for _, reason in found[0].shared_problems]
    assert reasons == ["image without a label file", "label file without an image"]


def test_folders_in_another_case_and_missing_ones(fake):
    root = fake("ucas-aod")
    (root / "CAR").rename(root / "Car")
    (root / "PLANE" / "P0001.png").rename(root / "PLANE" / "P0001.PNG")
    (root / "Neg").rename(root / "other")
    found, read = read_all(root)
    assert len(read) == 6 and "no folder Neg" in found[0].notes[0]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 2 3", "3 words"),
        (QUOTED.replace("1.055379e+02", "north"), "number is 'north'"),
        (QUOTED.replace("4.975157e+01", "-4.975157e+01"), "inverted"),
        ("car " + QUOTED, "14 words"),
    ],
)
def test_bad_lines(line, words):
    with pytest.raises(BadItem, match=words) as caught:
        parse_ucas_aod(line.encode(), "P0001.txt", "CAR")
    assert caught.value.line == 1
