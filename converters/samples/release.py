"""A fake of the released MMRS-1M archive: its tree, its misspelt names, its row forms and its known defects, tiny."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from converters.samples.noise import Rng

CAPTION = "Please provide an one-sentence caption for the provided remote sensing image in details."
CLASS = "What is the category of this remote sensing image? Answer the question using a single word or phrase."
REGION = "Please provide a short description for this region in this remote sensing image :"
GROUNDING = "Please provide the horizontal bounding box coordinate of the region which is described as:"
# JSON file -> image folder of the caption family, with the archive's own spellings.
CAPTIONS = {
    "caption_nwpu": "nwpu_caption",
    "caption_rsicd": "rsicd",
    "caption_rsitmd": "rstimd_caption",
    "caption_syndney": "syndney_caption",
    "caption_ucm": "ucm_caption",
}
_CLASSES = {
    "DSCR_cls": "DCSR/images",
    "EuroSAT_cls": "EuroSAT_split/train/AnnualCrop",
    "FGSCR_cls": "FGSCR_split/train/Kitty_Hawk_class_aircraft_carrier",
    "NWPU-RESISC45_cls": "NWPU-RESISC45_split/train/baseball_diamond",
    "RSSCN7_cls": "RSSCN7_split/train/aGrass",
    "UCMerced_cls": "UCMerced_split/train/baseballdiamond",
    "WHU-RS19_cls": "WHU-RS19_split/train/Airport",
}
# JSON file below json/detection -> image folder, numbers per box, class, (width, height).
DETECTION: dict[str, tuple[str, int, str, tuple[int, int]]] = {
    "SARV2/SARv2_trainnval_hbb": ("SARV2", 4, "ship", (60, 60)),
    "dior_detection/dior": ("dior", 4, "tennis court", (80, 80)),
    "dota/dota_obb": ("dotav2", 8, "plane", (64, 64)),
    "FAR1M/far1m": ("FAR1M", 8, "Boeing737", (70, 50)),
    "HRISD_OBB/hrisd_obb": ("HRSID_OBB", 8, "ship", (80, 80)),
    "IR/IR_ship": ("IR_ship", 4, "ship", (64, 48)),
    "IR/infrared_ship_lwir": ("infrared_ship_lwir", 4, "ship", (64, 40)),
    "HIT-UAV/hit-uav": ("HIT-UAV", 4, "person", (64, 51)),
    "VisDrone/visdrone": ("VisDrone", 4, "bus", (48, 64)),
}
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_Rows = list[dict[str, Any]]


def write(root: Path, *, seed: int = 0, parts: int = 3, unpacked: bool = False, images: int = 4) -> dict[str, Any]:
    """Write the fake into `root`: parts ``data.tar.gz.0 ..`` of one stream, cut anywhere, or the tree itself.

    Defects: two RSVG boxes without area (in both directions), one repeated VQA pair, one repeated reference, and a
    ``total.json`` that repeats every row.

    Args:
        root: becomes the folder of the parts, or the one with ``data/``.
        seed: equal seeds and options give equal bytes.
        parts: how many parts.
        unpacked: write the tree instead of parts.
        images: images per JSON file.

    Returns:
        JSON files, rows, pairs and images written (``total.json`` left out).
    """
    files, summary = _release_files(np.random.default_rng(seed), images)
    root.mkdir(parents=True, exist_ok=True)
    if unpacked:
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    else:
        write_parts(root, tar_bytes(files), parts, seed)
    return summary


def _release_files(rng: Rng, images: int) -> tuple[dict[str, bytes], dict[str, int]]:
    """Path -> content of every file, detection before JSON as in the archive, and the summary of `write`."""
    files: dict[str, bytes] = {}
    tables: dict[str, _Rows] = {}
    for json_name, folder in CAPTIONS.items():
        tables[f"caption/{json_name}"] = _captions(rng, files, folder, images)
    for json_name, folder in _CLASSES.items():
        tables[f"classification/{json_name}"] = _labels(rng, files, folder, images)
    for json_name, (folder, length, label, size) in DETECTION.items():
        tables[f"detection/{json_name}"] = _boxes(rng, files, folder, length, label, size, images)
    tables["RSVG/rsvg_trainval"] = _regions(rng, files, images)
    for json_name, folder in (("sydney_vqa", "RSIVQA"), ("MQVQA_train", "MQVQA_dataset"), ("floodnet", "floodnet")):
        tables[f"VQA/{json_name}"] = _questions(rng, files, folder, images)
    rows = [row for table in tables.values() for row in table]
    pairs = sum(len(row["conversations"]) // 2 for row in rows)
    summary = {"files": len(tables), "rows": len(rows), "pairs": pairs, "images": len(files)}
    for number, (name, table) in enumerate(tables.items()):
        files[f"data/json/{name}.json"] = _dump(table, number)
    files["data/json/total.json"] = json.dumps(rows).encode()
    return files, summary


def tar_bytes(files: Mapping[str, bytes]) -> bytes:
    """The files as an uncompressed tar with fixed times and owners."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def write_parts(root: Path, tar: bytes, parts: int, seed: int = 0) -> list[Path]:
    """Compress `tar` as one gzip stream and cut it at seeded places into ``root/data.tar.gz.<number>``."""
    stream = gzip.compress(tar, compresslevel=1, mtime=0)
    rng = np.random.default_rng(seed)
    cuts = sorted((1 + rng.choice(len(stream) - 1, parts - 1, replace=False)).tolist())
    paths = []
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(stream)], strict=True)):
        paths.append(root / f"data.tar.gz.{number}")
        paths[-1].write_bytes(stream[start:end])
    return paths


def _dump(rows: _Rows, number: int) -> bytes:
    # The files of the archive come from several hands; every usual way of writing JSON occurs here.
    text = json.dumps(rows, indent=(None, 4, 2)[number % 3], ensure_ascii=number % 2 == 0)
    text = text.replace("\n", "\r\n") if number % 5 == 4 else text
    return (b"\xef\xbb\xbf" if number % 7 == 6 else b"") + text.encode() + (b"\n" if number % 2 else b"")


def _row(image: str, *pairs: tuple[str, str]) -> dict[str, Any]:
    turns = [{"from": sender, "value": value} for pair in pairs for sender, value in zip(("human", "gpt"), pair)]  # noqa: B905
    return {"image": image, "conversations": turns}


def _image(rng: Rng, files: dict[str, bytes], path: str, size: tuple[int, int]) -> str:
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG" if path.endswith(".png") else "JPEG")
    files[path] = buffer.getvalue()
    return path


def _captions(rng: Rng, files: dict[str, bytes], folder: str, images: int) -> _Rows:
    rows = []
    for number in range(images):
        image = _image(rng, files, f"data/caption/{folder}/{number:05d}.jpg", (32, 32))
        texts = [f"there are {count} planes near a {folder.split('_')[0]} airport ." for count in range(2 + number % 3)]
        if folder == "rsicd" and number == 0:
            texts.append(texts[0])
        rows.append(_row(image, *((CAPTION, text) for text in texts)))
    return rows


def _labels(rng: Rng, files: dict[str, bytes], folder: str, images: int) -> _Rows:
    label = "ship" if folder.startswith("DCSR") else folder.rsplit("/", 1)[-1]
    paths = [f"data/classification/{folder}/{label}_{number}.jpg" for number in range(images)]
    return [_row(_image(rng, files, path, (24, 24)), (CLASS, label)) for path in paths]


def _boxes(
    rng: Rng, files: dict[str, bytes], folder: str, length: int, label: str, size: tuple[int, int], images: int
) -> _Rows:
    rows = []
    for number in range(images):
        tile = f"__0.8__{256 * number}___0" if folder == "VisDrone" else "__1__0___0" if length == 8 else ""
        suffix = "png" if tile else "jpg"
        image = _image(rng, files, f"data/detection/{folder}/images/{number:07d}{tile}.{suffix}", size)
        count = 11 if number == images - 1 else number + 1
        boxes = ";".join(_box(rng, size, length) for _ in range(count))
        kind = "horizontal" if length == 4 else "oriented"
        phrase = f"{_WORDS[count] if count < 11 else count} {label}{'s' * (count > 1)}"
        verb = "is" if count == 1 else "are"
        prompt = f"Detect {label}s shown in the image using {kind} bounding boxes."
        rows.append(_row(image, (prompt, f"There {verb} <p>{phrase}</p>[{boxes}] in the image.")))
    return rows


def _box(rng: Rng, size: tuple[int, int], length: int) -> str:
    side = max(size)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    x, y = left + int(rng.integers(0, size[0] - 12)), top + int(rng.integers(0, size[1] - 12))
    corners = (x, y, x + 10, y + 8) if length == 4 else (x, y, x + 10, y + 2, x + 9, y + 9, x + 1, y + 8)
    return ",".join(f"{value / side:.2f}" for value in corners)


def _regions(rng: Rng, files: dict[str, bytes], images: int) -> _Rows:
    rows = []
    for number in range(images):
        image = _image(rng, files, f"data/RSVG/DIOR_RSVG/images/{11207 + number}.jpg", (80, 80))
        regions = [(f"The tiny vehicle {index}", f"[{_box(rng, (80, 80), 4)}]") for index in range(1 + number % 3)]
        if number < 2:
            regions.append(("The thin dam", "[0.10,0.20,0.10,0.40]"))
        rows.append(_row(image, *((f"{REGION}{box}", text) for text, box in regions)))
        rows.append(_row(image, *((f"{GROUNDING}{text} in this remote sensing image", box) for text, box in regions)))
    return rows


def _questions(rng: Rng, files: dict[str, bytes], folder: str, images: int) -> _Rows:
    rows = []
    for number in range(images):
        image = _image(rng, files, f"data/VQA/{folder}/images/{number}.jpg", (28, 28))
        pairs = [("Is there a river in the image?", "no"), ("How many ships are there?", str(int(rng.integers(9))))]
        if folder == "RSIVQA" and number == 0:
            pairs.append(pairs[0])
        rows.append(_row(image.replace("/", "\\") if folder == "floodnet" and number == 1 else image, *pairs))
    return rows
