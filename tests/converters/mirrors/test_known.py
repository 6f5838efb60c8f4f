"""The known copies of sources on the Hub: read as the source itself, or refused with what is missing.

The fakes have the schemas that the copies' own pages state; what is expected is what the source's own layout gives.
"""

import json
import re

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import cli
import converters
from converters.mirrors.known import Mirror, load_mirrors
from converters.mirrors.named import locate_mirror
from mmrs.errors import UserError
from mmrs.imaging.row_images import read_row_images
from mmrs.shards.manifest import load_manifest
from tests.support import mirrors
from tests.support.hints import commands_in, words_of
from tests.support.mirrors import read_source

RSICD_WORDS = {
    "arampacha/rsicd": {"train": "train", "val": "valid", "test": "test"},
    "danielz01/rsicd": {"train": "train", "val": "val"},
}
# As the cards of the copies spell them.
CARD_CLASSES = {
    "whu-rs19": "airport, beach, bridge, commercial, desert, farmland, football field, forest, industrial, "
    "meadow, mountain, park, parking, pond, port, railway station, residential, river, viaduct",
    "clrs": "airport, bare land, beach, bridge, commercial, desert, farmland, forest, golf course, highway, "
    "industrial, meadow, mountain, overpass, park, parking, playground, port, railway, railway station, "
    "residential, river, runway, stadium, storage tank",
    "nasc-tg2": "beach, circular farmland, cloud, desert, forest, mountain, rectangular farmland, residential, river, "
    "snowberg",
}


def mmrs(*words):
    return CliRunner().invoke(cli.main, ["--quiet", *map(str, words)])


@pytest.fixture(scope="module", params=RSICD_WORDS)
def rsicd(request, _fakes, tmp_path_factory):
    """A copy of RSICD, the source that it was made of, and its name."""
    source = _fakes("rsicd")
    root = tmp_path_factory.mktemp("copies") / "copy"
    return mirrors.captions_copy(request.param, source, root, RSICD_WORDS[request.param]), source, request.param


def test_every_known_copy_is_of_a_source_and_its_splits():
    for name, known in load_mirrors().items():
        source = converters.get(name)
        names = [mirror.repo for mirror in known.copies]
        assert len(set(names)) == len(names)
        for mirror in known.copies:
            splits = set(mirror.splits.values())
            # Splits of scenes that a copy made itself may be three where the seeded rule has two.
            assert splits <= {*source.splits, "val"}, f"{mirror.repo}: {splits}"
            assert mirror.refused or mirror.evidence.strip()


def test_a_copy_of_captions_is_the_source_itself(rsicd):
    copy, source, repo = rsicd
    found = converters.get("rsicd")
    assert tuple(found.splits_in(copy)) == tuple(RSICD_WORDS[repo])
    for split in RSICD_WORDS[repo]:
        expected, read = read_source("rsicd", source, split), read_source("rsicd", copy, split)
        contents = dict(read_row_images([item.image for item, _ in read.values()]))
        assert read.keys() == expected.keys() and read
        for stem, (item, known) in read.items():
            file, wanted = expected[stem]
            assert contents[item.image] == file.file.read_bytes()
            assert (known.captions, known.metadata) == (wanted.captions, wanted.metadata)
            kept_id = wanted.provenance.original_id if repo == "danielz01/rsicd" else file.file.name
            assert known.provenance.original_id == kept_id
        whole = found.discover(copy, split)
        told = [reason for _, reason in found.discover(source, split).details]
        assert [reason for _, reason in whole.details] == [reason.partition(": ")[2] for reason in told]
        assert whole.problems == whole.shared_problems == ()
        assert f"was read as the copy {repo}" in whole.notes[0]


def test_a_copy_without_a_split_says_so(rsicd):
    copy, _, repo = rsicd
    if repo != "danielz01/rsicd":
        assert len(converters.get("rsicd").discover(copy, "test").items) == 5
        return
    with pytest.raises(UserError, match=re.escape("no split 'test'")):
        converters.get("rsicd").discover(copy, "test")
    assert "which lacks the split test" in converters.get("rsicd").discover(copy, "val").notes[0]


def test_a_copy_is_scanned_and_built_by_the_commands_that_are_told(rsicd, tmp_path):
    copy, _, repo = rsicd
    told = mmrs("scan", "rsicd", copy)
    assert told.exit_code == 0, told.output
    (command,) = commands_in(told.output)
    words = [*words_of(command.replace("DIR", str(tmp_path / "out")))[1:], "--workers", "1"]
    assert mmrs(*words).exit_code == 0
    splits = load_manifest(tmp_path / "out").sources["rsicd"].splits
    sizes = {"train": 16, "val": 4, "test": 5}
    assert {split: part.records for split, part in splits.items()} == {key: sizes[key] for key in RSICD_WORDS[repo]}


def test_a_copy_is_read_where_the_cache_of_the_hub_has_it(rsicd, tmp_path):
    copy, _, repo = rsicd
    cache = tmp_path / f"datasets--{repo.replace('/', '--')}"
    snapshot = cache / "snapshots/820466c/data"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for number, path in enumerate(sorted((copy / "data").iterdir())):
        (cache / f"blobs/{number}").write_bytes(path.read_bytes())
        (snapshot / path.name).symlink_to(f"../../../blobs/{number}")
    closed = mmrs("scan", "rsicd", snapshot.parent)
    assert closed.exit_code == 2 and "--follow-links" in closed.output
    told = mmrs("scan", "rsicd", snapshot.parent, "--follow-links", "--json")
    assert told.exit_code == 0, told.output
    assert [split["images"] for split in json.loads(told.output)["splits"]] == [16, 4, 5][: len(RSICD_WORDS[repo])]


def changed(copy, tmp_path, change):
    """The copy with its tables changed."""
    for path in sorted((copy / "data").glob("*.parquet")):
        out = tmp_path / "changed/data" / path.name
        out.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(change(pq.read_table(path)), out)
    return tmp_path / "changed"


def test_a_lost_or_renamed_column_is_told_with_what_it_was_for(rsicd, tmp_path):
    copy, _, repo = rsicd
    renamed = changed(
        copy,
        tmp_path,
        lambda table: table.rename_columns([{"captions": "text"}.get(name, name) for name in table.column_names]),
    )
    told = mmrs("scan", "rsicd", renamed)
    assert told.exit_code == 2
    for part in ("captions (their sentences) is missing", repo, "text", "mmrs scan generic"):
        assert part in told.output


@pytest.mark.parametrize("lost", ["column", "cells"])
def test_without_the_names_that_a_join_needs_a_copy_is_refused(rsicd, tmp_path, lost):
    copy, _, repo = rsicd
    column = load_mirrors()["rsicd"].copies[list(RSICD_WORDS).index(repo)].columns["name"]

    def change(table):
        place = table.column_names.index(column)
        kept = table.remove_column(place)
        return kept if lost == "column" else kept.add_column(place, column, [[None] * len(table)])

    told = mmrs("scan", "rsicd", changed(copy, tmp_path, change))
    assert told.exit_code == 2
    for part in ("RSIVQA", "no copy could be told", "arampacha/rsicd", "mmrs fetch rsicd --to DATA --dry-run"):
        assert part in told.output


@pytest.mark.parametrize("folder", ["rsicd_deduplicate_95", "datasets--Braddy--rsicd_deduplicate_97/snapshots/be1c102"])
def test_an_altered_copy_is_refused_by_the_name_of_its_folder(rsicd, tmp_path, folder):
    root = tmp_path / folder
    root.parent.mkdir(parents=True, exist_ok=True)
    root.symlink_to(rsicd[0])
    told = mmrs("scan", "rsicd", root)
    assert told.exit_code == 2 and "sentences that resemble others were taken out" in told.output


@pytest.mark.parametrize(
    ("source", "folder", "features", "reason"),
    [
        ("rsicd", "EarthDial-Dataset/Image_captioning/RSICD_Captions", mirrors.EARTHDIAL_FEATURES, "without the name"),
        ("ucm-captions", "EarthDial-Dataset/Image_captioning/UCM", mirrors.EARTHDIAL_FEATURES, "without the name"),
        ("rsvqa-lr", "RSVQA-LR-2k", mirrors.QUESTION_FEATURES, "without the number of the image"),
        ("rsvqa-lr", "datasets--dmarsili--RSVQA-LR-2k/snapshots/a", mirrors.QUESTION_FEATURES, "without the number"),
    ],
)
def test_a_copy_without_names_of_images_is_refused_by_the_name_of_its_folder(
    source, folder, features, reason, tmp_path
):
    cells = {name: "x" for name in features} | {"image": {"bytes": b"x"}, "jpg": {"bytes": b"x"}}
    row = {name: cells[name] for name in features}
    mirrors.write_copy(tmp_path / folder, features, {"validation": [row, row]})
    mirrors.write_copy(tmp_path / "elsewhere", features, {"validation": [row, row]})
    told, other = mmrs("scan", source, tmp_path / folder), mmrs("scan", source, tmp_path / "elsewhere")
    assert told.exit_code == other.exit_code == 2 and reason not in other.output
    assert reason in told.output and f"mmrs fetch {source} --to DATA --dry-run" in told.output


def test_sentences_that_were_taken_out_are_noted(rsicd, tmp_path):
    def change(table):
        place = table.column_names.index("captions")
        shorter = [sentences[:2] for sentences in table.column("captions").to_pylist()]
        return table.set_column(place, "captions", [shorter])

    copy = changed(rsicd[0], tmp_path, change)
    (_, note) = converters.get("rsicd").discover(copy, "val").notes
    assert note == "4 images of val have not the 5 sentences of the source: the copy may be altered"


def test_other_tables_are_no_copy_of_a_source_without_known_ones(rsicd):
    assert locate_mirror("sydney-captions", rsicd[0]) is None
    with pytest.raises(UserError, match="sydney-captions"):
        converters.get("sydney-captions").discover(rsicd[0], "train")


def test_a_copy_of_expressions_needs_an_option_and_is_then_the_source(fake, tmp_path):
    source = fake("dior-rsvg")
    copy = mirrors.rsvg_copy(source, tmp_path / "copy")
    told = mmrs("scan", "dior-rsvg", copy)
    assert told.exit_code == 2 and "not those of the official lists" in told.output
    assert "--option mirror_splits=true" in told.output
    disjoint = mmrs("scan", "dior-rsvg", copy, "--option", "mirror_splits=true", "--option", "image_disjoint=true")
    assert disjoint.exit_code == 2 and "needs the official lists" in disjoint.output
    allowed = mmrs("scan", "dior-rsvg", copy, "--option", "mirror_splits=true")
    assert allowed.exit_code == 0 and "the splits are those of the copy" in allowed.output
    for split in ("train", "val", "test"):
        expected = read_source("dior-rsvg", source, split)
        read = read_source("dior-rsvg", copy, split, mirror_splits=True)
        assert read.keys() == expected.keys() and read
        for stem, (_, known) in read.items():
            wanted = expected[stem][1]
            assert (known.objects, known.expressions, known.unread) == (wanted.objects, wanted.expressions, ())


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ({"bbox": [[1, 2, 3]]}, "4 edges are expected"),
        ({"bbox": [[30, 2, 3, 9]]}, "box"),
        ({"captions": [" "]}, "has the expression"),
        ({"categories": ["zebra"]}, "zebra"),
        ({"categories": ["ship", "ship"]}, "1 boxes with 2 classes"),
    ],
)
def test_a_wrong_object_of_a_copy_costs_itself(fake, tmp_path, objects, reason):
    good = {"bbox": [[1, 2, 30, 40]], "captions": ["A ship"], "categories": ["ship"], "categories_normalized": ["Ship"]}
    image = next((fake("dior-rsvg") / "DIOR_RSVG/JPEGImages").glob("*.jpg")).read_bytes()
    row = {"image": {"bytes": image, "path": None}, "path": "00005.jpg", "objects": good | objects}
    copy = mirrors.write_copy(tmp_path / "copy", mirrors.RSVG_FEATURES, {"train": [row]})
    source = converters.get("dior-rsvg", mirror_splits=True)
    (known,) = source.read_block(source.discover(copy, "train").items)
    told = [row.reason for row in known.unread] if not isinstance(known, Exception) else [known.reason]
    assert len(told) == 1 and reason in told[0]


def test_a_copy_of_scenes_that_kept_names_is_read_with_its_splits(fake, tmp_path):
    labels = tuple(converters.facts("resisc45").classes)
    folders = fake("resisc45", images_per_class=5, classes=("airport", "sea_ice"))
    words = ("train", "validation", "test")
    copy = mirrors.classes_copy("resisc45", folders, tmp_path / "copy", words, labels, named=True)
    source = converters.get("resisc45")
    expected = {
        item.stem: item.payload for split in ("train", "test") for item in source.discover(folders, split).items
    }
    (timm, _) = load_mirrors()["resisc45"].copies
    assert {timm.splits[word] for word in words} == set(source.splits_in(copy))
    read = {
        item.stem: item.payload for split in ("train", "val", "test") for item in source.discover(copy, split).items
    }
    assert read == expected and len(read) == 10


def test_a_copy_of_scenes_that_lost_names_is_refused_where_a_join_needs_them(fake, tmp_path):
    labels = [label.replace("_", " ") for label in converters.facts("resisc45").classes]
    folders = fake("resisc45", images_per_class=5, classes=("airport", "sea_ice"))
    copy = mirrors.classes_copy("resisc45", folders, tmp_path / "copy", ("train",), labels, named=False)
    told = mmrs("scan", "resisc45", copy)
    assert told.exit_code == 2 and "NWPU-Captions" in told.output and "take tables that keep them" in told.output


@pytest.mark.parametrize("name", CARD_CLASSES)
def test_a_copy_of_scenes_has_the_labels_of_the_source(fake, tmp_path, name):
    folders = fake(name, images_per_class=1)
    classes = CARD_CLASSES[name].split(", ")
    copy = mirrors.classes_copy(name, folders, tmp_path / "copy", ("train",), classes, named=False)
    source = converters.get(name)
    found = source.discover(copy, source.splits_in(copy)[0])
    assert found.problems == () and len(found.items) == len(classes) == len(source.facts.classes)
    assert {item.payload["label"] for item in found.items} == set(source.facts.classes)


def test_facts_of_a_copy_name_images_and_splits_or_say_why_it_is_refused():
    with pytest.raises(ValueError, match="neither `refused`"):
        Mirror(repo="a/b", evidence="x", read="2026-12-01", columns={"name": "n"}, splits={"train": "train"})


@pytest.mark.nightly  # datasets takes seconds to load
def test_the_fakes_are_what_the_library_of_the_hub_reads(tmp_path):
    datasets = pytest.importorskip("datasets")
    for repo, features in {**mirrors.CAPTION_FEATURES, "danielz01/DIOR-RSVG": mirrors.RSVG_FEATURES}.items():
        root = mirrors.write_copy(tmp_path / repo, features, {"train": []})
        schema = pq.read_schema(root / "data/train-00000-of-00001.parquet")
        assert datasets.Features.from_arrow_schema(schema) == datasets.Features.from_dict(features)
