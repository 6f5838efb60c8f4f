"""Damaged bytes straight into every parser: `python -m benchmarks.fuzz_parsers --inputs 100000 --out RESULT.json`.

The seeds are the annotation files of the generated samples, and small files of each other kind that is read of
strangers: images, indexes, manifests, answers. A parser may return or raise what it states (`REFUSALS`); anything else
is a finding, kept with the damaged bytes, and so is an input that takes longer than `MOST_SECONDS`. --inputs is per
parser. Readers of files get a file.
`benchmarks.fuzz` does the same to whole sources.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import tarfile
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

import converters
from benchmarks.fetch_parsers import fetch_parsers
from benchmarks.fuzz import MOST_FINDINGS, damage
from benchmarks.machine import describe
from benchmarks.mirror_parsers import mirror_parsers
from converters import samples
from converters.detection import fair1m, hrsc2016, nwpu_vhr10, rsod, ucas_aod, visdrone
from converters.detection.ssdd import xml as ssdd_xml
from converters.formats import (
    captions,
    class_map,
    coco,
    csv_table,
    cvat,
    dota,
    geojson,
    labelme,
    labels,
    llava,
    masks,
    supervisely,
    voc,
    vqa,
    yolo,
)
from converters.formats import split_lists as listed
from converters.formats.rows import rows_apart
from converters.grounding import dior_rsvg
from converters.mirrors.cells import find_image_column, read_table_cells
from converters.own_data.description import load_description
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import BadItem, RunFailure, UserError
from mmrs.geometry import SquareFrame
from mmrs.imaging.probe import probe
from mmrs.imaging.row_images import read_row_images
from mmrs.imaging.store import read_upright
from mmrs.instructions.answers import parse_detections
from mmrs.instructions.dialects import dialect
from mmrs.progress import Progress
from mmrs.record import Record
from mmrs.release.content import parse_row
from mmrs.release.json_lines import NoArray, read_rows
from mmrs.shards.checked_index import check_index
from mmrs.shards.manifest import parse_manifest
from mmrs.shards.reader import ShardSet
from mmrs.shards.webdataset import scan_tar
from mmrs.source import RowImage, SourceBuild
from training.evaluation.answers import read_answers
from training.evaluation.layouts.layout import read_answer_rows

Parse = Callable[[bytes], Any]
RSICD = converters.get("rsicd")
VISDRONE = converters.get("visdrone").labels
VHR10 = tuple(converters.facts("nwpu-vhr10").classes)
DOTA = tuple(converters.facts("dota").classes)
LLAVA = (
    b'[{"id": "1", "image": "a.jpg", "conversations": '
    b'[{"from": "human", "value": "<image>\\nWhat?"}, {"from": "gpt", "value": "A ship"}]}]'
)
YOLO = b"0 0.5 0.5 0.25 0.125\n2 0.1 0.2 0.05 0.0625\n"
YOLO_OBB = b"0 0.1 0.1 0.3 0.1 0.3 0.2 0.1 0.2\n1 0.5 0.5 0.6 0.5 0.6 0.7 0.5 0.7\n"
TABLES = (
    b'{"images": [{"id": 0, "active": false}, {"id": 1, "original_name": "1.tif"}]}',
    b'{"questions": [{"id": 4, "img_id": 1, "type": "count", "question": "How many?", "answers_ids": [6]}]}',
    b'{"answers": [{"id": 6, "answer": "3", "active": true}]}',
)

FRAME = SquareFrame(640, 512)
DIALECT = dialect("mmrs")
ANSWER = (
    b"There are <p>two ships</p>[0.412,0.300,0.455,0.341;0.1,0.5,0.16,0.54] and <p>one tennis court</p>"
    b"[0.70,0.61,0.71,0.61,0.71,0.63,0.70,0.63] in the image."
)
ROW = (
    b'{"image": "data/RSVG/DIOR_RSVG/images/11207.jpg", "conversations": [{"from": "human", "value": "Please provide a '
    b'short description for this region in this remote sensing image :[0.1,0.2,0.3,0.4]"}, '
    b'{"from": "gpt", "value": "The tiny vehicle"}]}'
)


REFUSALS = (BadItem, NoArray, UserError, RunFailure)
# Their callers say which file it was.
ALSO: dict[str, tuple[type[Exception], ...]] = {"index": (ValueError,), "record": (ValueError,)}
MOST_SECONDS = 5.0
PICTURE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SHARED_MEMORY = Path("/dev/shm")


DESCRIPTION = (
    b"name: mine\nformat: coco\nsensor: optical\nimages: images\nannotations: a.json\nsplits: {train: 0.9, test: 0.1}\n"
    b"classes: {0: ship, 1: &tank oil tank, 2: *tank}\noptions: {ignored: [cloud], tile_size: 512}\n"
)
ANSWERS = (
    b'{"id": "a/test/1#vqa-0", "prompt": "Is there a ship?", "text": "yes", "finish_reason": "stop"}\n'
    b'{"id": "a/test/2#detection-hbb", "text": "no", "box_log_probabilities": [-0.5, -1.25], "said": null}\n'
)


def picture(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture of noise."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def foreign_tar() -> bytes:
    """A tar of two samples of somebody else."""
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("a", "b"):
            for suffix, content in (("jpg", picture("JPEG")), ("json", b'{"caption": "a ship"}')):
                info = tarfile.TarInfo(f"{name}.{suffix}")
                info.size = len(content)
                archive.addfile(info, BytesIO(content))
    return buffer.getvalue()


def decode(name: str, data: bytes) -> None:
    """Read a picture as a build does."""
    header = probe(Path(name), data=data)
    read_upright(Path(name), header, "optical", data=data)


def read_parquet(path: Path) -> None:
    """The names and the boxes of a described table."""
    image = find_image_column(path, "image")
    list(read_table_cells(path, image.name, ["objects.bbox", "objects.category"]))


def arrow_table() -> bytes:
    """An Arrow stream of two batches of named pictures with boxes, as `Dataset.save_to_disk` writes it."""
    objects_type = pa.struct([("bbox", pa.list_(pa.list_(pa.float32()))), ("category", pa.list_(pa.string()))])
    rows = [
        {
            "image": {"bytes": picture("JPEG"), "path": f"{number}.jpg"},
            "objects": {"bbox": [[1.0, 2.0, 3.0, 4.0]] * number, "category": ["ship"] * number},
        }
        for number in range(4)
    ]
    table = pa.Table.from_pylist(rows, pa.schema([("image", PICTURE_TYPE), ("objects", objects_type)]))
    buffer = BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return buffer.getvalue()


def caption_copy() -> bytes:
    """A table as arampacha/rsicd has it."""
    rows = [
        {"filename": f"images/a_{number}.jpg", "captions": ["a ship ."] * 5, "image": {"bytes": b"x", "path": None}}
        for number in range(4)
    ]
    texts = pa.list_(pa.string())
    schema = pa.schema([("filename", pa.string()), ("captions", texts), ("image", PICTURE_TYPE)])
    buffer = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
    return buffer.getvalue()


def read_arrow(path: Path) -> None:
    """The names, the boxes and the images of a described stream."""
    read_parquet(path)
    images = [RowImage(path, row, f"{row}.jpg", "image.bytes", "x") for row in range(4)]
    list(read_row_images(images))


def read_copy(path: Path) -> None:
    """The rows of a known copy, as its source reads them."""
    for item in RSICD.discover(path.parent, "train").items:
        RSICD.read(item)


def read_csv(data: bytes) -> None:
    """A described CSV table."""
    csv_table.parse_csv_table(data, "x").places(("filename", "class"), "x")


def read_cvat(data: bytes) -> None:
    """A file of CVAT with the shapes of its images."""
    for image in cvat.parse_cvat(data, "x").images:
        rows_apart(image.shapes, lambda shape: cvat.shape_object(shape, "x"))


def first_stem(data: bytes) -> str:
    """The image's stem in the first line of an RSOD label file."""
    return data.partition(b"\t")[0].decode("latin-1").rpartition(".")[0]


# Name -> (source whose sample has the seeds, with the format of one's own data; pattern of its files; parser).
FROM_SAMPLES: dict[str, tuple[str, str, Parse]] = {
    "voc": ("hit-uav", "normal_xml/Annotations/*.xml", lambda data: voc.parse_voc(data, "x")),
    "robndbox": ("hit-uav", "rotate_xml/Annotations/*.xml", lambda data: voc.parse_voc(data, "x")),
    "dior-r": ("dior", "**/Oriented*/*.xml", lambda data: voc.parse_voc(data, "x")),
    "coco": ("hit-uav", "*_json/annotations/val.json", lambda data: coco.parse_coco(data, "x")),
    "coco captions": (
        "generic coco-captions",
        "annotations/*.json",
        lambda data: coco.parse_coco_captions(data, "x"),
    ),
    "dota": ("dota", "**/labelTxt*/*.txt", lambda data: dota.parse_dota(data, "x", DOTA)),
    "captions": ("rsicd", "**/*.json", lambda data: captions.parse_captions(data, "x")),
    "class captions": ("nwpu-captions", "**/*.json", lambda data: captions.parse_class_captions(data, "x")),
    "csv": ("generic csv", "annotations/*.csv", read_csv),
    "labelme": ("generic labelme", "labels/**/*.json", lambda data: labelme.parse_labelme(data, "x")),
    "cvat": ("generic cvat", "*.xml", read_cvat),
    "supervisely": ("generic supervisely", "*/ann/*.json", lambda data: supervisely.parse_supervisely(data, "x")),
    "masks": (
        "generic masks",
        "labels/**/*.png",
        lambda data: masks.parse_mask(data, "x", {1: "ship", 2: "storage-tank"}, {0}),
    ),
    "geojson": ("generic geojson", "labels/**/*.geojson", lambda data: geojson.parse_geojson(data, "x")),
    "parquet": ("generic parquet", "data/*.parquet", lambda data: read_in_file(data, "x.parquet", read_parquet)),
    "labels": ("dscr", "**/*.csv", lambda data: labels.parse_labels(data, "x")),
    "question lines": ("rsivqa", "**/*.txt", lambda data: vqa.parse_question_lines(data, "x")),
    "question text": ("crsvqa", "**/*.txt", lambda data: vqa.parse_question_text(data, "x")),
    "floodnet": ("floodnet", "**/Training*.json", lambda data: vqa.parse_floodnet(data, "x")),
    "fair1m": ("fair1m", "**/*.xml", lambda data: fair1m.parse_fair1m(data, "x")),
    "hrsc2016": ("hrsc2016", "**/*.xml", lambda data: hrsc2016.parse_hrsc(data, "x")),
    "ssdd": ("ssdd", "**/*.xml", lambda data: ssdd_xml.parse_ssdd(data, "x")),
    "nwpu-vhr10": ("nwpu-vhr10", "**/ground truth/*.txt", lambda data: nwpu_vhr10.parse_nwpu_vhr10(data, "x", VHR10)),
    "rsod": ("rsod", "**/labels/*.txt", lambda data: rsod.parse_rsod(data, "x", first_stem(data))),
    "ucas-aod": ("ucas-aod", "**/P*.txt", lambda data: ucas_aod.parse_ucas_aod(data, "x", "car")),
    "visdrone": ("visdrone", "**/annotations/*.txt", lambda data: visdrone.parse_visdrone(data, "x", VISDRONE)),
}
FROM_BYTES: dict[str, tuple[bytes, Parse]] = {
    "llava": (LLAVA, lambda data: llava.parse_llava(data, "x")),
    # A PNG has a sum that finds damage; what gets past it is a picture of another format.
    "mask pixels": (
        picture("BMP", mode="L"),
        lambda data: masks.parse_mask(data, "x", {value: str(value) for value in range(1, 5)}, {0}),
    ),
    "yolo": (YOLO, lambda data: yolo.parse_yolo(data, "x", "hbb", 3)),
    "yolo-obb": (YOLO_OBB, lambda data: yolo.parse_yolo(data, "x", "obb", 3)),
    "class map": (b"ship: ship\n0: oil tank\nclouds:\n", lambda data: class_map.parse_class_map(data, "x")),
    "boxes in text": (ANSWER[26:83], lambda data: DIALECT.parse(data.decode("latin-1"), FRAME)),
    "detection answers": (
        ANSWER,
        lambda data: parse_detections(data.decode("latin-1"), FRAME, ("ship", "tennis court"), DIALECT),
    ),
    "release rows": (b"\xef\xbb\xbf[" + ROW + b",\r\n " + ROW + b" ]\n", lambda data: list(read_rows(BytesIO(data)))),
    "release row": (ROW, parse_row),
    "rsvqa images": (TABLES[0], lambda data: vqa.parse_rsvqa(data, *TABLES[1:], "x")),
    "rsvqa questions": (TABLES[1], lambda data: vqa.parse_rsvqa(TABLES[0], data, TABLES[2], "x")),
    "rsvqa answers": (TABLES[2], lambda data: vqa.parse_rsvqa(*TABLES[:2], data, "x")),
    "JPEG": (picture("JPEG"), lambda data: decode("a.jpg", data)),
    "progressive JPEG": (picture("JPEG", progressive=True), lambda data: decode("a.jpg", data)),
    "PNG": (picture("PNG"), lambda data: decode("a.png", data)),
    "TIFF": (picture("TIFF"), lambda data: decode("a.tif", data)),
    **fetch_parsers(),
}
# Name -> (seed, name of the file, reader of it).
FROM_FILES: dict[str, tuple[bytes, str, Callable[[Path], Any]]] = {
    "class names": (b"ship\nstorage tank\n", "names.txt", yolo.read_class_names),
    "class names in yaml": (b"names:\n  0: ship\n  1: storage tank\n", "names.yaml", yolo.read_class_names),
    "arrow": (arrow_table(), "x.arrow", read_arrow),
    "known copy": (caption_copy(), "copy/train-00000-of-00001.parquet", read_copy),
    "dota meta": (b"acquisition dates:2014-01-01\nimagesource:GF\ngsd:None\n", "meta.txt", dota.read_meta),
    "lists of ids": (b"00001\r\n00053 -1\r\n", "ids.txt", listed.read_ids),
    "lists of numbers": (b"0\n1\n17\n38319\n", "numbers.txt", dior_rsvg.read_numbers),
    "description": (DESCRIPTION, "mmrs.yaml", lambda path: load_description(path)[0]),
    "answers": (ANSWERS, "answers.jsonl", read_answers),
    "rows of answers": (ANSWERS, "answers.jsonl", lambda path: list(read_answer_rows(path))),
    "foreign tar": (foreign_tar(), "a.tar", scan_tar),
}


def main() -> None:
    """Fuzz every parser and write one JSON file. Exit code 1 where there is a finding or a parser without seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--parser", action="append", default=[], help="only this parser; repeatable")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    result = {"date": date.today().isoformat(), "machine": describe(), "inputs": arguments.inputs, "parsers": {}}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = {**sampled(Path(folder)), **of_data_set(Path(folder)), **given(Path(folder)), **mirror_parsers()}
        unknown = set(arguments.parser) - set(found)
        if unknown:
            parser.error(f"no parsers: {', '.join(sorted(unknown))}; known: {', '.join(found)}")
        for name in arguments.parser or found:
            seeds, parse = found[name]
            chance, refusals = random.Random(f"{arguments.seed} {name}"), (*REFUSALS, *ALSO.get(name, ()))
            of_parser = fuzz(seeds, parse, refusals, arguments.inputs, chance)
            result["parsers"][name] = of_parser
            print(name, {key: value for key, value in of_parser.items() if key != "findings"}, flush=True)
            arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(1 if any(part["findings"] or not part["seeds"] for part in result["parsers"].values()) else 0)


def sampled(folder: Path) -> dict[str, tuple[list[bytes], Parse]]:
    """Seeds from the generated samples."""
    for source in sorted({source for source, _, _ in FROM_SAMPLES.values()}):
        name, _, form = source.partition(" ")
        samples.write(name, folder / source, **({"format": form} if form else {}))
    return {
        name: ([path.read_bytes() for path in sorted((folder / source).glob(pattern)) if path.is_file()], parse)
        for name, (source, pattern, parse) in FROM_SAMPLES.items()
    }


def of_data_set(folder: Path) -> dict[str, tuple[list[bytes], Parse]]:
    """Manifest, index and record of a data set that is built of one of the samples."""
    recipe = BuildRecipe.model_validate({"sources": [{"name": "ssdd"}]})
    source = SourceBuild(converters.get("ssdd"), folder / "ssdd", ("train", "test"))
    quiet = Progress(quiet=True)
    build(plan_build([source], recipe, 1, quiet), recipe, folder / "built", 1, quiet)
    shards = ShardSet(folder / "built")
    shard = shards.manifest.shards[0]
    index = shards.index_file(0).read_bytes()
    record = shards.record_bytes(shards.table("train").to_pylist()[0])
    manifest = shards.manifest.to_json()
    shards.close()
    return {
        "manifest": ([manifest], lambda data: parse_manifest(data, "manifest.json")),
        "index": ([index], lambda data: check_index(data, shard)),
        "record": ([record], Record.from_json),
    }


def given(folder: Path) -> dict[str, tuple[list[bytes], Parse]]:
    """Seeds that are written here."""
    of_bytes = {name: ([seed], parse) for name, (seed, parse) in FROM_BYTES.items()}
    of_files = {
        name: ([seed], reader_of_file(folder / file_name, read)) for name, (seed, file_name, read) in FROM_FILES.items()
    }
    return of_bytes | of_files


def read_in_file(data: bytes, name: str, read: Callable[[Path], Any]) -> Any:
    """`read` of a file of that name with the damaged content."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        return reader_of_file(Path(folder, name), read)(data)


def reader_of_file(path: Path, read: Callable[[Path], Any]) -> Parse:
    """`read` of a file with the damaged content."""

    path.parent.mkdir(exist_ok=True)

    def parse(data: bytes) -> Any:
        path.write_bytes(data)
        return read(path)

    return parse


def fuzz(
    seeds: list[bytes], parse: Parse, refusals: tuple[type[Exception], ...], inputs: int, chance: random.Random
) -> dict:
    """How often the parser returned and how often it refused, and what else happened."""
    outcomes = {"returned": 0, "refused": 0}
    findings: list[dict] = []
    started = time.process_time()
    for _ in range(inputs if seeds else 0):
        damaged, what = damage(chance.choice(seeds), chance), ""
        begun = time.process_time()
        try:
            parse(damaged)
            outcomes["returned"] += 1
        except refusals:
            outcomes["refused"] += 1
        except Exception:
            what = traceback.format_exc(limit=-4)
        if time.process_time() - begun > MOST_SECONDS:
            what += f"{time.process_time() - begun:.1f} s of CPU time"
        if what:
            findings.append({"damaged": base64.b64encode(damaged).decode(), "what": what})
            if len(findings) >= MOST_FINDINGS:
                break
    return {"seeds": len(seeds), **outcomes, "seconds": time.process_time() - started, "findings": findings}


if __name__ == "__main__":
    main()
