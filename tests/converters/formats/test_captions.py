import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.formats.captions import distinct_captions, parse_captions, read_captions
from mmrs.errors import BadItem


def row(**changes):
    base = {"filename": "a.jpg", "imgid": 0, "split": "train", "sentences": [{"raw": "a plane .", "tokens": ["b"]}]}
    return {**base, **changes}


def parse(rows):
    return parse_captions(json.dumps({"images": rows, "dataset": "x"}).encode(), "x.json")


def test_raw_is_taken_never_tokens():
    (image,) = parse([row()]).images
    assert (image.file_name, image.image_id, image.split, image.raw) == ("a.jpg", "0", "train", ("a plane .",))


def test_repeats_are_counted_and_wordless_captions_set_aside():
    found = distinct_captions(["b .", " .", "a .", " b . ", "1 .", ""])
    assert (found.texts, found.counts, found.empty) == (("b .", "a ."), (2, 1), (1, 4, 5))


@given(st.lists(st.text(max_size=5), max_size=8))
def test_no_caption_is_lost(raw):
    found = distinct_captions(raw)
    assert sum(found.counts) + len(found.empty) == len(raw)
    assert len(set(found.texts)) == len(found.texts)
    assert all(text == text.strip() and text for text in found.texts)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (row(filename=None), "lacks filename"),
        (row(split=3), "lacks filename, split or sentences"),
        (row(sentences=None), "lacks filename, split or sentences"),
        ([], "is no object"),
        (row(filename="good.jpg"), "repeats file name good.jpg"),
    ],
)
def test_bad_rows_are_problems(bad, words):
    found = parse([row(filename="good.jpg"), bad])
    assert len(found.images) == 1
    assert words in found.problems[0][1]


@pytest.mark.parametrize("sentence", [{"tokens": []}, "text", {"raw": 3}])
def test_a_sentence_without_text_is_an_empty_caption_and_its_image_stays(sentence):
    found = parse([row(sentences=[{"raw": "a plane ."}, sentence])])
    assert found.images[0].raw == ("a plane .", "") and distinct_captions(found.images[0].raw).empty == (1,)


@pytest.mark.parametrize("data", [b"[]", b"{}", b'{"images": {}}', b"\xff", b""])
def test_bad_files(data):
    with pytest.raises(BadItem):
        parse_captions(data, "x.json")


def test_genuine_ucm_captions(genuine):
    found = read_captions(genuine("ucm-captions") / "dataset.json")
    assert len(found.images) == 70 and found.problems == ()
    assert {len(image.raw) for image in found.images} == {5}
    assert found.images[0].raw[0] == "There is a piece of farmland ."
    assert {image.split for image in found.images} <= {"train", "val", "test"}
