import os

import pytest

from converters.layout import check_plain_name, found_entries, layout_error, list_files, locate_root
from mmrs.errors import BadItem, UserError


def holds(folder):
    return (folder / "Images").is_dir()


def test_root_itself_has_no_note(tmp_path):
    (tmp_path / "Images").mkdir()
    assert locate_root("ucmerced", tmp_path, holds) == (tmp_path, ())


def test_one_folder_down_is_noted(tmp_path):
    (tmp_path / "unpacked" / "Images").mkdir(parents=True)
    root, notes = locate_root("ucmerced", tmp_path, holds)
    assert root == tmp_path / "unpacked" and "one folder down" in notes[0]


def test_one_folder_up_only_from_a_folder_of_the_layout(tmp_path):
    (tmp_path / "Images").mkdir()
    (tmp_path / "other").mkdir()
    root, notes = locate_root("ucmerced", tmp_path / "Images", holds, {"Images"})
    assert root == tmp_path and "one folder up" in notes[0]
    with pytest.raises(UserError):
        locate_root("ucmerced", tmp_path / "other", holds, {"Images"})


def test_two_candidates_are_not_guessed_between(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name / "Images").mkdir(parents=True)
    with pytest.raises(UserError, match=r"several folders with the layout \(a, b\)"):
        locate_root("ucmerced", tmp_path, holds)


def test_layout_error_says_found_expected_next(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "notes.txt").touch()
    text = str(layout_error("ucmerced", tmp_path, "does not hold it"))
    assert "found:    notes.txt, photos/" in text
    assert "expected: UCMerced_LandUse/Images/<class>/<class>NN.tif" in text
    assert "`mmrs sample ucmerced --out DIR`" in text and "`mmrs scan ucmerced DIR`" in text


def test_found_entries_of_what_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    assert found_entries(tmp_path / "absent") == "nothing, the path does not exist"
    assert found_entries(tmp_path / "file") == "a file, not a folder"
    assert found_entries(tmp_path).startswith("file")
    many = tmp_path / "many"
    many.mkdir()
    for number in range(12):
        (many / f"{number:02d}").touch()
    assert found_entries(many).endswith("07 and 4 more")


@pytest.mark.parametrize(
    "name", ["../x.jpg", "/etc/passwd", "a/b.jpg", "..", ".", "", "C:x.jpg", "a\\b.jpg", "x\0.jpg"]
)
def test_names_that_are_paths_are_refused(name):
    with pytest.raises(BadItem, match="not a plain name"):
        check_plain_name(name)


def test_files_are_found_by_name_or_stem_in_any_case(tmp_path):
    for name in ("a.JPG", "b.png", "readme.txt", ".DS_Store", "._a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "c.jpg").mkdir()
    files = list_files(tmp_path, tmp_path)
    assert list(files.by_name) == ["a.JPG", "b.png"]
    assert files.find("a.jpg") == tmp_path / "a.JPG" and files.find("b.jpg") == tmp_path / "b.png"
    assert files.find("c.jpg") is None


def test_one_stem_twice_is_two_files(tmp_path):
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).touch()
    files = list_files(tmp_path, tmp_path)
    assert files.problems == () and set(files.by_name) == {"a.jpg", "a.png"}


def test_links_out_of_the_root_are_never_followed(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret.jpg").touch()
    (root / "inside.jpg").touch()
    (root / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "in.jpg").symlink_to(root / "inside.jpg")
    files = list_files(root, root)
    assert set(files.by_name) == {"inside.jpg", "in.jpg"}
    assert "outside the root" in files.problems[0][1]


def test_links_that_lead_nowhere_are_named(tmp_path):
    for name, target in (("self.jpg", "self.jpg"), ("a.jpg", "b.jpg"), ("b.jpg", "a.jpg"), ("none.jpg", "missing.jpg")):
        (tmp_path / name).symlink_to(target)
    found = list_files(tmp_path, tmp_path)
    assert found.by_name == {}
    assert [reason for _, reason in found.problems] == ["symbolic link that leads nowhere or to itself"] * 4


def test_pipes_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "c.jpg").touch()
    files = list_files(tmp_path, tmp_path)
    assert list(files.by_name) == ["c.jpg"]
    assert [reason for _, reason in files.problems] == ["no plain file but a pipe, a socket or a device"] * 2


def test_a_linked_folder_out_of_the_root_is_refused(tmp_path):
    for name in ("root", "elsewhere"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "a.jpg").touch()
    (tmp_path / "root" / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="such links are not followed"):
        list_files(tmp_path / "root" / "images", tmp_path / "root")
    linked_root = tmp_path / "link"
    linked_root.symlink_to(tmp_path / "elsewhere")
    assert list(list_files(linked_root, linked_root).by_name) == ["a.jpg"]


def test_archives_that_are_still_packed_are_named_with_the_command(tmp_path):
    for name in ("DIOR.ZIP", "inner/part1.tar.gz", "images.rar", "readme.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    message = str(layout_error("hit-uav", tmp_path, "does not hold the layout"))
    assert f"DIOR.ZIP is still packed: `cd {tmp_path} && unzip DIOR.ZIP`" in message
    assert f"`cd {tmp_path / 'inner'} && tar -xf part1.tar.gz`" in message
    assert "unrar x images.rar" in message
    assert "readme" not in message.partition("packed:")[2]
