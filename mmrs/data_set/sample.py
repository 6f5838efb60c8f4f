"""One image of a data set with all that is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from mmrs.errors import RunFailure
from mmrs.imaging.probe import open_stored
from mmrs.record import Dialogue, Record
from mmrs.text import see_verify


@dataclass(frozen=True, slots=True)
class Sample:
    """An image as it is stored, and its record.

    Args:
        image_bytes: a JPEG or PNG; of several images the first.
        record: annotations in pixels of the image, and the rendered dialogues.
        location: of the data set, for messages.
        further_bytes: of the images after the first, where the texts are about several.
    """

    image_bytes: bytes
    record: Record
    location: str
    further_bytes: tuple[bytes, ...] = ()

    @property
    def id(self) -> str:
        """``<source>/<split>/<stem>``."""
        return self.record.id

    @property
    def image(self) -> Image.Image:
        """The image, decoded anew each time, in the mode it is stored in (``L`` or ``RGB``).

        Raises:
            RunFailure: it cannot be decoded, or is beyond the bounds of `mmrs.imaging.limits`.
        """
        return self._decoded(self.image_bytes)

    @property
    def images(self) -> list[Image.Image]:
        """All images, in the order in which the texts are about them. Raises as `image`."""
        return [self._decoded(content) for content in (self.image_bytes, *self.further_bytes)]

    def _decoded(self, content: bytes) -> Image.Image:
        try:
            image = open_stored(content)
            image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RunFailure(
                f"image of {self.record.id} cannot be decoded: {error}. {see_verify(self.location)}"
            ) from error
        return image

    def messages(self, dialogue: Dialogue) -> list[dict[str, object]]:
        """A dialogue of the record as chat messages of transformers and TRL; images stand before the first text."""
        roles = {"human": "user", "gpt": "assistant"}
        messages: list[dict[str, object]] = []
        for turn in dialogue.turns:
            content: list[dict[str, str]] = [] if messages else [{"type": "image"} for _ in self.record.images]
            # The mark of the image's place is the template's to write.
            text = turn.value.replace("<image>", "").strip()
            messages.append({"role": roles[turn.sender], "content": [*content, {"type": "text", "text": text}]})
        return messages
