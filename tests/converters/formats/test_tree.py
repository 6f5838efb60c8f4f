import pytest

from converters.formats.tree import checked_subpath, list_tree
from mmrs.errors import BadItem


def test_nested_files_by_subpath_and_stem(tmp_path):
    for name in ("a.jpg", "x/b.PNG", "x/y/c.tif", "x/.hidden.jpg", "x/notes.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "x" / "loop").symlink_to(tmp_path)
    tree = list_tree(tmp_path, tmp_path)
    assert list(tree.by_stem) == ["a", "x/b", "x/y/c"]
    assert tree.find("./x\\b.png") == tree.find("x/b.PNG") == tmp_path / "x/b.PNG"
    assert tree.find("b.PNG") is None
    assert list_tree(tmp_path / "none", tmp_path).by_path == {}


@pytest.mark.parametrize("name", ["", "..", "../a.jpg", "/a.jpg", "x/../../a", "C:/a", "x//a", "a\0"])
def test_names_that_lead_out(name):
    with pytest.raises(BadItem, match="never followed"):
        checked_subpath(name)
