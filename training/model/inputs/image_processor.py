"""Images to the padded squares that the model reads, as a transformers image processor."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from PIL import Image
from transformers import BaseImageProcessor, BatchFeature

from training.model.inputs.batch import flat_images
from training.model.inputs.pictures import as_picture
from training.model.published.modelling_code import auto_map

# CLIP's mean colour, so that the padding is near zero after normalisation.
PAD_COLOUR = (122, 116, 104)
IMAGE_MODES = ("L", "RGB", "RGBA")
REDUCING_GAP = 3.0
# Of an image that is padded, in pixels; a longer one is shrunk by a whole factor first. Pillow's square of it has 1 GB.
MOST_SIDE = 16_000


def pad_and_resize(image: Image.Image, size: int, out_CHW: np.ndarray | None = None) -> np.ndarray:
    """Pad to a centred square and resize, bicubic with antialiasing.

    The offset is that of the box frame: int((side - width) / 2) to the left, int((side - height) / 2) above.

    Args:
        image: mode L (repeated to three channels), RGB, or RGBA (alpha is dropped).
        size: side of the result in pixels.
        out_CHW: where to write the result; a new array where it is None.

    Returns:
        uint8 (3, size, size), RGB.

    Raises:
        ValueError: another image mode; nothing is written then.
    """
    if image.mode not in IMAGE_MODES:
        raise ValueError(
            f"image mode is {image.mode!r}; render it to one of {', '.join(IMAGE_MODES)} (8 bits a channel) first"
        )
    side = max(image.size)
    if image.size != (side, side):
        image = _padded(image, size)
    if side != size:
        # The gap lets Pillow shrink by an integer factor first, which is faster and differs by a grey level or so.
        image = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=REDUCING_GAP)
    pixels_CHW = np.empty((3, size, size), np.uint8) if out_CHW is None else out_CHW
    for channel, band in enumerate(image.convert("RGB").split()):
        pixels_CHW[channel] = np.asarray(band)
    return pixels_CHW


def _padded(image: Image.Image, size: int) -> Image.Image:
    """The image in the middle of its square, RGB. A wide one that `size` shrinks less than an integer factor is brought
    to the width `size` on the way: Pillow would do so first anyway, but on the padding and on three channels too."""
    if max(image.size) > MOST_SIDE:
        # The square of a strip of 70,000 pixels has 15 GB.
        image = image.convert("RGB").reduce(-(-max(image.size) // MOST_SIDE))
    side = max(image.size)
    left, top = (side - image.width) // 2, (side - image.height) // 2
    width = side
    if image.width == side and side < 2 * REDUCING_GAP * size and image.mode in ("L", "RGB"):
        width = size
        image = image.resize((size, image.height), Image.Resampling.BICUBIC)
    square = Image.new("RGB", (width, side), PAD_COLOUR)
    square.paste(image.convert("RGB"), (left, top))
    return square


class EarthGPTImageProcessor(BaseImageProcessor):
    """Images to padded squares. Each encoder's own normalisation is part of the model.

    Args:
        image_size: `EarthGPTConfig.image_size`, in pixels.
        sensor: what pictures of more than 8 bits are of, see `as_picture`.
    """

    model_input_names: ClassVar = ["pixel_values"]  # type: ignore[misc]

    def __init__(self, image_size: int = 512, sensor: str = "optical", **kwargs):
        super().__init__(**kwargs)
        self.image_size = image_size
        self.sensor = sensor

    @property
    def size(self) -> dict[str, int]:
        """Height and width of what the model reads, as other programs ask for it."""
        return {"height": self.image_size, "width": self.image_size}

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoImageProcessor") -> None:
        """Without effect: `EarthGPTProcessor.save_pretrained` writes the code in any case."""

    def to_dict(self) -> dict[str, Any]:
        """The settings, and where the class lies in the code that `EarthGPTProcessor.save_pretrained` writes."""
        return super().to_dict() | auto_map("AutoImageProcessor")

    def preprocess(
        self, images: Any, return_tensors: str | None = "pt", sensor: str | None = None, **kwargs: Any
    ) -> BatchFeature:
        """Padded squares as `pixel_values`, uint8 (N, 3, image_size, image_size).

        Args:
            images: one picture or a list of them, each of any kind that `as_picture` takes, turned upright as its EXIF
                says, as those of a data set are; boxes are those of the upright one.
            return_tensors: "pt", "np", or None for an array too.
            sensor: in the place of the processor's own.

        Raises:
            ValueError: no picture of a kind that is read, an address, or a keyword that is not known.
        """
        if kwargs:
            raise TypeError(f"{next(iter(kwargs))!r} is no argument of EarthGPTImageProcessor; it knows sensor alone")
        listed = flat_images(images)
        if not listed:
            raise ValueError("there are no images; pass one at least")
        pictures = (as_picture(image, sensor or self.sensor) for image in listed)
        squares_NCHW = np.stack([pad_and_resize(picture, self.image_size) for picture in pictures])
        return BatchFeature({"pixel_values": squares_NCHW}, tensor_type=return_tensors)
