"""A million rows in `mmrs view`: seconds to the first picture in Chromium, milliseconds of each filter, memory.

    python benchmarks/viewer.py --rows 1000000 --out /tmp/million --result benchmarks/results/DATE-viewer.json

writes a made data set of that many rows once: real indexes and records, and one image a shard that all its rows share
(a million stored images would fill the disk and change nothing that is measured). Then the server is started as a user
starts it, and Chromium opens its page. Filters are timed in the page, from the change of a field to the painted rows.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import machine
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mmrs.shards.index import INDEX_SCHEMA
from mmrs.shards.manifest import Manifest, ShardEntry, SourceEntry, SplitCounts, index_path

SOURCES = {
    "aerial": ("optical", ("detection-hbb", "detection-obb")),
    "harbour": ("sar", ("detection-hbb", "detection-obb", "captioning")),
    "night": ("infrared", ("detection-hbb",)),
    "questions": ("optical", ("vqa",)),
    "scenes": ("optical", ("classification", "captioning")),
}
CLASSES = {
    "aerial": [
        f"{kind} {what}" for kind in ("small", "large") for what in ("vehicle", "ship", "plane", "tank", "court")
    ],
    "harbour": ["ship", "harbour crane"],
    "night": ["person", "car", "bicycle"],
    "questions": [],
    "scenes": [],
}
LABELS = [f"scene {letter}" for letter in "abcdefghijklmnopqrst"]
WORDS = [
    "many",
    "a",
    "dense",
    "forest",
    "lies",
    "beside",
    "wide",
    "river",
    "with",
    "bridge",
    "ships",
    "near",
    "harbour",
    "green",
    "fields",
    "round",
    "dark",
    "roofs",
]
ROWS_PER_SHARD = 5_000


def make(folder: Path, rows: int) -> None:
    rng = np.random.default_rng(1)
    entries: list[ShardEntry] = []
    counts: dict[str, dict[str, int]] = {}
    shards = max(1, rows // ROWS_PER_SHARD)
    for number in range(shards):
        source = list(SOURCES)[number % len(SOURCES)]
        split = ("train", "train", "train", "test")[number // len(SOURCES) % 4]
        counts.setdefault(source, {}).setdefault(split, 0)
        counts[source][split] += 1
    place: dict[tuple[str, str], int] = {}
    for number in range(shards):
        source = list(SOURCES)[number % len(SOURCES)]
        split = ("train", "train", "train", "test")[number // len(SOURCES) % 4]
        of = counts[source][split]
        nth = place[source, split] = place.get((source, split), -1) + 1
        path = f"{source}/{split}-{nth:05d}-of-{of:05d}.tar"
        entries.append(write_shard(folder, path, source, split, nth, min(rows, ROWS_PER_SHARD), rng))
    sources = {
        name: SourceEntry(
            sensor=sensor, licence="CC0-1.0", tasks=tasks, categories=tuple(CLASSES[name]), converter_version=1,
            image_suffix=dict.fromkeys(counts[name], "jpg"), options={},
            splits={split: SplitCounts(records=n * min(rows, ROWS_PER_SHARD)) for split, n in counts[name].items()},
        )
        for name, (sensor, tasks) in SOURCES.items()
        if name in counts
    }  # fmt: skip
    (folder / "quarantine.jsonl").write_bytes(b"")
    manifest = Manifest(
        tool_version="0", recipe_digest="0", sources=sources, shards=tuple(entries),
        quarantine_sha256=hashlib.sha256(b"").hexdigest(),
    ).with_id()  # fmt: skip
    (folder / "manifest.json").write_bytes(manifest.to_json())


def write_shard(folder: Path, path: str, source: str, split: str, nth: int, rows: int, rng) -> ShardEntry:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    image = made_image(rng)
    sensor, tasks = SOURCES[source]
    table: dict[str, list] = {name: [] for name in INDEX_SCHEMA.names}
    offset, parts = len(image), [image]
    objects_R = rng.geometric(0.2, rows) - 1 if CLASSES[source] else np.zeros(rows, int)
    corners_R = rng.uniform(0, 180, (rows, 2))
    for row in range(rows):
        key = f"{nth:05d}_{row:05d}"
        record = made_record(rng, f"{source}/{split}/{key}", source, split, sensor, tasks, int(objects_R[row]),
                             corners_R[row])  # fmt: skip
        content = orjson.dumps(record, option=orjson.OPT_SORT_KEYS)
        names = sorted({item["category"] for item in record["objects"]})
        values = {
            "key": key, "id": record["id"], "image_offset": 0, "image_size": len(image), "record_offset": offset,
            "record_size": len(content), "width": 256, "height": 256, "label": record["label"], "categories": names,
            "objects": len(record["objects"]), "ignored_objects": 0, "captions": len(record["captions"]),
            "dialogue_tasks": [item["task"] for item in record["dialogues"]],
            "dialogue_chars": [40 for _ in record["dialogues"]], "perceptual_hash": rng.bytes(64),
            "reencoded": "16-bit" if row % 50 == 0 else None, "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        for name in table:
            table[name].append(values.get(name))
        parts.append(content)
        offset += len(content)
    tar = b"".join(parts)
    (folder / path).write_bytes(tar)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pydict(table, INDEX_SCHEMA), buffer, compression="zstd", store_schema=True)
    index = buffer.getvalue()
    (folder / index_path(path)).write_bytes(index)
    return ShardEntry(
        source=source, split=split, path=path, records=rows, bytes=len(tar), sha256=hashlib.sha256(tar).hexdigest(),
        index_bytes=len(index), index_sha256=hashlib.sha256(index).hexdigest(),
    )  # fmt: skip


def made_image(rng) -> bytes:
    small = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize((256, 256), Image.Resampling.BICUBIC).save(buffer, "JPEG")
    return buffer.getvalue()


def made_record(rng, name, source, split, sensor, tasks, objects, corner) -> dict:
    words = [WORDS[place] for place in rng.integers(0, len(WORDS), 12)]
    boxes = []
    for number in range(objects):
        x, y, side = float(corner[0] + number) % 180, float(corner[1] + 7 * number) % 180, 8.0 + 5 * (number % 9)
        quad = [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]
        category = CLASSES[source][number % len(CLASSES[source])]
        boxes.append({"category": category, "label": category, "quad": quad, "hbb": None, "difficult": False,
                      "truncated": False, "ignore": False, "flags": "{}"})  # fmt: skip
    captions = [" ".join(words[:8])] if "captioning" in tasks else []
    asked = " ".join(words[8:])
    questions = [{"question": f"is there {asked}?", "answer": "yes", "type": None}] if "vqa" in tasks else []
    turns = [{"from": "human", "value": "<image>\nDescribe the image."}, {"from": "gpt", "value": " ".join(words)}]
    return {
        "schema": "mmrs-record-1", "id": name, "source": source, "split": split, "sensor": sensor, "licence": "CC0-1.0",
        "image": {"width": 256, "height": 256, "mode": "RGB", "sha256": "0" * 64, "reencoded": None, "render": None,
                  "parent": None, "window": None},
        "objects": boxes, "label": LABELS[int(corner[0]) % 20] if source == "scenes" else None, "source_label": None,
        "captions": captions, "questions": questions, "expressions": [], "metadata": "{}",
        "provenance": {"annotation": None, "original_id": None, "layout": None},
        "dialogues": [{"task": task, "turns": turns} for task in tasks],
    }  # fmt: skip


FILTERS = {
    "one source": "source=harbour",
    "a class": "class=large+ship",
    "a task and a split": "task=captioning&split=test",
    "re-encoded": "reencoded=16-bit",
    "number of objects": "objects_from=3&objects_to=6",
    "size of an object": "size_from=40",
    "words": "text=river+dense",
    "a word that nothing has": "text=zeppelin",
    "id": "text=00013_00077",
    "most objects first": "order=objects",
    "five at once": "source=aerial&class=large+ship&objects_from=2&size_from=20&order=objects",
}
# From the question, as the page puts it, until the first cards of the answer are on the screen.
_TIMED = """async (query) => {
    const { Grid } = await import("/static/grid.js");
    const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const host = document.getElementById("grid");
    const start = performance.now();
    let total = 0;
    await new Promise((done, fail) => new Grid(host, {
        fetchRows: (offset, limit) => fetch(`/api/rows?${query}&offset=${offset}&limit=${limit}`).then((r) => r.json()),
        makeCard: (row) => Object.assign(document.createElement("div"), { className: "cell", textContent: row.name }),
        onAnswer: (answer) => { total = answer.total; done(); },
        onError: fail,
    }));
    await painted();
    return [performance.now() - start, total];
}"""


def measure(folder: Path, port: int) -> dict:
    """The server as a user starts it, and its page in Chromium."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "mmrs", "view", str(folder), "--port", str(port)]
    command += ["--exclude", str(folder / "exclude.jsonl")]
    found: dict = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1360, "height": 850})
        started = time.monotonic()
        server = subprocess.Popen(command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)
        try:
            wait_for(port, server)
            found["first_of_all"] = first_paint(page, port) | {
                "first_picture_s_from_the_command": time.monotonic() - started
            }
            found["first_pages"] = [first_paint(page, port) for _ in range(5)]
            found["megabytes_after_start"] = megabytes(server.pid)
            found["texts_and_sizes"] = read_contents(page, port, server.pid)
            found["filters"] = {name: timed(page, query) for name, query in FILTERS.items()}
            found["megabytes_at_end"] = megabytes(server.pid)
            found["most_megabytes"] = megabytes(server.pid, "VmHWM")
        finally:
            server.terminate()
            server.wait(30)
        browser.close()
    return found


def wait_for(port: int, server: subprocess.Popen) -> None:
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise RuntimeError("the server ended")


def first_paint(page, port: int) -> dict:
    """Seconds from the request of the page to its first pixels, and to the first picture in the grid."""
    start = time.monotonic()
    page.goto(f"http://127.0.0.1:{port}/", wait_until="commit")
    page.locator(".cell image").first.wait_for(state="attached")
    page.wait_for_function(
        "() => performance.getEntriesByType('resource').some((each) => each.name.includes('?small'))"
    )
    pictures = time.monotonic() - start
    # A page counts from its own request.
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
    return {"first_contentful_paint_ms": paint, "first_picture_s": pictures}


def read_contents(page, port: int, pid: int) -> dict:
    """The one reading of all records, which the first question about words begins."""
    start, slowest, most = time.monotonic(), 0.0, 0.0
    while True:
        asked = time.monotonic()
        answer = page.request.get(f"http://127.0.0.1:{port}/api/rows?text=river&limit=1").json()["contents"]
        slowest, most = max(slowest, time.monotonic() - asked), max(most, megabytes(pid, children=True))
        if answer["failure"]:
            raise RuntimeError(answer["failure"])
        if answer["read"] == answer["of"]:
            break
        time.sleep(0.5)
    seconds = time.monotonic() - start
    return {"seconds": seconds, "slowest_answer_meanwhile_s": slowest, "most_megabytes_with_its_processes": most}


def timed(page, query: str) -> dict:
    """Five questions of the kind. The server remembers the last ones, so each is written another way."""
    times, total = [], 0
    for turn in range(5):
        blanks = "%20" * turn
        milliseconds, total = page.evaluate(_TIMED, query + (blanks if "text=" in query else f"&text={blanks}"))
        times.append(milliseconds)
    return {"ms": times, "median_ms": sorted(times)[len(times) // 2], "rows": total}


def megabytes(pid: int, field: str = "VmRSS", children: bool = False) -> float:
    pids = [pid]
    if children:
        for children_of in Path(f"/proc/{pid}/task").glob("*/children"):
            with suppress(OSError):
                pids += [int(word) for word in children_of.read_text().split()]
    total = 0.0
    for each in pids:
        try:
            status = Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue
        total += int(re.search(rf"{field}:\s+(\d+) kB", status)[1]) / 1024
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--port", type=int, default=8799)
    parser.add_argument("--result", type=Path, required=True)
    words = parser.parse_args()
    if not (words.out / "manifest.json").exists():
        make(words.out, words.rows)
    load = os.getloadavg()[0]
    found = {"rows": words.rows, "machine": machine.describe(), "load_before": load} | measure(words.out, words.port)
    words.result.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
