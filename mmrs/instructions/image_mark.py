"""The mark ``<image>`` of LLaVA-like texts: it says where the image goes, which is always first here; it is taken off.

One function for all that read such texts (builder, streaming reader, release), so that one conversation has one text.
"""

from __future__ import annotations

IMAGE_MARK = "<image>"


def without_image_marks(text: str) -> str:
    """The text without any mark: one blank in place of marks amid words, nothing at its ends; else as written."""
    if IMAGE_MARK not in text:
        return text
    before, *between, last = text.split(IMAGE_MARK)
    pieces = [before.rstrip(), *(piece.strip() for piece in between), last.lstrip()]
    return " ".join(piece for piece in pieces if piece)
