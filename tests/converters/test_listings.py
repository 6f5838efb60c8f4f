"""Listings of several folders as one, and names whose accents are decomposed on disk."""

import unicodedata

from converters.layout import list_files, list_subfolders, merge_files


def test_subfolders_become_one_listing(tmp_path):
    for name in ("a/1.jpg", "a/2.jpg", "b/3.jpg", "b/1.jpg", "b/note.txt", ".hidden/9.jpg", "8.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = list_subfolders(tmp_path, tmp_path)
    assert sorted(found.by_name) == ["1.jpg", "2.jpg", "3.jpg"] and found.ignored == ("b/note.txt",)
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
