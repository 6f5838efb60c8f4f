"""What a build says before it starts: counts that the build then keeps to."""

import json

from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, inspect_output, plan_build
from mmrs.builder.summary import describe_plan, describe_result, plan_facts, plan_json
from mmrs.progress import Progress
from mmrs.source import SourceBuild
from tests.support.sources import ToySource, write_toy

QUIET = Progress(quiet=True)


def mixed(root):
    """Twelve training images: two as PNG, one CMYK, one rotated by EXIF, one empty file."""
    write_toy(root, images=12)
    paths = sorted((root / "train").glob("*.jpg"))
    for path in paths[:2]:
        with Image.open(path) as image:
            image.save(path.with_suffix(".png"))
        path.unlink()
    with Image.open(paths[2]) as image:
        image.convert("CMYK").save(paths[2])
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(paths[3]) as image:
        image.save(paths[3], exif=exif)
    paths[4].write_bytes(b"")


def test_the_plan_counts_what_the_build_then_does(tmp_path):
    mixed(tmp_path / "toy")
    listed = tmp_path / "list.jsonl"
    lines = [{"id": name} for name in ("toy/train/train0007", "toy/train/none", "other/train/x")]
    listed.write_text("\n".join(json.dumps(line) for line in lines))
    recipe = BuildRecipe.model_validate(
        {"sources": [{"name": "toy"}], "shard_bytes": 20_000, "exclude": str(listed), "quarantine_ceiling": 1}
    )
    plan = plan_build([SourceBuild(ToySource(), tmp_path / "toy", ("train", "test"))], recipe, 1, QUIET)
    facts = plan_facts(plan, [("rsicd", "is optical")])
    train, test = facts["splits"]
    assert train["reencoded"] == {
        "jpg among png images of one source": 6,
        "mode CMYK": 1,
        "EXIF orientation 3": 1,
    }
    assert (train["items"], train["images"], train["excluded"], train["quarantined_images"]) == (11, 10, 1, 1)
    assert train["quarantine"][0]["reason"] == "image file is empty (0 bytes)"
    assert (train["trained_on"], test["trained_on"]) == (True, False)
    assert (test["images"], test["reencoded"]) == (4, {})
    assert facts["left_out"] == [{"source": "rsicd", "reason": "is optical"}]
    as_json = json.loads(plan_json(plan, inspect_output(plan, tmp_path / "out"), [("rsicd", "is optical")]))
    to_write = [{"path": task.path, "why": "not written yet", "at": []} for task in plan.tasks]
    assert as_json == facts | {"shards": {"kept": [], "to_write": to_write, "files_to_remove": []}}

    text = describe_plan(plan, [("rsicd", "is optical")])
    for words in (
        "toy/train: 6 re-encoded: jpg among png images of one source",
        "toy/train: 1 images left out by `exclude`",
        "unusable: 1 entries for quarantine.jsonl",
        "  toy/train: 1 x train/train0004.jpg: image file is empty",
        "note: 2 of 3 ids of `exclude` are no image of this plan",
        "left out: rsicd is optical",
    ):
        assert words in text

    result = build(plan, recipe, tmp_path / "out", 1, QUIET)
    counts = result.manifest.sources["toy"].splits["train"]
    assert counts.records == train["images"]
    assert counts.reencoded == sum(train["reencoded"].values())
    assert (counts.excluded, counts.quarantined_items) == (1, 1)
    assert len(result.manifest.shards) == train["shards"] + test["shards"]
    assert sum(shard.bytes for shard in result.manifest.shards) > 0.8 * (train["planned_bytes"] + test["planned_bytes"])


def test_reasons_that_differ_in_names_and_numbers_are_one_kind(tmp_path):
    write_toy(tmp_path / "toy", images=12)
    for path in sorted((tmp_path / "toy" / "train").glob("*.jpg"))[:4]:
        path.write_bytes(path.read_bytes()[: 400 + len(path.name)])
    for path in sorted((tmp_path / "toy" / "train").glob("*.json"))[4:7]:
        content = json.loads(path.read_text())
        content["objects"].append(["car", [200 + int(path.stem[-1]), 10, 240, 30]])
        path.write_text(json.dumps(content))
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "quarantine_ceiling": 1})
    plan = plan_build([SourceBuild(ToySource(), tmp_path / "toy", ("train", "test"))], recipe, 1, QUIET)
    text = describe_result(build(plan, recipe, tmp_path / "out", 1, QUIET), tmp_path / "out")
    assert f"quarantined: 7 entries in {tmp_path / 'out'}/quarantine.jsonl; by kind" in text
    assert "  toy/train: 4 x train/train0000.jpg: image cannot be read: " in text
    assert "  toy/train: 3 x train/train0004.json: train0004: object " in text
    assert "more kinds" not in text
