"""Verification finds every kind of tampering, and names file and key."""

import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orjson
import pytest
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.shards.manifest import Manifest, ShardEntry, done_path, load_manifest
from mmrs.storage.local import LocalPlace
from mmrs.storage.place import MOST_BYTES
from mmrs.verify import shard as shard_checks
from mmrs.verify.dataset import verify_dataset
from mmrs.verify.shard import check_piece, cut_into_pieces
from tests.support.sources import toy_build, write_toy

QUIET = Progress(quiet=True)


@pytest.fixture
def out(tmp_path):
    write_toy(tmp_path / "toy", images=6)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}]})
    build(plan_build([toy_build(tmp_path / "toy")], recipe, 1, QUIET), recipe, tmp_path / "out", 1, QUIET)
    return tmp_path / "out"


def tar_of(out):
    return next((out / "toy").glob("train-*.tar"))


def rewrite(path, change):
    """Write the tar again with `change` applied to its list of (name, data)."""
    with tarfile.open(path) as archive:
        members = [(info.name, archive.extractfile(info).read()) for info in archive]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def whats(out):
    return " | ".join(str(finding) for finding in verify_dataset(out, 1, QUIET).findings)


def test_a_flipped_byte_is_found(out):
    path = tar_of(out)
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(bytes(data))
    assert "sha256 is" in whats(out)
    assert "sha256 of the image differs" in whats(out)


def swap_first_two(members):
    return [members[1], members[0], *members[2:]]


def drop_last(members):
    return members[:-1]


def bad_image(members):
    return [(name, data[: len(data) // 2] if name.endswith("jpg") else data) for name, data in members]


def spaced_record(members):
    return [(n, json.dumps(json.loads(d)).encode() if n.endswith("json") else d) for n, d in members]


def bad_name(members):
    return [("sub/" + members[0][0], members[0][1]), *members[1:]]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swap_first_two, "the index says"),
        (drop_last, "the index names"),
        (bad_image, "the index says"),
        (spaced_record, "the index says"),
        (bad_name, "does not survive"),
    ],
)
def test_tampered_members(out, change, says):
    rewrite(tar_of(out), change)
    assert says in whats(out)


def test_a_missing_file_is_found(out):
    tar_of(out).unlink()
    assert "cannot be read" in whats(out)


def test_an_edited_manifest_is_refused(out):
    path = out / "manifest.json"
    content = orjson.loads(path.read_bytes())
    content["shards"][0]["records"] += 1
    path.write_bytes(orjson.dumps(content))
    with pytest.raises(UserError, match="changed after the build"):
        verify_dataset(out, 1, QUIET)


def test_a_forged_manifest_with_a_right_id_still_fails(out):
    manifest = load_manifest(out)
    shard = manifest.shards[0].model_copy(update={"records": manifest.shards[0].records + 1})
    forged = manifest.model_copy(update={"shards": (shard, *manifest.shards[1:])}).with_id()
    (out / "manifest.json").write_bytes(forged.to_json())
    assert "rows, the manifest says" in whats(out)


def test_a_manifest_cannot_point_outside_its_folder(out):
    manifest = load_manifest(out)
    shard = manifest.shards[0].model_copy(update={"path": "../../secret.tar"})
    forged = manifest.model_copy(update={"shards": (shard,)}).with_id()
    with pytest.raises(ValueError, match="path"):
        Manifest.model_validate(forged.model_dump())


def test_images_are_fully_decoded(out):
    """An image whose digest is right but whose pixels are not: only a decode finds it."""
    from mmrs.verify.shard import _sample_findings

    shard = load_manifest(out).shards[0]
    import pyarrow.parquet as pq

    row = pq.read_table(out / shard.index_path).to_pylist()[0] | {"further_sha256": []}
    tar = tar_of(out) if shard.split == "train" else out / shard.path
    data = tar.read_bytes()
    image, record = (data[row[f"{w}_offset"] :][: row[f"{w}_size"]] for w in ("image", "record"))
    assert list(_sample_findings([image], record, row, shard)) == []
    with Image.open(io.BytesIO(data[row["image_offset"] : row["image_offset"] + row["image_size"]])) as image:
        assert image.size == (row["width"], row["height"])


def test_a_changed_or_missing_quarantine_is_found(out):
    path = out / "quarantine.jsonl"
    path.write_bytes(path.read_bytes() + b"{}\n")
    assert "quarantine.jsonl: sha256 is" in whats(out)
    path.unlink()
    assert "quarantine.jsonl: cannot be read" in whats(out)


def test_counts_of_a_split_that_its_shards_do_not_have_are_found(out):
    manifest = load_manifest(out)
    source = manifest.sources["toy"]
    splits = source.splits | {"train": source.splits["train"].model_copy(update={"records": 7})}
    sources = {"toy": source.model_copy(update={"splits": splits})}
    changed = manifest.model_copy(update={"sources": sources}).with_id()
    (out / "manifest.json").write_bytes(changed.to_json())
    assert "manifest.json: toy/train has 7 records, its shards have 6" in whats(out)


@dataclass(frozen=True)
class Elsewhere:
    """A folder as if it were at a URL: files come whole."""

    folder: LocalPlace

    def read(self, name, most_bytes=MOST_BYTES):
        return self.folder.read(name, most_bytes)


def flip_a_byte_of_padding(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-30_000])


CHANGES = [swap_first_two, drop_last, bad_image, spaced_record, bad_name]


@pytest.mark.parametrize("damage", [flip_a_byte_of_padding, cut_off, *(partial(rewrite, change=c) for c in CHANGES)])
def test_a_shard_in_blocks_on_disk_is_told_of_as_one_that_is_held(out, monkeypatch, damage):
    monkeypatch.setattr(shard_checks, "_LEAST_SAMPLES", 2)
    damage(tar_of(out))
    on_disk = LocalPlace(out)
    for shard in load_manifest(out).shards:
        told = [
            {finding for piece in cut_into_pieces(place, shard) for finding in check_piece(place, piece).findings}
            for place in (on_disk, Elsewhere(on_disk))
        ]
        assert told[0] == told[1] and bool(told[0]) == (shard.split == "train")


@pytest.mark.parametrize("records", [1, 255, 256, 257, 2047, 2048, 2049, 100_000])
def test_pieces_hold_every_sample_once(records):
    shard = ShardEntry.model_construct(records=records)
    for place in (LocalPlace(Path()), Elsewhere(LocalPlace(Path()))):
        pieces = cut_into_pieces(place, shard)
        assert [row for piece in pieces for row in piece.rows] == list(range(records))
        assert [piece.files for piece in pieces].count(True) == 1 and len(pieces) <= 9


def test_a_key_and_an_id_that_occur_twice_are_named(out):
    manifest = load_manifest(out)
    train = next(shard for shard in manifest.shards if shard.split == "train")
    twice = [train.model_copy(update={"path": f"toy/train-{number:05d}-of-00002.tar"}) for number in range(2)]
    for copy in twice:
        for path in (lambda shard: shard.path, lambda shard: shard.index_path, lambda shard: done_path(shard.path)):
            shutil.copy(out / path(train), out / path(copy))
    others = [shard for shard in manifest.shards if shard.split != "train"]
    forged = manifest.model_copy(update={"shards": (*twice, *others)}).with_id()
    (out / "manifest.json").write_bytes(forged.to_json())
    repeated = [finding for finding in verify_dataset(out, 1, QUIET).findings if "occurs" in finding.what]
    assert len(repeated) == 2 * train.records
    assert {finding.what for finding in repeated} == {"key occurs 2 times", "id occurs 2 times"}
    assert {finding.key for finding in repeated} >= {f"toy-train-{n:08d}" for n in range(train.records)}
