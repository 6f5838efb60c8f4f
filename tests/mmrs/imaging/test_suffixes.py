"""What is a suffix of a written name, and what only looks like one."""

import pytest

from mmrs.imaging.suffixes import without_known_suffix


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.jpg", "a"), ("a.JPG", "a"), ("b/a.Tiff", "b/a"), ("a.xml", "a"), ("scene_0.25", "scene_0.25"),
        ("scene_0.25.png", "scene_0.25"), ("0250_London_2004.01", "0250_London_2004.01"), (".jpg", ".jpg"),
        ("a", "a"), ("a.", "a."), ("d.jpg/a", "d.jpg/a"), ("b/.png", "b/.png"), ("", ""),
    ],
)  # fmt: skip
def test_only_known_endings_are_suffixes(name, stem):
    assert without_known_suffix(name) == stem
