"""Croissant metadata says what lies in the repository; mlcroissant, where it is installed, reads the samples by it."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.hub.card import SourceNote
from mmrs.hub.croissant import CROISSANT_NAME, croissant_json
from mmrs.progress import Progress
from mmrs.shards.index import INDEX_SCHEMA
from mmrs.shards.manifest import load_manifest
from mmrs.shards.reader import ShardSet
from tests.support.sources import toy_build, write_toy

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("croissant")
    write_toy(folder / "toy", images=8)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})
    build(plan_build([toy_build(folder / "toy")], recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    notes = {"toy": SourceNote(citation="Nobody et al., 2026")}
    content = croissant_json(load_manifest(folder / "out"), "org/name", "https://example.org", notes)
    (folder / "out" / CROISSANT_NAME).write_bytes(content)
    return folder / "out"


def metadata(data):
    return json.loads((data / CROISSANT_NAME).read_text())


def test_every_file_is_named_with_its_digest_and_size(data):
    values = metadata(data)
    named = {f["@id"]: (f["sha256"], f["contentSize"]) for f in values["distribution"] if f.get("contentSize")}
    manifest = load_manifest(data)
    wanted = {shard.path: (shard.sha256, f"{shard.bytes} B") for shard in manifest.shards}
    wanted |= {shard.index_path: (shard.index_sha256, f"{shard.index_bytes} B") for shard in manifest.shards}
    assert named == wanted


def test_what_is_referred_to_is_there(data):
    values = metadata(data)
    known = {part["@id"] for part in values["distribution"]}
    fields = [field for records in values["recordSet"] for field in records["field"]]
    known |= {field["@id"] for field in fields} | {records["@id"] for records in values["recordSet"]}

    def references(value):
        if isinstance(value, dict):
            if set(value) == {"@id"}:
                yield value["@id"]
            for part in value.values():
                yield from references(part)
        elif isinstance(value, list):
            for part in value:
                yield from references(part)

    del values["@context"]
    used = set(references(values))
    assert used and used <= known
    assert {field["source"]["extract"]["column"] for field in fields} <= set(INDEX_SCHEMA.names)
    assert values["citeAs"] == "Nobody et al., 2026" and values["license"] == "cc0-1.0"


def test_the_patterns_are_those_of_the_files(data):
    import fnmatch
    import tarfile

    sets = {part["@id"]: part for part in metadata(data)["distribution"] if part["@type"] == "cr:FileSet"}
    names = {path.relative_to(data).as_posix() for path in data.rglob("*.parquet")}
    matched = {name for name in names for pattern in sets["indexes"]["includes"] if fnmatch.fnmatch(name, pattern)}
    assert matched == names
    for split in ("train", "test"):
        for what in ("images", "records"):
            part = sets[f"toy/{split}/{what}"]
            members = []
            for tar in part["containedIn"]:
                with tarfile.open(data / tar["@id"]) as opened:
                    members += fnmatch.filter(opened.getnames(), part["includes"])
            assert len(members) == load_manifest(data).sources["toy"].splits[split].records


def test_mlcroissant_accepts_it_and_reads_every_sample(data, tmp_path):
    mlcroissant = pytest.importorskip("mlcroissant")
    shutil.copytree(data, tmp_path / "copy")
    # The repository is here in the place of the Hub.
    loaded = mlcroissant.Dataset(str(data / CROISSANT_NAME), mapping={"repo": str(tmp_path / "copy")})
    assert not loaded.metadata.ctx.issues.errors
    found = {row["samples/key"].decode(): row["samples/width"] for row in loaded.records("samples")}
    rows = [row for path in data.rglob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert found == {row["key"]: row["width"] for row in rows}
    assert len(found) == sum(shard.records for shard in ShardSet(data).manifest.shards)
