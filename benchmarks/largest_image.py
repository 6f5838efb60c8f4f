"""Time and peak memory of the largest images that are stored: `python -m benchmarks.largest_image --out RESULT.json`.

Each case is an image at a bound of `mmrs.imaging.limits`, made of noise so that nothing is cheap, and stored as a build
stores it. Making and storing run in processes of their own; time is the storing process's CPU time, the peak its
maximum resident size (`resource.getrusage`), libraries included.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import warnings
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from mmrs.imaging.limits import DECODED_BYTES_AT_ONCE, JPEG_SCANS, MOST_SECONDS, WHOLE_IMAGE

_TILE_SIDE = 512
_RNG = np.random.default_rng(0)
# (file, type of samples, bands, suffix of the stored image)
CASES = {
    "float32-tiff": ("a.tif", "float32", 1, "png"),
    "uint16-rgb-tiff": ("a.tif", "uint16", 3, "png"),
    "complex64-tiff": ("a.tif", "complex64", 1, "jpg"),
    "uint8-rgb-png": ("a.png", "uint8", 3, "png"),
    "uint8-rgb-jpeg-of-most-scans": ("a.jpg", "uint8", 3, "jpg"),
}


def make(path: Path, dtype: str, bands: int) -> None:
    """Write the largest square image of a type that the bounds allow."""
    pixel_bytes = np.dtype(dtype).itemsize * bands
    side = int(min(WHOLE_IMAGE.pixels, DECODED_BYTES_AT_ONCE // pixel_bytes) ** 0.5)
    if path.suffix == ".tif":
        _make_tiff(path, dtype, bands, side)
        return
    tile = _RNG.integers(0, 256, (_TILE_SIDE, _TILE_SIDE, bands), dtype=np.uint8)
    repeats = -(-side // _TILE_SIDE)
    image = Image.fromarray(np.tile(tile, (repeats, repeats, 1))[:side, :side])
    if path.suffix == ".png":
        image.save(path, compress_level=1)
        return
    # Coarse, or a hundred scans of noise would pass the bound on the file.
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=5, progressive=True)
    data = buffer.getvalue()
    # Its last scans come again: they refine all pixels.
    *_, scan = data[:-2].split(b"\xff\xda")
    copies = JPEG_SCANS - data.count(b"\xff\xda")
    path.write_bytes(data[:-2] + (b"\xff\xda" + scan) * copies + data[-2:])


def _make_tiff(path: Path, dtype: str, bands: int, side: int) -> None:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.windows import Window

    rows = _RNG.integers(1, 30_000, (bands, _TILE_SIDE, side)).astype(dtype)
    profile = {"driver": "GTiff", "width": side, "height": side, "count": bands, "dtype": dtype, "tiled": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            for y in range(0, side, _TILE_SIDE):
                height = min(_TILE_SIDE, side - y)
                file.write(rows[:, :height], window=Window(0, y, side, height))


def store(path: Path, suffix: str) -> dict[str, float]:
    """Store one image; seconds of CPU and bytes of memory."""
    from mmrs.imaging.probe import probe
    from mmrs.imaging.store import store_file

    image = store_file(path, probe(path), suffix, "optical", "L1")  # type: ignore[arg-type]
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = round(used.ru_utime + used.ru_stime, 1)
    return {"width": image.width, "cpu_seconds": seconds, "peak_bytes": used.ru_maxrss * 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--case", choices=sorted(CASES))
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.store is not None:
        print(json.dumps(store(options.store, CASES[options.case][3])))
        return
    results = {}
    for case in [options.case] if options.case else CASES:
        name, dtype, bands, _ = CASES[case]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            make(path, dtype, bands)
            command = [sys.executable, "-m", "benchmarks.largest_image", "--case", case, "--store", str(path)]
            results[case] = {"file_bytes": path.stat().st_size} | json.loads(subprocess.check_output(command))
            print(case, results[case], "over the bound" if results[case]["cpu_seconds"] > MOST_SECONDS else "ok")
    if options.out is not None:
        content = {"date": date.today().isoformat(), "machine": describe(), "most_seconds": MOST_SECONDS}
        options.out.write_text(json.dumps(content | {"cases": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
