"""Every SAR and undocumented infrared source through a whole build: stored, verified, rule stated."""

import pytest

import converters
from converters import samples
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.source import SourceBuild
from mmrs.verify.dataset import verify_dataset

QUIET = Progress(quiet=True)
SOURCES = {
    "ssdd": ({"layouts": ("official", "mmrotate")}, ({}, {"layout": "mmrotate"}, {"layout": "mmrotate_json"})),
    "hrsid": ({"flavours": ("jpg", "png")}, ({"flavour": "jpg"}, {"flavour": "png"})),
    "air-sarship": ({}, ({},)),
    "sea-shipping": ({"annotations": "yolo"}, ({},)),
    "infrared-security": ({}, ({},)),
    "aerial-mancar": ({}, ({},)),
    "double-light-vehicle": ({}, ({},)),
    "oceanic-ship": ({}, ({},)),
}
CASES = [(name, sample, options) for name, (sample, every) in SOURCES.items() for options in every]


@pytest.mark.parametrize(("name", "sample", "options"), CASES, ids=[f"{n}-{o}" for n, _, o in CASES])
def test_build(fake, tmp_path, name, sample, options):
    source = converters.get(name, **options)
    recipe = BuildRecipe.model_validate({"sources": [{"name": name}], "quarantine_ceiling": 0.0})
    builds = [SourceBuild(source, fake(name, **sample), tuple(source.splits))]
    result = build(plan_build(builds, recipe, 1, QUIET), recipe, tmp_path / "out", 1, QUIET)
    assert verify_dataset(tmp_path / "out", 1, QUIET).findings == () and result.quarantine == ()
    data = ShardSet(tmp_path / "out")
    for split in source.splits:
        records = [data.record(row) for row in data.table(split).to_pylist()]
        assert records and {record.sensor for record in records} == {source.facts.sensor}
        stretched = [record.image.render["kind"] for record in records if record.image.render]
        assert stretched == (["20*log10"] * len(records) if name == "air-sarship" else [])
        tasks = {dialogue.task for record in records for dialogue in record.dialogues}
        assert tasks == set(source.tasks)


@pytest.mark.parametrize("name", SOURCES)
def test_equal_seeds_give_equal_bytes(tmp_path, name):
    written = []
    for folder, seed in (("a", 1), ("b", 1), ("c", 2)):
        samples.write(name, tmp_path / folder, seed=seed, **SOURCES[name][0])
        files = sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())
        written.append({str(path.relative_to(tmp_path / folder)): path.read_bytes() for path in files})
    assert written[0] == written[1] != written[2]
