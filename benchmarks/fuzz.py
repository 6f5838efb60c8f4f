"""Damaged annotation files of every source: `python -m benchmarks.fuzz --inputs 100000 --out RESULT.json`.

A generated sample of each source is written once. Then one of its annotation files at a time is damaged (bytes cut,
inserted, flipped or truncated, or a number or word replaced) and the source is discovered and read whole. Allowed
outcomes are items, problems, `BadItem` and `UserError`; anything else is a finding, kept with the damaged bytes.
--inputs is per source.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import re
import sys
import tempfile
import time
import traceback
from datetime import date
from pathlib import Path

import converters
from benchmarks.machine import describe
from converters import samples
from mmrs.errors import BadItem, UserError

SUFFIXES = {".xml", ".txt", ".json", ".csv", ".yaml"}
PIECES = (
    b"",
    b"NaN",
    b"-1e999",
    b"null",
    b"[]",
    b'""',
    b"</",
    b"<x>",
    b"\xff",
    b"\0",
    b"&x;",
    b"-",
    b",",
    b"\n",
    b"{",
    b"1",
)
# A value in place of another keeps the file well-formed, so that what comes after the parsing is reached.
TOKEN = re.compile(rb"[0-9.+-]+|[A-Za-z_]+")
NUMBERS = (
    b"",
    b"0",
    b"-1",
    b"-0.0",
    b"7",
    b"1.5",
    b"1e308",
    b"-1e999",
    b"NaN",
    b"99999999999999999999",
    b"1_0",
    b"\xc2\xb2",
)
WORDS = (b"null", b"true", b"[]", b"{}", b"ship", b"Unspecified", b"\xe5\xbd\xb1", b"../x", b"/etc/passwd", b"a" * 300)
MOST_FINDINGS = 5


def main() -> None:
    """Fuzz every source, or those named, and write one JSON file. Exit code 1 where there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--source", action="append", help="only this source; repeatable")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    names = arguments.source or [name for name in converters.names() if name != "generic"]
    result = {
        "date": date.today().isoformat(),
        "machine": describe(),
        "inputs_per_source": arguments.inputs,
        "sources": {},
    }
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            result["sources"][name] = fuzz(name, Path(folder) / name, arguments.inputs, arguments.seed)
        print(name, {key: value for key, value in result["sources"][name].items() if key != "findings"}, flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    sys.exit(1 if any(part["findings"] for part in result["sources"].values()) else 0)


def fuzz(name: str, root: Path, inputs: int, seed: int) -> dict:
    """Outcomes of `inputs` damaged files of one source."""
    samples.write(name, root)
    source = converters.get(name)
    files = [path for path in sorted(root.rglob("*")) if path.suffix in SUFFIXES and path.is_file()]
    chance = random.Random(f"{seed} {name}")
    outcomes = {"items": 0, "bad_item": 0, "user_error": 0}
    findings: list[dict] = []
    started = time.process_time()
    for _ in range(inputs if files else 0):
        path = chance.choice(files)
        original = path.read_bytes()
        damaged = damage(original, chance)
        path.write_bytes(damaged)
        try:
            outcomes[read_all(source, root)] += 1
        except Exception:
            findings.append(
                {
                    "file": str(path.relative_to(root)),
                    "damaged": base64.b64encode(damaged).decode(),
                    "traceback": traceback.format_exc(limit=-4),
                }
            )
            if len(findings) >= MOST_FINDINGS:
                break
        finally:
            path.write_bytes(original)
    return {"files": len(files), **outcomes, "seconds": time.process_time() - started, "findings": findings}


def read_all(source: converters.Converter, root: Path) -> str:
    """Discover and read every split; which of the allowed outcomes it was."""
    outcome = "items"
    for split in source.splits:
        try:
            found = source.discover(root, split)
        except UserError:
            return "user_error"
        for item in found.items:
            try:
                source.read(item)
            except BadItem:
                outcome = "bad_item"
    return outcome


def damage(data: bytes, chance: random.Random) -> bytes:
    """A value in place of another; or one to four cuts, insertions or flipped bytes, and at times a truncation."""
    changed = bytearray(data)
    if chance.random() < 0.4 and (tokens := list(TOKEN.finditer(data))):
        start, end = chance.choice(tokens).span()
        changed[start:end] = chance.choice(NUMBERS + WORDS)
        return bytes(changed)
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(changed))
        kind = chance.random()
        if kind < 0.3 and changed:
            changed[min(start, len(changed) - 1)] ^= 1 << chance.randint(0, 7)
        else:
            changed[start : start + chance.randint(0, 12)] = chance.choice(PIECES)
    return bytes(changed[: chance.randint(0, len(changed))]) if chance.random() < 0.25 else bytes(changed)


if __name__ == "__main__":
    main()
