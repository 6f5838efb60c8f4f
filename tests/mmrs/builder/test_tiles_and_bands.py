"""Deep scenes and multi-band files through a whole build."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import RunFailure
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import BandSelection
from mmrs.verify.dataset import verify_dataset
from tests.support.rasters import write_tiff
from tests.support.rendering import render_to_8bit
from tests.support.sources import ToySource, toy_build

QUIET = Progress(quiet=True)
RECIPE = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 30_000, "quarantine_ceiling": 1.0})
RNG = np.random.default_rng(5)


def write_scene(root, stem, pixels):
    folder = root / "train"
    folder.mkdir(parents=True, exist_ok=True)
    write_tiff(folder / f"{stem}.tiff", pixels)
    height, width = pixels.shape[-2:]
    boxes = [[x, y, x + 8, y + 8] for x in range(2, width - 8, 20) for y in range(2, height - 8, 20)]
    content = {"size": [width, height], "objects": [["ship", box] for box in boxes]}
    (folder / f"{stem}.json").write_text(json.dumps(content))


def run(tmp_path, source):
    plan = plan_build([toy_build(tmp_path / "toy", source, ("train",))], RECIPE, 1, QUIET)
    result = build(plan, RECIPE, tmp_path / "out", 1, QUIET)
    assert verify_dataset(tmp_path / "out", 1, QUIET).findings == ()
    data = ShardSet(tmp_path / "out")
    rows = data.table("train").to_pylist() if result.manifest.shards else []
    return result, [(data.record(row), np.asarray(Image.open(io.BytesIO(data.image(row))))) for row in rows]


def test_tiles_of_a_16_bit_scene_share_one_rule(tmp_path):
    scene = RNG.rayleigh(300, (100, 120)).astype(np.uint16)
    scene[:, 60:] //= 20
    write_scene(tmp_path / "toy", "one", scene)
    write_scene(tmp_path / "toy", "two", scene * 3)
    _, stored = run(tmp_path, ToySource(tile_pixels=64, sensor="sar", tasks=("detection-hbb",)))
    rules = {record.image.parent: json.dumps(record.image.render) for record, _ in stored}
    assert len(rules) == 2 and len({*rules.values()}) == 2 and len(stored) > 6
    for record, pixels in stored:
        assert json.dumps(record.image.render) == rules[record.image.parent]
        window, values = record.image.window, scene * (3 if record.image.parent == "two" else 1)
        expected = render_to_8bit(values, "sar")[0]
        cut = expected[window.y : window.y + window.height, window.x : window.x + window.width]
        np.testing.assert_array_equal(pixels, cut)
    assert not list((tmp_path / "out").glob(".tmp-*"))


def test_a_scene_without_data_costs_its_tiles_only(tmp_path):
    write_scene(tmp_path / "toy", "empty", np.zeros((100, 120), np.uint16))
    write_scene(tmp_path / "toy", "full", RNG.integers(1, 999, (100, 120)).astype(np.uint16))
    result, stored = run(tmp_path, ToySource(tile_pixels=64, sensor="sar"))
    assert {record.image.parent for record, _ in stored} == {"full"}
    assert [(entry.path, entry.reason) for entry in result.quarantine] == [
        ("train/empty.tiff", "image has no valid pixel (all NaN or nodata)")
    ]


def test_a_sources_band_selection_reaches_survey_and_store(tmp_path):
    scene = RNG.integers(0, 4000, (13, 64, 64)).astype(np.uint16)
    write_scene(tmp_path / "toy", "sentinel", scene)
    _, ((record, pixels),) = run(tmp_path, ToySource(bands=BandSelection((4, 3, 2), 0, 3000)))
    assert record.image.render["bands"] == [4, 3, 2]
    expected = np.floor(np.clip(np.moveaxis(scene[[3, 2, 1]], 0, -1) / 3000, 0, 1) * 255 + 0.5)
    np.testing.assert_array_equal(pixels, expected)
    with pytest.raises(RunFailure, match="no image can be stored"):
        run(tmp_path, ToySource(revision=2))
    assert "13 bands" in (tmp_path / "out" / "quarantine.jsonl").read_text()


def test_a_scene_with_an_unread_row_gives_no_negative_tile_and_reports_the_row_once(tmp_path):
    keep_all = ToySource(tile_pixels=64, tasks=("detection-hbb",), keep_empty=1.0)
    for stem, unread in (("whole", []), ("partly", [[2, "unknown class 'kar'"]]), ("lost", [[1, "4 words"]])):
        write_scene(tmp_path / "toy", stem, RNG.integers(0, 255, (3, 100, 120)).astype(np.uint8))
        path = tmp_path / "toy" / "train" / f"{stem}.json"
        objects = [] if stem == "lost" else [["ship", [2, 2, 10, 10]]]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"objects": objects, "unread": unread}))
    result, stored = run(tmp_path, keep_all)
    tiles = {
        stem: [record for record, _ in stored if record.image.parent == stem] for stem in ("whole", "partly", "lost")
    }
    assert len(tiles["whole"]) > 1 and len(tiles["partly"]) == 1 and not tiles["lost"]
    assert tiles["partly"][0].unread_rows == 1 and tiles["partly"][0].dialogues == ()
    assert all(record.dialogues for record in tiles["whole"])
    reasons = [(entry.level, entry.line, entry.reason) for entry in result.quarantine]
    assert sorted(reasons) == [("object", 1, "lost: 4 words"), ("object", 2, "partly: unknown class 'kar'")]
    assert result.manifest.sources["toy"].splits["train"].quarantined_objects == 2
