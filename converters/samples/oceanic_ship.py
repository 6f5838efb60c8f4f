"""A fake Oceanic-Ship in a layout of our choice; see `converters.samples.infrared_boxes`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from converters.samples.infrared_boxes import BoxForm, write_set


def write(
    root: Path, *, images: Annotated[int, Field(ge=1)] = 10, seed: int = 0, annotations: BoxForm = "voc"
) -> dict[str, Any]:
    """Write three versions of `images` moments with VOC XML or YOLO text into `root`.

    Equal seeds and options give equal bytes.
    """
    return write_set(root, "oceanic-ship", images, seed, annotations, ("lwir", "swir", "fusion"))
