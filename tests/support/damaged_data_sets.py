"""Data sets of strangers, and damaged ones. Each damage in `SEALED` is one where digests and id fit what is there."""

import hashlib
import os
import struct
import zlib

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from mmrs.record import canonical_json
from mmrs.shards.index import INDEX_SCHEMA
from mmrs.shards.tar import TarWriter

TAR = "toy/train-00000-of-00001.tar"


class Damaged:
    """A data set of two images that can be changed and sealed again."""

    def __init__(self, folder):
        self.folder = folder
        self.manifest = orjson.loads((folder / "manifest.json").read_bytes())
        self.tar, self.index = folder / TAR, (folder / TAR).with_suffix(".parquet")

    @property
    def shard(self):
        return self.manifest["shards"][0]

    def seal(self):
        for path, name in ((self.tar, ""), (self.index, "index_")):
            if path.is_file():
                content = path.read_bytes()
                self.shard[f"{name}bytes"] = len(content)
                self.shard[f"{name}sha256"] = hashlib.sha256(content).hexdigest()
        names = ("sha256", "bytes", "index_sha256", "index_bytes")
        done = {name: self.shard[name] for name in names}
        (self.folder / TAR).with_suffix(".done.json").write_bytes(orjson.dumps(done))
        (self.folder / "quarantine.jsonl").write_bytes(b"")
        self.manifest["quarantine_sha256"] = hashlib.sha256(b"").hexdigest()
        self.write_manifest()

    def write_manifest(self):
        body = {name: value for name, value in self.manifest.items() if name != "id"}
        try:
            sealed = body | {"id": hashlib.sha256(canonical_json(body)).hexdigest()}
        except TypeError:
            sealed = body | {"id": "0" * 64}
        (self.folder / "manifest.json").write_bytes(orjson.dumps(sealed, default=str))

    def rows(self, change=None, schema=INDEX_SCHEMA):
        """The index with changed rows (all of them), or under another schema."""
        rows = pq.read_table(self.index).to_pylist()
        if change is not None:
            rows = [row | change for row in rows]
        pq.write_table(pa.Table.from_pylist(rows, schema), self.index)

    def repeat(self, times):
        rows = pq.read_table(self.index).to_pylist() * times
        pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), self.index)

    def members(self, record=None, image=None):
        """The tar with other records or images, and an index that fits."""
        rows, content = pq.read_table(self.index).to_pylist(), self.tar.read_bytes()
        with self.tar.open("wb") as file:
            writer = TarWriter(file)
            for row in rows:
                pair = {}
                for name, changed in (("image", image), ("record", record)):
                    old = content[row[f"{name}_offset"] : row[f"{name}_offset"] + row[f"{name}_size"]]
                    pair[name] = changed(old) if changed else old
                for name, suffix in (("image", "jpg"), ("record", "json")):
                    member = writer.add(f"{row['key']}.{suffix}", pair[name])
                    row |= {f"{name}_offset": member.offset, f"{name}_size": member.size}
            writer.finish()
        pq.write_table(pa.Table.from_pylist(rows, INDEX_SCHEMA), self.index)


def changed_record(**changes):
    return lambda old: canonical_json(orjson.loads(old) | changes)


def box(*numbers):
    """A record with an object at these corners, as text: JSON has words that orjson does not write."""
    corners = ",".join(f"[{x},{x}]" for x in numbers)
    item = f'{{"category":"ship","label":"ship","quad":[{corners}]}}'
    return lambda old: old.replace(b'"objects":[]', f'"objects":[{item}]'.encode())


def huge_png(old):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 99)), (b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def replaced(name, kind):
    return INDEX_SCHEMA.set(INDEX_SCHEMA.get_field_index(name), pa.field(name, kind))


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder_instead(path):
    path.unlink()
    path.mkdir()


ROWS = {
    "place before the tar": {"image_offset": -1},
    "place after the tar": {"record_offset": 10**9},
    "sum over 64 bits": {"image_offset": 2**63 - 1, "image_size": 2**63 - 1},
    "image of terabytes": {"image_size": 2**40},
    "record of no bytes": {"record_size": 0},
    "no width": {"width": 0},
    "negative height": {"height": -5},
    "negative count": {"objects": -(2**31)},
    "fewer lengths than dialogues": {"dialogue_chars": []},
    "negative length": {"dialogue_chars": [-1], "dialogue_tasks": ["vqa"]},
    "id of another source": {"id": "other/train/1"},
    "id without a stem": {"id": "toy/train/"},
    "label without end": {"label": "x" * 10**6},
    "classes without end": {"categories": ["x" * 10**5] * 100},
    "no digest": {"sha256": "../../x"},
}
# (changes of the content, whether digests are made to fit)
SEALED = {f"row: {name}": lambda d, change=change: d.rows(change) for name, change in ROWS.items()} | {
    "index: wider type": lambda d: d.rows(schema=replaced("width", pa.int64())),
    "index: numbers with parts": lambda d: d.rows(schema=replaced("image_offset", pa.float64())),
    "index: column missing": lambda d: d.rows(schema=INDEX_SCHEMA.remove(0)),
    "index: column too much": lambda d: d.rows(schema=INDEX_SCHEMA.append(pa.field("more", pa.string()))),
    "index: more rows": lambda d: d.repeat(2),
    "index: many more rows": lambda d: d.repeat(5_000),
    "index: no rows": lambda d: d.repeat(0),
    "index: no Parquet": lambda d: d.index.write_bytes(b"PAR1" + bytes(100) + b"PAR1"),
    "index: empty": lambda d: d.index.write_bytes(b""),
    "index: cut": lambda d: d.index.write_bytes(d.index.read_bytes()[:-9]),
    "tar: no tar": lambda d: d.tar.write_bytes(b"\xff" * d.tar.stat().st_size),
    "record: no object": lambda d: d.members(record=lambda old: b"[]"),
    "record: no JSON": lambda d: d.members(record=lambda old: b"\xff{"),
    "record: nested": lambda d: d.members(record=lambda old: b"[" * 50_000),
    "record: NaN": lambda d: d.members(record=box("NaN", 1, 2, 3)),
    "record: infinite": lambda d: d.members(record=box("1e999", 1, 2, 3)),
    "record: absurd": lambda d: d.members(record=box("1e308", "-1e308", "1e308", 3)),
    "record: of another image": lambda d: d.members(record=changed_record(id="toy/train/other")),
    "image: a page": lambda d: d.members(image=lambda old: b"<html>404</html>"),
    "image: of gigabytes": lambda d: d.members(image=huge_png),
    "manifest: a thousand million rows": lambda d: d.shard.update(records=10**9),
    "manifest: rows beyond numbers": lambda d: d.shard.update(records=1e300),
    "manifest: a thousand million shards": lambda d: d.shard.update(path="toy/train-00000-of-1000000000.tar"),
    "manifest: outside": lambda d: d.shard.update(path="../toy/train-00000-of-00001.tar"),
    "manifest: another source": lambda d: d.shard.update(source="other"),
    "manifest: another split": lambda d: d.shard.update(split="val"),
    "manifest: a shard twice": lambda d: d.manifest["shards"].append(d.shard),
    "manifest: 100,000 shards": lambda d: d.manifest.update(shards=[d.shard] * 100_000),
    "manifest: negative counts": lambda d: d.manifest["sources"]["toy"]["splits"]["train"].update(objects=-3),
    "manifest: unknown dialect": lambda d: d.manifest["recipe"].update(dialect="../x"),
    "manifest: recipe of other kinds": lambda d: d.manifest.update(
        recipe={"splits": 3, "sources": 1, "validation": []}
    ),
    "manifest: no suffix": lambda d: d.manifest["sources"]["toy"].update(image_suffix={}),
}
BROKEN = {
    "manifest: no object": lambda d: (d.folder / "manifest.json").write_bytes(b"[]"),
    "manifest: NaN": lambda d: (d.folder / "manifest.json").write_bytes(b'{"shards": NaN}'),
    "manifest: nested": lambda d: (d.folder / "manifest.json").write_bytes(b"[" * 100_000),
    "manifest: no text": lambda d: (d.folder / "manifest.json").write_bytes(b"\xff\xfe\x00"),
    "manifest: a folder": lambda d: folder_instead(d.folder / "manifest.json"),
    "manifest: a pipe": lambda d: pipe(d.folder / "manifest.json"),
    "index: of before": lambda d: d.rows({"objects": 7}),
    "index: missing": lambda d: d.index.unlink(),
    "index: a pipe": lambda d: pipe(d.index),
    "tar: missing": lambda d: d.tar.unlink(),
    "tar: cut": lambda d: os.truncate(d.tar, 1000),
    "tar: a folder": lambda d: folder_instead(d.tar),
    "tar: a pipe": lambda d: pipe(d.tar),
    "done-file: of another shard": lambda d: d.tar.with_suffix(".done.json").write_bytes(
        b'{"sha256": "0", "bytes": 1}'
    ),
    "done-file: no object": lambda d: d.tar.with_suffix(".done.json").write_bytes(b"3"),
}
# What a recipe asked for is no claim about the shards.
UNSEEN = ("manifest: unknown dialect", "manifest: recipe of other kinds")
