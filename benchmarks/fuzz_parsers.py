"""Damaged bytes straight into every parser: `python -m benchmarks.fuzz_parsers --inputs 100000 --out RESULT.json`.

The seeds are the annotation files of the generated samples. A parser may return or raise `BadItem` (`NoArray` for the
official archive's JSON); anything else is a finding, kept with the damaged bytes. --inputs is per parser.
`benchmarks.fuzz` does the same to whole sources.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any

import converters
from benchmarks.fuzz import MOST_FINDINGS, damage
from benchmarks.machine import describe
from converters import samples
from converters.detection import fair1m, hrsc2016, nwpu_vhr10, rsod, ucas_aod, visdrone
from converters.detection.ssdd import xml as ssdd_xml
from converters.formats import captions, class_map, coco, dota, labels, llava, voc, vqa, yolo
from converters.formats import split_lists as listed
from converters.grounding import dior_rsvg
from mmrs.errors import BadItem
from mmrs.geometry import SquareFrame
from mmrs.instructions.answers import parse_detections
from mmrs.instructions.dialects import dialect
from mmrs.release.content import parse_row
from mmrs.release.json_lines import NoArray, read_rows

Parse = Callable[[bytes], Any]
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


@dataclass(frozen=True)
class Held:
    """Bytes in place of a file, for readers that take a path."""

    data: bytes
    suffix: str = ".txt"

    def read_bytes(self) -> bytes:
        return self.data


def first_stem(data: bytes) -> str:
    """The image's stem in the first line of an RSOD label file."""
    return data.partition(b"\t")[0].decode("latin-1").rpartition(".")[0]


# Name -> (source whose sample has the seeds, pattern of its files, parser).
FROM_SAMPLES: dict[str, tuple[str, str, Parse]] = {
    "voc": ("hit-uav", "normal_xml/Annotations/*.xml", lambda data: voc.parse_voc(data, "x")),
    "robndbox": ("hit-uav", "rotate_xml/Annotations/*.xml", lambda data: voc.parse_voc(data, "x")),
    "dior-r": ("dior", "**/Oriented*/*.xml", lambda data: voc.parse_voc(data, "x")),
    "coco": ("hit-uav", "*_json/annotations/val.json", lambda data: coco.parse_coco(data, "x")),
    "dota": ("dota", "**/labelTxt*/*.txt", lambda data: dota.parse_dota(data, "x", DOTA)),
    "captions": ("rsicd", "**/*.json", lambda data: captions.parse_captions(data, "x")),
    "class captions": ("nwpu-captions", "**/*.json", lambda data: captions.parse_class_captions(data, "x")),
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
    "yolo": (YOLO, lambda data: yolo.parse_yolo(data, "x", "hbb", 3)),
    "yolo-obb": (YOLO_OBB, lambda data: yolo.parse_yolo(data, "x", "obb", 3)),
    "class map": (b"ship: ship\n0: oil tank\nclouds:\n", lambda data: class_map.parse_class_map(data, "x")),
    "class names": (b"ship\nstorage tank\n", lambda data: yolo.read_class_names(Held(data))),
    "class names in yaml": (
        b"names:\n  0: ship\n  1: storage tank\n",
        lambda data: yolo.read_class_names(Held(data, ".yaml")),
    ),
    "dota meta": (b"acquisition dates:2014-01-01\nimagesource:GF\ngsd:None\n", lambda data: dota.read_meta(Held(data))),
    "lists of ids": (b"00001\r\n00053 -1\r\n", lambda data: listed.read_ids(Held(data))),
    "lists of numbers": (b"0\n1\n17\n38319\n", lambda data: dior_rsvg.read_numbers(Held(data))),
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
}


def main() -> None:
    """Fuzz every parser and write one JSON file. Exit code 1 where there is a finding or a parser without seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (seeds, parse) in {**sampled(Path(folder)), **given()}.items():
            results[name] = fuzz(seeds, parse, arguments.inputs, random.Random(f"{arguments.seed} {name}"))
            print(name, {key: value for key, value in results[name].items() if key != "findings"}, flush=True)
    result = {"date": date.today().isoformat(), "machine": describe(), "inputs": arguments.inputs, "parsers": results}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(1 if any(part["findings"] or not part["seeds"] for part in results.values()) else 0)


def sampled(folder: Path) -> dict[str, tuple[list[bytes], Parse]]:
    """Seeds from the generated samples."""
    for source in sorted({source for source, _, _ in FROM_SAMPLES.values()}):
        samples.write(source, folder / source)
    return {
        name: ([path.read_bytes() for path in sorted((folder / source).glob(pattern)) if path.is_file()], parse)
        for name, (source, pattern, parse) in FROM_SAMPLES.items()
    }


def given() -> dict[str, tuple[list[bytes], Parse]]:
    """Seeds that are written here."""
    return {name: ([seed], parse) for name, (seed, parse) in FROM_BYTES.items()}


def fuzz(seeds: list[bytes], parse: Parse, inputs: int, chance: random.Random) -> dict:
    """How often the parser returned and how often it raised `BadItem`, and what else happened."""
    outcomes = {"returned": 0, "bad_item": 0}
    findings: list[dict] = []
    started = time.process_time()
    for _ in range(inputs if seeds else 0):
        damaged = damage(chance.choice(seeds), chance)
        try:
            parse(damaged)
            outcomes["returned"] += 1
        except (BadItem, NoArray):
            outcomes["bad_item"] += 1
        except Exception:
            findings.append(
                {"damaged": base64.b64encode(damaged).decode(), "traceback": traceback.format_exc(limit=-4)}
            )
            if len(findings) >= MOST_FINDINGS:
                break
    return {"seeds": len(seeds), **outcomes, "seconds": time.process_time() - started, "findings": findings}


if __name__ == "__main__":
    main()
