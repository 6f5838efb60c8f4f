"""Listings of several folders as one, and names whose accents are decomposed on disk."""

import unicodedata
from pathlib import Path

from converters.formats.split_lists import paired
from converters.layout import list_files, list_subfolders, merge_files
from mmrs.source import Item, ensure_unique_stems


def test_subfolders_become_one_listing(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/1.jpg", "b/note.txt", ".hidden/9.jpg", "8.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list_subfolders(tmp_path, tmp_path)
    assert sorted(found.by_name) == ["1.jpg", "2.jpg", "3.jpg"]
    assert found.problems == (
        (str(tmp_path / "b" / "1.jpg"), f"file name 1.jpg is already used by {tmp_path / 'a' / '1.jpg'}"),
    )
    assert found.find("1.jpg") == tmp_path / "a" / "1.jpg"


def test_nothing_merges_to_nothing(tmp_path):
    assert merge_files([list_files(tmp_path / "absent", tmp_path)]).by_name == {}


def test_names_are_compared_in_composed_form(tmp_path):
    path = tmp_path / unicodedata.normalize("NFD", "é_1.jpg")
    path.touch()
    found = list_files(tmp_path, tmp_path)
    for form in ("NFC", "NFD"):
        assert found.find(unicodedata.normalize(form, "é_1.jpg")).samefile(path)
    assert list(found.by_stem) == ["é_1"]


def test_files_that_differ_in_their_suffix_alone_are_told_apart_by_it(tmp_path):
    """Only where they clash: all other stems stay what they are."""
    for name in ("a.bmp", "a.png", "b.png", "c.bmp", "c.png", "c.bmp.png", "scene_0.jpg", "scene_0.25.jpg"):
        (tmp_path / name).touch()
    found = list_files(tmp_path, tmp_path)
    assert found.problems == ()
    assert sorted(found.by_stem) == [
        *("a.bmp", "a.png", "b", "c.bmp", "c.bmp.png", "c.png", "scene_0", "scene_0.25"),
    ]
    assert found.find("a") is None and [path.name for path in found.find_all("a")] == ["a.bmp", "a.png"]
    assert found.find("a.png").name == "a.png" and found.find("b.jpg").name == "b.png"
    assert found.find("scene_0.25").name == "scene_0.25.jpg" and found.find("scene_0.5") is None
    assert found.has("a") and found.has("b") and not found.has("scene_0.2")


def test_names_with_blanks_around_them_or_percent_signs_are_found(tmp_path):
    for name in ("a b.png", "100%25.png", "c.png"):
        (tmp_path / name).touch()
    found = list_files(tmp_path, tmp_path)
    assert found.find(" c.png ").name == "c.png" and found.find("a%20b.png").name == "a b.png"
    assert found.find("100%25.png").name == "100%25.png" and found.find("..%2Fc.png") is None


def test_images_that_differ_in_their_suffix_share_a_label_file(tmp_path):
    for name in ("i/a.bmp", "i/a.png", "i/a.png.jpg", "l/a.xml", "l/d.xml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    both, problems = paired(list_files(tmp_path / "i", tmp_path), list_files(tmp_path / "l", tmp_path, {".xml"}))
    assert [(stem, image.name, label.name) for stem, image, label in both] == [
        ("a.bmp", "a.bmp", "a.xml"),
        ("a.png", "a.png", "a.xml"),
    ]
    assert [reason for _, reason in problems] == ["image without a label file", "label file without an image"]


def test_items_of_one_stem_keep_their_suffixes():
    items = [Item("a", Path("a.bmp")), Item("a", Path("a.png")), Item("b", Path("x/b.png")), Item("b", Path("y/b.png"))]
    unique, problems = ensure_unique_stems(items)
    assert [item.stem for item in unique] == ["a.bmp", "a.png", "b.png"]
    assert problems == (("y/b.png", "stem 'b.png' is already used by x/b.png"),)
    once, again = ensure_unique_stems([Item("a", Path("a.bmp"))] * 2)
    assert [item.stem for item in once] == ["a"] and len(again) == 1
