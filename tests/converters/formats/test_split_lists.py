from converters.formats.split_lists import list_folders, listed_items, paired, read_ids, unlisted_note
from converters.layout import list_files


def make(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def test_ids_with_crlf_bom_blank_lines_and_flags(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbf00001\r\n\r\n00002 -1\r\n")
    assert read_ids(path) == ((1, "00001"), (3, "00002"))


def test_items_are_sorted_and_every_other_line_is_a_problem(tmp_path):
    make(tmp_path / "images", "2.JPG", "1.jpg", "3.jpg")
    make(tmp_path / "labels", "1.xml", "2.xml")
    images, labels = (list_files(tmp_path / n, tmp_path, s) for n, s in (("images", {".jpg"}), ("labels", {".xml"})))
    ids = ((1, "2.jpg"), (2, "1"), (3, "3"), (4, "4"), (5, "1"), (6, "a/1"))
    items, problems = listed_items(tmp_path / "train.txt", ids, images, labels)
    assert [item.stem for item in items] == ["1", "2"]
    assert [reason.split(": ")[0] for _, reason in problems] == ["line 3", "line 4", "line 5", "line 6"]
    assert "no label file" in problems[0][1] and "no image" in problems[1][1] and "twice" in problems[2][1]


def test_folders_of_parts_and_nested_ones(tmp_path):
    make(tmp_path / "JPEGImages-trainval" / "JPEGImages-trainval", "1.jpg")
    make(tmp_path / "jpeg_images-test", "2.jpg")
    make(tmp_path / "other", "3.jpg")
    assert set(list_folders(tmp_path, ("jpegimages",)).by_stem) == {"1", "2"}


def test_unlisted_note(tmp_path):
    make(tmp_path / "images", "1.jpg", "2.jpg")
    files = list_files(tmp_path / "images", tmp_path)
    assert unlisted_note("images", files, {"1", "2"}) == ()
    assert unlisted_note("images", files, {"1"}) == ("1 images are named by no list and belong to no split",)


def test_pairs_and_what_has_no_partner(tmp_path):
    for name in ("images/b.png", "images/a.jpg", "images/alone.jpg", "labels/a.txt", "labels/b.txt", "labels/rest.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    images = list_files(tmp_path / "images", tmp_path)
    labels = list_files(tmp_path / "labels", tmp_path, {".txt"})
    both, alone = paired(images, labels)
    assert [(stem, image.name, label.name) for stem, image, label in both] == [
        ("a", "a.jpg", "a.txt"),
        ("b", "b.png", "b.txt"),
    ]
    assert [(place.rpartition("/")[2], reason) for place, reason in alone] == [
        ("alone.jpg", "image without a label file"),
        ("rest.txt", "label file without an image"),
    ]
