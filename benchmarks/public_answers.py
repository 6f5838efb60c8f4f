"""Scores of EarthDial's public answers, beside the values that were measured on the same files with other code.

    python benchmarks/public_answers.py RESULTS_FOLDER OUT.json

RESULTS_FOLDER is ``src/earthdial/eval`` of a checkout of hiyamdebary/EarthDial (MIT); this script fetches nothing. A
row states what `mmrs score --layout earthdial` gives and, where there is one, the value that other code gave: the
scorers of pycocoevalcap with its Java tokenizer, the authors' rules of RSVQA, a one-to-one matching of boxes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machine import describe

from training.evaluation.layouts import find_layout
from training.evaluation.scores import score

# File below the folder -> the protocol, and what was measured before, in percent, by the name of the figure.
MEASURED: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "rs_vqa/results/RSVQA_LR.jsonl": (
        "rsvqa/authors",
        {
            "presence": 92.59,
            "comp": 92.75,
            "rural_urban": 94.00,
            "count": 71.73,
            "overall_accuracy": 86.53,
            "mean_accuracy_of_types": 87.77,
        },
    ),
    "rs_classification/results/AID.jsonl": ("classification/exact", {"value": 88.47}),
    "rs_classification/results/UCM.jsonl": ("classification/exact", {"value": 92.57}),
    "rs_classification/results/WHU_19.jsonl": ("classification/exact", {"value": 96.42}),
    "rs_image_caption/results/NWPU_RESISC45_Captions.jsonl": (
        "captions/ptb-py",
        {"bleu_4": 66.63, "rouge_l": 78.44, "cider": 198.79},
    ),
    "rs_image_caption/results/RSICD_Captions.jsonl": (
        "captions/ptb-py",
        {"bleu_4": 35.15, "rouge_l": 52.52, "cider": 99.41},
    ),
    "rs_image_caption/results/RSITMD_Captions.jsonl": (
        "captions/ptb-py",
        {"bleu_4": 11.36, "rouge_l": 31.18, "cider": 59.24},
    ),
    "rs_image_caption/results/UCM_captions.jsonl": (
        "captions/ptb-py",
        {"bleu_4": 26.41, "rouge_l": 47.30, "cider": 129.63},
    ),
    "rs_detection/results/NWPU_VHR_10.jsonl": (
        "detection-obb/f1-50",
        {"precision_of_readable": 15.33, "recall": 13.40},
    ),
    "rs_detection/results/GeoChat.jsonl": ("detection-obb/f1-50", {}),
    "rs_detection/results/ship_dataset_v0.jsonl": ("detection-obb/f1-50", {}),
    "rs_detection/results/Swimming_pool_dataset.jsonl": ("detection-obb/f1-50", {}),
}
# The project's own scorer does not read boxes with a negative coordinate, neither true nor answered ones.
NEGATIVE = re.compile(r"\[[^\[\]]*-\d[^\[\]]*\]")
THREE_TYPES = ("rsvqa/three-types-oa", 92.70)


def figures(path: Path, protocol: str) -> dict[str, Any]:
    began = time.perf_counter()
    pairs = find_layout("earthdial").read(path)
    (row,) = score(pairs, (protocol,))
    details = row.details
    found = {name: value for name, value in details.items() if isinstance(value, int | float)}
    found |= details.get("accuracy_by_type", {})
    if "false_positives" in details:
        readable = details["true_positives"] + details["false_positives"] - details["malformed_boxes"]
        found["precision_of_readable"] = details["true_positives"] / readable
    return {
        "protocol": protocol,
        "value": row.value,
        "interval_95": row.interval_95,
        "constant": row.constant_value,
        "questions": row.questions,
        "failures": dict(row.failures),
        **found,
        "seconds": round(time.perf_counter() - began, 1),
    }


def without_negative_boxes(path: Path, folder: Path) -> Path | None:
    """The lines as the project's scorer reads them; None where that changes nothing."""
    rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
    kept = [row | {key: NEGATIVE.sub("", row[key]) for key in ("answer", "gt_bbox")} for row in rows]
    if kept == rows:
        return None
    # Lines of which no true box is left have none to find; what is answered to them is false.
    written = [row for row in kept if re.search(r"\d", row["gt_bbox"])]
    out = folder / path.name
    out.write_text("".join(json.dumps(row) + "\n" for row in written))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    rows = []
    for name, (protocol, measured) in MEASURED.items():
        path = options.folder / name
        if not path.exists():
            print(f"{name}: not there")
            continue
        ours = figures(path, protocol)
        row = {"file": name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "ours": ours}
        row["measured_before_percent"] = dict(measured)
        row["difference_percent"] = {key: round(100 * ours[key] - value, 3) for key, value in measured.items()}
        if "RSVQA" in name:
            three = figures(path, THREE_TYPES[0])
            row["three_types"] = three
            row["difference_percent"]["three_types"] = round(100 * three["value"] - THREE_TYPES[1], 3)
        if "rs_detection" in name:
            with tempfile.TemporaryDirectory() as folder:
                reduced = without_negative_boxes(path, Path(folder))
                row["without_negative_boxes"] = figures(reduced, protocol) if reduced else None
        rows.append(row)
        print(name, json.dumps(row["difference_percent"]))
    options.out.write_text(json.dumps({"machine": describe(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
