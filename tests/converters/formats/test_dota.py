import pytest

from converters.formats.dota import parse_dota, read_meta
from mmrs.errors import BadItem

LABELS = ("plane", "small-vehicle")
LINE = "1.0 2.0 3.0 2.0 3.0 4.0 1.0 4.0 plane"


def parse(text: str):
    return parse_dota(text.encode(), "P0001.txt", LABELS)


def test_headers_crlf_and_byte_order_mark():
    found = parse(f"\ufeffimagesource:GoogleEarth\r\ngsd:0.5\r\n{LINE} 1\r\n\r\n")
    assert found.header == {"imagesource": "GoogleEarth", "gsd": "0.5"}
    (obj,) = found.objects
    assert (obj.corners, obj.label, obj.difficult, obj.line) == ((1, 2, 3, 2, 3, 4, 1, 4), "plane", 1, 3)


@pytest.mark.parametrize("value", ["", "None", "null", " NULL "])
def test_missing_gsd(value):
    assert parse(f"imagesource:GF\ngsd:{value}\n").header == {"imagesource": "GF"}


@pytest.mark.parametrize("key", ["acquisition dates", "Acquisition Dates", "acquisition_dates"])
def test_three_header_lines(key):
    assert parse(f"{key}:2016-05-04\nimagesource:JL\ngsd:1").header["acquisition dates"] == "2016-05-04"


def test_empty_file_has_no_objects():
    assert parse("").objects == () == parse("\r\n \r\n").objects


@pytest.mark.parametrize(("flag", "expected"), [("", 0), (" 0", 0), (" 1", 1), (" 2", 2)])
def test_difficult(flag, expected):
    assert parse(LINE + flag).objects[0].difficult == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("note: this is no header", "8 numbers, a class"),
        ("imagesource GoogleEarth", "8 numbers, a class"),
        (LINE.rsplit(" ", 1)[0], "8 words"),
        (LINE + " 0 0", "unknown class 'plane 0'"),
        (LINE.replace("plane", "plan"), r"unknown class 'plan' \(did you mean 'plane'\?\)"),
        (LINE.replace("2.0", "x", 1), "corner is 'x'"),
        (LINE.replace("2.0", "nan", 1), "corner is 'nan'"),
        (LINE.replace("2.0", "1e999", 1), "beyond"),
        (LINE + " 3", "difficult is 3"),
        (LINE + " yes", "unknown class 'plane yes'"),
        ("1 2 3 4 5 6 7 plane 0", "corner is 'plane'|unknown class"),
    ],
)
def test_bad_lines_are_named(line, words):
    with pytest.raises(BadItem, match=words) as caught:
        parse(f"gsd:None\n\n{line}\n")
    assert (caught.value.path, caught.value.line) == ("P0001.txt", 3)


@pytest.mark.parametrize("written", ["Small-Vehicle", "small_vehicle", "small vehicle", "SMALLVEHICLE"])
@pytest.mark.parametrize("flag", ["", " 0", " 1"])
def test_classes_are_matched_without_regard_to_case_blanks_and_marks(written, flag):
    (obj,) = parse(LINE.replace("plane", written) + flag).objects
    assert (obj.label, obj.difficult) == (written, int(flag or 0))


def test_a_name_that_ends_in_a_number_is_no_flag():
    line = LINE.replace("plane", "LSD 41")
    objects = parse_dota(f"{line}\n{line} 1".encode(), "x", ("LSD 41", "plane")).objects
    assert [(obj.label, obj.difficult) for obj in objects] == [("LSD 41", 0), ("LSD 41", 1)]


def test_not_utf8():
    with pytest.raises(BadItem, match="offset 6"):
        parse_dota(b"gsd:1\n\xe9", "x", LABELS)


def test_meta_file(tmp_path):
    path = tmp_path / "P0001.txt"
    path.write_text("acquisition dates:None\nimagesource:GoogleEarth\ngsd:0.146\n")
    assert read_meta(path) == {"imagesource": "GoogleEarth", "gsd": "0.146"}
    path.write_text("imagesource:GoogleEarth\nsomething\n")
    with pytest.raises(BadItem, match="'something' is no header") as caught:
        read_meta(path)
    assert caught.value.line == 2
