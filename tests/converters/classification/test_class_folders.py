"""What all class folder sources share; UC Merced's own module has the base's error paths."""

import shutil
from collections import Counter

import pytest
from click.testing import CliRunner
from PIL import Image

import cli
import converters
from mmrs.errors import UserError
from mmrs.shards.manifest import load_manifest
from tests.support.hints import commands_in, words_of

SEEDED = {"resisc45": 0.2, "eurosat": 0.8, "whu-rs19": 0.6, "rsscn7": 0.5, "fgscr42": 0.8}
WHOLE = ("aid", "clrs", "nasc-tg2")


def discover(name, root, split="train", **options):
    return converters.get(name, **options).discover(root, split)


@pytest.mark.parametrize(("name", "share"), SEEDED.items())
def test_seeded_splits_cut_every_class_by_the_source_s_share(fake, name, share):
    root = fake(name, images_per_class=4)
    train, test = discover(name, root).items, discover(name, root, "test").items
    classes = len(converters.facts(name).classes)
    assert len(train) == classes * int(4 * share + 0.5) and len(train) + len(test) == classes * 4
    assert not {item.stem for item in train} & {item.stem for item in test}
    assert len({item.payload["label"] for item in test}) == classes


@pytest.mark.parametrize("name", [name for name in SEEDED if name != "fgscr42"])
def test_published_counts_are_those_of_the_usual_share(name):
    whole = {"resisc45": 31_500, "eurosat": 27_000, "whu-rs19": 1_005, "rsscn7": 2_800}[name]
    usual, other = converters.get(name), converters.get(name, train_share=0.33)
    assert usual.published("train").images + usual.published("test").images == whole
    assert other.published("train").images is None


@pytest.mark.parametrize("name", WHOLE)
def test_evaluation_only_sets_are_all_test(fake, name):
    assert converters.facts(name).evaluation_only and converters.get(name).options() == {}
    found = discover(name, fake(name), "test")
    counts = Counter(item.payload["label"] for item in found.items)
    assert len(counts) == len(converters.facts(name).classes) and len(set(counts.values())) == 1
    with pytest.raises(UserError, match="no split 'train'"):
        discover(name, found.items[0].image.parent)


@pytest.mark.parametrize("name", [*SEEDED, *WHOLE])
def test_every_label_has_a_readable_category(name):
    facts = converters.facts(name)
    assert len(facts.categories) == len(facts.classes)
    assert not any("_" in category or "." in category or category != category.strip() for category in facts.categories)


@pytest.mark.parametrize("name", [*SEEDED, *WHOLE])
def test_class_folders_without_anything_above(fake, name, tmp_path):
    root = fake(name)
    split = converters.facts(name).splits[0]
    usual = discover(name, root, split).items
    parents = {item.image.parent.parent for item in usual}
    assert len(parents) == 1
    moved = shutil.move(parents.pop(), tmp_path / "pictures")
    assert [item.stem for item in discover(name, moved, split).items] == [item.stem for item in usual]


def test_folders_of_the_user_s_own_split_are_kept_and_said(fake):
    root = fake("resisc45")
    whole = root / "NWPU-RESISC45"
    for split, numbers in (("train", ("001", "002")), ("test", ("003",))):
        for path in whole.glob("*/*.jpg"):
            if path.stem.endswith(numbers):
                target = root / "NWPU-RESISC45_split" / split / path.parent.name / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    shutil.rmtree(whole)
    train, test = discover("resisc45", root), discover("resisc45", root, "test")
    assert (len(train.items), len(test.items)) == (90, 45)
    assert any("split was taken from the folder" in note for note in test.notes)


def test_resisc45_spellings_of_folders(fake):
    root = fake("resisc45")
    folder = root / "NWPU-RESISC45"
    (folder / "baseball_diamond").rename(folder / "Baseball Diamond")
    (folder / "sea_ice").rename(folder / "seaice")
    found = discover("resisc45", root)
    assert found.problems == () and len({item.payload["label"] for item in found.items}) == 45
    item = next(item for item in found.items if item.stem.startswith("baseball"))
    known = converters.get("resisc45").read(item)
    assert (known.label, known.source_label) == ("baseball diamond", "baseball_diamond")


def test_names_that_may_repeat_get_their_class_in_front(fake):
    root = fake("fgscr42")
    stems = [item.stem for split in ("train", "test") for item in discover("fgscr42", root, split).items]
    assert len(stems) == len(set(stems)) and "nimitzclassaircraftcarrier-1" in stems
    numbers = {item.stem.split("-")[1] for item in discover("fgscr42", root, "test").items}
    assert len(numbers) == 4, "the cut must not take the same file name out of every class"


def test_fgscr42_keeps_the_source_s_spelling_and_takes_folders_without_numbers(fake):
    root = fake("fgscr42")
    folder = root / "FGSCR-42" / "005.Charles_de_Gaulle_aricraft_carrier"
    folder.rename(folder.with_name("Charles_de_Gaulle_aricraft_carrier"))
    found = discover("fgscr42", root)
    assert found.problems == ()
    item = next(item for item in found.items if item.stem.startswith("charles"))
    known = converters.get("fgscr42").read(item)
    assert known.label == "Charles de Gaulle aircraft carrier"
    assert known.source_label == "005.Charles_de_Gaulle_aricraft_carrier"


def test_whu_rs19_has_two_small_initials(fake):
    root = fake("whu-rs19")
    assert {"footballField", "railwayStation"} <= {path.name for path in (root / "WHU-RS19").iterdir()}
    labels = {converters.get("whu-rs19").read(item).label for item in discover("whu-rs19", root).items}
    assert {"football field", "railway station"} <= labels


def test_aid_checks_names_and_ignores_junk(fake):
    root = fake("aid")
    folder = root / "AID" / "RailwayStation"
    (folder / "railwaystation_1.jpg").rename(folder / "resort_9.jpg")
    found = discover("aid", root, "test")
    assert (root / "AID" / ".DS_Store").is_file()
    reasons = [reason for _, reason in found.shared_problems]
    assert reasons == ["file name says another class than its folder 'RailwayStation'"] and found.problems == ()
    assert len(found.items) == 59


@pytest.mark.parametrize("spelling", ["circle_farmland", "CircleFarmland", "circle-farmland"])
def test_nasc_tg2_folders_match_loosely(fake, spelling):
    root = fake("nasc-tg2")
    (root / "NaSC-TG2" / "circle farmland").rename(root / "NaSC-TG2" / spelling)
    assert len(discover("nasc-tg2", root, "test").items) == 40


def test_eurosat_products_are_the_same_scenes_in_the_same_split(fake):
    root = fake("eurosat", multiband=True)
    rgb, ms = discover("eurosat", root), discover("eurosat", root, product="ms")
    assert [item.stem for item in rgb.items] == [item.stem for item in ms.items]
    assert {item.image.suffix for item in rgb.items} == {".jpg"} and {item.image.suffix for item in ms.items} == {
        ".tif"
    }
    assert converters.get("eurosat").bands is None
    bands = converters.get("eurosat", product="ms").bands
    assert (bands.bands, bands.low, bands.high) == ((4, 3, 2), 0.0, 2750.0)


def test_eurosat_without_the_product_asked_for(fake):
    with pytest.raises(UserError, match="sentinel_2/tif"):
        discover("eurosat", fake("eurosat"), product="ms")


def test_genuine_rsscn7(genuine):
    found = {split: discover("rsscn7", genuine("rsscn7"), split) for split in ("train", "test")}
    assert [len(part.items) for part in found.values()] == [28, 28] and found["train"].problems == ()
    converter = converters.get("rsscn7")
    labels = Counter(converter.read(item).label for part in found.values() for item in part.items)
    assert set(labels.values()) == {8} and "river or lake" in labels
    with Image.open(found["train"].items[0].image) as image:
        assert (image.mode, image.size) == ("RGB", (400, 400))


def test_rsscn7_letter_of_another_class(fake):
    root = fake("rsscn7")
    (root / "aGrass" / "a001.jpg").rename(root / "aGrass" / "b999.jpg")
    assert [reason for _, reason in discover("rsscn7", root).shared_problems] == [
        "file name says another class than its folder 'aGrass'"
    ]


@pytest.mark.parametrize(
    "folders", [("train", "validation", "test"), ("Train", "VALID", "Testing"), ("training", "val")]
)
def test_folders_of_splits_are_the_splits(fake, folders):
    root = fake("whu-rs19", images_per_class=6, split_folders=folders)
    splits = ("train", "val", "test")[: len(folders)]
    converter = converters.get("whu-rs19")
    assert tuple(converter.splits_in(root)) == splits
    seen = set()
    for split, folder in zip(splits, folders, strict=True):
        found = converter.discover(root, split)
        assert len(found.items) == 19 * 6 // len(folders) and found.problems == found.shared_problems == ()
        assert {item.image.parent.parent.name for item in found.items} == {folder}
        assert any(f"split was taken from the folder {root / folder}," in note for note in found.notes)
        assert converter.published_found(split, found).images is None
        seen |= {item.image for item in found.items}
    assert len(seen) == 19 * 6


def test_two_spellings_of_one_split_are_read_together(fake):
    root = fake("whu-rs19", images_per_class=4, split_folders=("train", "val", "validation", "test"))
    found = discover("whu-rs19", root, "val")
    assert len(found.items) == 38 and found.problems == ()


def test_a_split_that_no_folder_has_is_a_mistake(fake):
    root = fake("whu-rs19", split_folders=("train", "val"))
    with pytest.raises(UserError, match=r"no split 'test' at .*its splits are train, val"):
        discover("whu-rs19", root, "test")


def test_an_evaluation_set_in_folders_of_splits_is_one_split(fake):
    root = fake("aid", images_per_class=3, split_folders=("train", "val", "test"))
    found = discover("aid", root, "test")
    assert len(found.items) == 90 and any("read together" in note for note in found.notes)
    assert converters.get("aid").published_found("test", found).images == 10_000


def test_three_folders_are_built_as_three_splits(fake, tmp_path):
    root = fake("ucmerced", images_per_class=3, split_folders=("train", "validation", "test"))
    told = CliRunner().invoke(cli.main, ["scan", "ucmerced", str(root)])
    assert told.exit_code == 0 and "\nval " in told.output
    (command,) = commands_in(told.output)
    words = words_of(command.replace("DIR", str(tmp_path / "out")))[1:]
    assert CliRunner().invoke(cli.main, [*words, "--workers", "1"]).exit_code == 0
    splits = load_manifest(tmp_path / "out").sources["ucmerced"].splits
    assert {split: counts.records for split, counts in splits.items()} == {"train": 21, "val": 21, "test": 21}
    asked = CliRunner().invoke(cli.main, [*words, "--dry-run", "--set", "sources.0.splits=[val]"])
    assert asked.exit_code == 0 and "train" not in asked.output.partition("shards")[0]


@pytest.mark.parametrize(("name", "options"), [("ucmerced", {}), ("eurosat", {"product": "ms"}), ("resisc45", {})])
def test_lists_of_another_project_say_the_split(fake, name, options):
    root = fake(name, images_per_class=4, layout="torchgeo", **({"multiband": True} if options else {}))
    converter = converters.get(name, **options)
    classes = len(converter.facts.classes)
    found = {split: converter.discover(root, split) for split in converter.splits_in(root)}
    assert {split: len(part.items) for split, part in found.items()} == {
        "train": 2 * classes,
        "val": classes,
        "test": classes,
    }
    for split, part in found.items():
        list_name = f"{converter.list_name}-{split}.txt"
        named = {line.rpartition(".")[0] for line in (root / list_name).read_text().split()}
        assert {item.stem for item in part.items} == named and part.problems == ()
        assert any(list_name in note and "not cut by the seeded rule" in note for note in part.notes)
    seeded = converters.get(name, given_splits=False, **options)
    assert seeded.options() == converter.options()
    assert tuple(seeded.splits_in(root)) == ("train", "test")
    assert sum(len(seeded.discover(root, split).items) for split in ("train", "test")) == 4 * classes


def test_what_lists_of_another_project_get_wrong_is_said(fake):
    root = fake("ucmerced", images_per_class=3, layout="torchgeo")
    with (root / "uc_merced-val.txt").open("a") as file:
        file.write("river00.tif\nriver99.tif\n../../etc/passwd\n")
    (root / "uc_merced-test.txt").unlink()
    found = discover("ucmerced", root, "val")
    assert [reason for _, reason in found.problems] == [
        "line 22: river00.tif is in the list of train too",
        "line 23: river99.tif has no image",
        "line 24: ../../etc/passwd has no image",
    ]
    assert [type(problem).__name__ for problem in found.problems] == ["tuple", "Absent", "Absent"]
    assert any("21 images are named by no list" in note for note in found.notes)
    assert "river00" in {item.stem for item in discover("ucmerced", root).items}


def test_the_seeded_rule_over_folders_of_splits(fake, tmp_path):
    root = fake("eurosat")
    usual = [[item.stem for item in discover("eurosat", root, split).items] for split in ("train", "test")]
    shutil.rmtree(root)
    root = fake("eurosat", split_folders=("train", "val"))
    assert tuple(converters.get("eurosat", given_splits=False).splits_in(root)) == ("train", "test")
    found = [discover("eurosat", root, split, given_splits=False) for split in ("train", "test")]
    assert [[item.stem for item in part.items] for part in found] == usual
    assert any("they are not taken for splits" in note for note in found[0].notes)
