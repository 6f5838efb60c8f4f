"""Rows of ids as one batch, and which images belong to which prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch


@dataclass(frozen=True)
class BatchOptions:
    """How a batch is made, under the names that transformers gives.

    Args:
        padding: True or "longest" to the longest row, "max_length" to `max_length`, False not at all.
        padding_side: "left", so that all prompts end where answers begin, or "right".
        truncation: rows longer than `max_length` lose their end; never a part of an image.
        max_length: tokens.
        pad_to_multiple_of: the padded length is one.
        return_tensors: "pt", "np" or None for lists.
        return_mm_token_type_ids: 1 for every image slot, 0 for text.
        return_text_replacement_offsets: where placeholders of rendered prompts stood.
        sensor: of all images, in the place of the image processor's own.
    """

    padding: bool | str = True
    padding_side: Literal["left", "right"] = "left"
    truncation: bool | str | None = False
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: str | None = "pt"
    return_mm_token_type_ids: bool = False
    return_text_replacement_offsets: bool = False
    sensor: str | None = None

    def __post_init__(self) -> None:
        if self.padding not in (True, False, "longest", "max_length", "do_not_pad"):
            raise ValueError(f"padding is {self.padding!r}; set True, False, 'longest' or 'max_length'")
        if self.padding_side not in ("left", "right"):
            raise ValueError(f"padding_side is {self.padding_side!r}; set 'left' or 'right'")
        if self.max_length is None and (self.padding == "max_length" or self.cuts):
            raise ValueError("max_length is None; set the number of tokens to pad or to truncate to")

    @property
    def cuts(self) -> bool:
        """Whether long rows are cut."""
        return bool(self.truncation) and self.truncation != "do_not_truncate"

    def length(self, longest: int) -> int | None:
        """Of all rows, `longest` being that of the longest one; None where rows keep their own."""
        if self.padding in (False, "do_not_pad"):
            return None
        wanted = max(longest, self.max_length or 0) if self.padding == "max_length" else longest
        return (
            wanted
            if self.pad_to_multiple_of is None
            else -(-wanted // self.pad_to_multiple_of) * self.pad_to_multiple_of
        )


def padded(
    rows: list[list[int]], pad_id: int, image_id: int, options: BatchOptions, masks: list[list[int]] | None = None
) -> dict[str, list[list[int]]]:
    """`input_ids` and `attention_mask`, and `assistant_masks` where there are `masks`, one number for each id.

    Raises:
        ValueError: a row that is to be cut would lose a part of an image.
    """
    masks = masks or []
    if options.cuts and options.max_length is not None:
        for index, row in enumerate(rows):
            if image_id in row[options.max_length :]:
                needed = len(row) - row[::-1].index(image_id)
                raise ValueError(
                    f"max_length is {options.max_length}, but the images of prompt {index} end at token {needed}; set "
                    f"max_length={len(row)}, or truncation=False"
                )
        rows, masks = ([row[: options.max_length] for row in each] for each in (rows, masks))
    length = options.length(max(map(len, rows)))

    def filled(row: list[int], value: int) -> list[int]:
        missing = [value] * (0 if length is None else length - len(row))
        return missing + row if options.padding_side == "left" else row + missing

    data = {
        "input_ids": [filled(row, pad_id) for row in rows],
        "attention_mask": [filled([1] * len(row), 0) for row in rows],
    }
    return data | ({"assistant_masks": [filled(mask, 0) for mask in masks]} if masks else {})


def flat_images(images: Any) -> list[Any]:
    """The images of one image, of lists of them, of lists of lists, or of a batch in one array; None is no image."""
    if images is None:
        return []
    if isinstance(images, list | tuple):
        return [each for image in images for each in flat_images(image)]
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4:
        return list(images)
    return [images]


def shared_images(images: Any, placeholders: Sequence[int | None]) -> list[list[Any]]:
    """The images of each prompt.

    Args:
        images: as `EarthGPTProcessor.__call__` takes them.
        placeholders: of each prompt; None where a prompt has none and may have any number of images.

    Raises:
        ValueError: other numbers of images than prompts or placeholders.
    """
    count = len(placeholders)
    if images is None:
        return [[] for _ in placeholders]
    listed = list(images) if isinstance(images, list | tuple) else flat_images(images)
    by_prompt = [flat_images(image) for image in listed]
    if len(listed) != count or (count > 1 and _needed(placeholders) not in (None, [len(own) for own in by_prompt])):
        by_prompt = _spread([each for own in by_prompt for each in own], placeholders)
    for index, (own, needed) in enumerate(zip(by_prompt, placeholders, strict=True)):
        if needed is not None and len(own) != needed:
            raise ValueError(f"prompt {index} has {needed} placeholders <image> and {len(own)} images; pass as many")
    return by_prompt


def _needed(placeholders: Sequence[int | None]) -> list[int] | None:
    return None if None in placeholders else [count for count in placeholders if count is not None]


def _spread(images: list[Any], placeholders: Sequence[int | None]) -> list[list[Any]]:
    if len(placeholders) == 1:
        return [images]
    needed = _needed(placeholders)
    if needed is None or sum(needed) != len(images):
        raise ValueError(
            f"{len(images)} images for {len(placeholders)} prompts; pass one image, or None, or a list for each prompt"
        )
    ends = np.cumsum(needed).tolist()
    return [images[end - count : end] for end, count in zip(ends, needed, strict=True)]
