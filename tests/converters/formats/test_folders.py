from converters.formats.folders import normal_form, read_class_folders


def test_spellings_of_one_class_are_equal():
    assert {normal_form(name) for name in ("Baseball_Diamond", "baseball diamond", "baseball-diamond")} == {
        "baseballdiamond"
    }


def test_class_folders(tmp_path):
    for name in ("Beach/b2.TIF", "Beach/b1.jpg", "Beach/Thumbs.db", "river/r1.tif", "dunes/d1.tif", "readme.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = read_class_folders([tmp_path], tmp_path, ("beach", "river", "forest"))
    assert [path.name for path in found.images["beach"]] == ["b1.jpg", "b2.TIF"]
    assert len(found.images["river"]) == 1 and found.images["forest"] == ()
    assert found.problems == (
        (str(tmp_path / "dunes" / "d1.tif"), "class folder 'dunes' is unknown"),
        (str(tmp_path / "forest"), "class folder is missing or empty"),
    )


def test_a_suffix_that_is_not_asked_for_is_ignored(tmp_path):
    (tmp_path / "beach").mkdir()
    (tmp_path / "beach" / "a.png").touch()
    assert read_class_folders([tmp_path], tmp_path, ("beach",), {".tif"}).images["beach"] == ()
