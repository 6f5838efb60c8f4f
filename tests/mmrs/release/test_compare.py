import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.record import Annotations, Provenance
from mmrs.release.compare import compare_release, image_name, plain_text
from mmrs.source import Discovery, Item, SourceBuild
from tests.support.places import needs_servers, served

QUIET = Progress(quiet=True)


@dataclass(frozen=True)
class Captions:
    """RSICD rebuilt from the generated tree: one image is missing, one is new, one caption is worded differently."""

    name: str = "rsicd"
    version: int = 1
    sensor: str = "optical"
    licence: str = "unknown"
    tasks: tuple[str, ...] = ("captioning",)
    splits: tuple[str, ...] = ("train",)
    categories: tuple[str, ...] = ()
    tiling = None
    bands = None

    def options(self):
        return {}

    def discover(self, root: Path, split: str) -> Discovery:
        rows = json.loads((root / "data/json/caption/caption_rsicd.json").read_text("utf-8-sig"))
        items = [Item(Path(row["image"]).stem, root / row["image"], (), row["conversations"]) for row in rows[:3]]
        extra = root / "data/detection/dior/images/0000000.jpg"
        return Discovery((*items, Item("extra", extra, (), [{"from": "gpt", "value": "new"}])))

    def read(self, item: Item) -> Annotations:
        texts = [turn["value"] for turn in item.payload if turn["from"] == "gpt"]
        if item.stem == "00001":
            texts[0] = texts[0].upper().removesuffix(" .") + "."
            texts[1] = "something else"
        return Annotations(captions=tuple(dict.fromkeys(texts)), provenance=Provenance(original_id=item.image.name))


@pytest.fixture(scope="module")
def dataset(unpacked, tmp_path_factory):
    out = tmp_path_factory.mktemp("rebuilt")
    recipe = BuildRecipe.model_validate({"sources": [{"name": "rsicd"}], "dialect": "mmrs1m"})
    plan = plan_build([SourceBuild(Captions(), unpacked, ("train",))], recipe, 1, QUIET)
    build(plan, recipe, out, 1, QUIET)
    return out


def test_agreement_by_source(ingested, dataset):
    report = compare_release(ingested, dataset)
    (one,) = [source for source in report.sources if source.source == "rsicd"]
    assert (one.images_both, one.images_only_release, one.images_only_rebuilt, one.same_bytes) == (3, 1, 1, 3)
    part = one.tasks["captioning"]
    # Row 0 repeats a reference, which the rebuild has once; row 1 differs in two captions of three.
    assert (part.exact, part.normalised, part.only_release, part.only_rebuilt) == (2 + 1 + 4, 1, 2, 1)
    assert (part.release_unmatched, part.rebuilt_unmatched) == (2, 1)
    assert part.share == pytest.approx(8 / 10)
    assert any("only in the release" in example for example in part.examples)


@needs_servers
def test_a_rebuild_at_a_url(ingested, dataset, tmp_path, monkeypatch):
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with served(dataset, tmp_path / "nginx") as places:
        for kind in ("http", "s3"):
            with places.at(kind, monkeypatch) as location:
                assert compare_release(ingested, location) == compare_release(ingested, dataset)


def test_sources_that_were_not_rebuilt_are_named(ingested, dataset):
    report = compare_release(ingested, dataset)
    assert len(report.sources) == 25
    assert any("not in the rebuild" in note and "dior" in note for note in report.notes)
    assert "80.0%" in report.render(False)
    assert len(json.loads(report.render(True))["sources"]) == 25


def test_image_names():
    assert image_name("data/detection/dotav2/images/P0003__1__0___824.png") == "p0003__0___824"
    assert image_name("data/detection/VisDrone/images/A__0.8__256___0.png") == "a__0.8__256___0"
    assert image_name("data\\caption\\rsicd\\Airport_1.jpg") == image_name("airport_1.x")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("There are <p>Two ships</p>[0.5,0.25,0.75,.5]", "there are two ships [0.500,0.251,0.75,0.50]."),
        ("Is it rural? Answer the question using a single word or phrase.", "is it  rural"),
        ("Please provide an one-sentence caption", "Please provide a one-sentence caption."),
        ("baseball_diamond", "Baseball diamond"),
    ],
)
def test_equal_after_normalising(first, second):
    assert plain_text(first) == plain_text(second)


def test_not_equal_after_normalising():
    assert plain_text("[0.50,0.25]") != plain_text("[0.51,0.25]")
    assert plain_text("no") != plain_text("yes")


def test_both_sides_must_be_finished(ingested, dataset, tmp_path):
    with pytest.raises(UserError, match="no finished ingest"):
        compare_release(tmp_path, dataset)
    with pytest.raises(UserError, match="no finished data set"):
        compare_release(ingested, tmp_path)
