"""What is done by hand against the library that does it too: `python -m benchmarks.by_hand --out RESULT.json`.

Each pair runs in one process, in turn, and the fastest of several rounds counts; the import of pandas runs in fresh
processes. The files measured are a generated JPEG and names of our own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
import timeit
from collections.abc import Callable
from datetime import date
from pathlib import Path

from PIL import Image

from benchmarks.machine import describe
from mmrs.imaging.headers.jpeg import read_plain_jpeg
from mmrs.shards.tar import member_header

_NAME, _BYTES = "hit-uav-train-00000001.jpg", 123_456
_ROUNDS, _CALLS = 9, 2_000
_COLUMN = """
import resource, time, pyarrow as pa
from mmrs.shards.columns import column
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
{call}
print(time.perf_counter() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def main() -> None:
    """Measure each pair and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.jpg"
        Image.effect_noise((640, 512), 40).save(image)
        pairs = {
            "header of a tar member": {
                "by hand": _microseconds(lambda: member_header(_NAME, _BYTES)),
                "tarfile.TarInfo.tobuf": _microseconds(_tarfile_header),
            },
            "size of a JPEG": {
                "by hand": _microseconds(lambda: read_plain_jpeg(image)),
                "PIL.Image.open": _microseconds(lambda: _pillow_size(image)),
            },
            "first column of a process": {
                "by hand": _first_column("column([1, 2], pa.int64())"),
                "pyarrow.array": _first_column("pa.array([1, 2], pa.int64())"),
            },
        }
    content = {"benchmark": "by_hand", "date": date.today().isoformat(), "machine": describe(), "pairs": pairs}
    out.write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(pairs, indent=2))


def _microseconds(call: Callable[[], object]) -> dict[str, float]:
    seconds = min(timeit.repeat(call, number=_CALLS, repeat=_ROUNDS)) / _CALLS
    return {"microseconds": round(seconds * 1e6, 2)}


def _tarfile_header() -> bytes:
    info = tarfile.TarInfo(_NAME)
    info.size = _BYTES
    return info.tobuf(format=tarfile.USTAR_FORMAT)


def _pillow_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _first_column(call: str) -> dict[str, float]:
    """Seconds and MiB that the first column costs a fresh process."""
    runs = []
    for _ in range(5):
        words = [sys.executable, "-c", _COLUMN.format(call=call)]
        runs.append([float(word) for word in subprocess.check_output(words, text=True).split()])
    seconds, mebibytes = min(runs)
    return {"seconds": round(seconds, 4), "MiB": round(mebibytes, 1)}


if __name__ == "__main__":
    main()
