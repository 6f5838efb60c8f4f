r"""From images and conversations to what the model reads; the prompt format is `training.model.language.dialogue_form`.

In its plain form one sequence is: BOS, the image's slots if there is one, then the dialogue's turns, each

    Human: {question}\nAssistant: {answer}</s>

The code line that the paper builds on puts a long system line before each dialogue; leaving it out is our choice, since
it would cost tokens in every sample.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from transformers import BaseImageProcessor, BatchFeature, PreTrainedTokenizerBase, ProcessorMixin

from mmrs.imaging.upright import upright
from training.model.folder import sound_model, without_foreign_code
from training.model.language.dialogue_form import CHAT, PLAIN, PLAIN_FORM, DialogueForm, Piece, stored_form
from training.model.tokenizer import IMAGE

# CLIP's mean colour, so that the padding is near zero after normalisation.
PAD_COLOUR = (122, 116, 104)
IMAGE_MODES = ("L", "RGB", "RGBA")
REDUCING_GAP = 3.0
# Of an image that is padded, in pixels; a longer one is shrunk by a whole factor first.
MOST_SIDE = 20_000

ChatTurn = tuple[str, str]


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
    """

    model_input_names: ClassVar = ["pixel_values"]  # type: ignore[misc]

    def __init__(self, image_size: int = 512, **kwargs):
        super().__init__(**kwargs)
        self.image_size = image_size

    def preprocess(self, images: Image.Image | Sequence[Image.Image], **kwargs) -> BatchFeature:
        """Padded squares as `pixel_values`, uint8 (N, 3, image_size, image_size), a torch tensor.

        Pictures are turned upright as their EXIF says, as those of a data set are; boxes are those of the upright one.
        """
        listed = [images] if isinstance(images, Image.Image) else list(images)
        squares_NCHW = np.stack([pad_and_resize(upright(image), self.image_size) for image in listed])
        return BatchFeature({"pixel_values": torch.from_numpy(squares_NCHW)})


class EarthGPTProcessor(ProcessorMixin):
    """Image processor, tokenizer and prompt format.

    Args:
        image_processor: makes the padded squares.
        tokenizer: needs BOS, EOS and padding tokens, and `<image>` as a token.
        image_slots: `EarthGPTConfig.image_slots`, the placeholders per image.
        dialogue: "plain", or "chat" for the form of `chat`.
        chat: fields of the `DialogueForm` of the language model's own chat template; None where it has none.
    """

    def __init__(
        self,
        image_processor: EarthGPTImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        image_slots: int = 258,
        chat_template: str | None = None,
        dialogue: str = PLAIN,
        chat: dict[str, Any] | None = None,
    ):
        for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
            if getattr(tokenizer, name) is None:
                raise ValueError(f"the tokenizer's {name} is None; set it before building EarthGPTProcessor")
        if IMAGE not in tokenizer.get_vocab():
            raise ValueError(f"the tokenizer has no token {IMAGE!r}; add it as a special token first")
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.image_slots = image_slots
        self.image_token_id = tokenizer.convert_tokens_to_ids(IMAGE)
        self.chat = chat
        self.speak(dialogue)

    def speak(self, dialogue: str) -> None:
        """Write dialogues in another form: "plain", or "chat" for that of the language model's own chat template.

        Raises:
            ValueError: there is no such form, or the language model brought no template.
        """
        if dialogue not in (PLAIN, CHAT):
            raise ValueError(f"dialogue is {dialogue!r}; set {PLAIN!r} or {CHAT!r}")
        if dialogue == CHAT and self.chat is None:
            raise ValueError("dialogue is 'chat', but the language model brought no chat template; set 'plain'")
        self.dialogue = dialogue
        self._form = stored_form(self.chat) if dialogue == CHAT and self.chat is not None else PLAIN_FORM
        if self._form.stop:
            self.tokenizer.eos_token = self._form.stop
        self._markup = {
            text: self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=False)
            for text in (self._form.opening, self._form.between, self._form.after_question)
        }
        # SentencePiece tokenizers strip one leading blank when they decode, byte-level ones do not.
        self._answer_lead = str(self.tokenizer.decode(self._encode_text(self._form.answer("0")))).removesuffix("0")

    @property
    def form(self) -> DialogueForm:
        """How dialogues are written."""
        return self._form

    @classmethod
    def from_pretrained(  # type: ignore[override]  # all options of the base go through unchanged
        cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any
    ) -> EarthGPTProcessor:
        """As of `ProcessorMixin`; code that lies in the folder is not run, and nobody is asked whether it may.

        Raises:
            UserError: a folder that is damaged.
        """
        place = pretrained_model_name_or_path
        with sound_model(place), without_foreign_code(place) as safe:
            return super().from_pretrained(pretrained_model_name_or_path, **(safe | kwargs))

    def encode_prefix(self, with_image: bool) -> list[int]:
        """Ids that all dialogues of one image share: BOS, the form's opening and, with an image, its slots."""
        slots = [self.image_token_id] * (self.image_slots if with_image else 0)
        return [self.tokenizer.bos_token_id, *self._markup[self._form.opening], *slots]

    def encode_dialogue(self, turns: Sequence[ChatTurn]) -> tuple[list[int], list[bool]]:
        """Ids of a dialogue, to follow a prefix, and which of them are training targets.

        Args:
            turns: (role, text) with the roles "human" and "gpt" in turn, human first. The last answer may be missing,
                which makes a prompt.

        Returns:
            Ids, and for each id whether it belongs to an answer (its EOS included). No text is read as a special token.

        Raises:
            ValueError: the roles do not alternate.
        """
        ids: list[int] = []
        is_target: list[bool] = []
        for index, (role, text) in enumerate(turns):
            expected = ("human", "gpt")[index % 2]
            if role != expected:
                raise ValueError(f"turn {index} has role {role!r}; expected {expected!r}, human and gpt alternate")
            if role == "gpt":
                piece = [*self._encode_text(self._form.answer(text)), self.tokenizer.eos_token_id]
            else:
                piece = self._encode_pieces(self._form.question(text, first=index == 0))
            ids += piece
            is_target += [role == "gpt"] * len(piece)
        return ids, is_target

    def __call__(
        self,
        images: Image.Image | Sequence[Image.Image | None] | None = None,
        text: str | Sequence[str | Sequence[ChatTurn]] | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Left-padded prompts for `generate`, made of the very pieces that training uses.

        Args:
            images: one image, or one image or None for each prompt, or None where no prompt has one.
            text: one question, or for each prompt a question or turns as in `encode_dialogue` that end with a human's.

        Returns:
            `input_ids` and `attention_mask` (B, L); `pixel_values` uint8 (N, 3, H, W) if there are images.

        Raises:
            ValueError: no text, or another number of images than prompts.
        """
        if not text:
            raise ValueError("text is empty; pass a question, or a list with one prompt for each image")
        prompts = [text] if isinstance(text, str) else list(text)
        listed = [images] if images is None or isinstance(images, Image.Image) else list(images)
        if images is None:
            listed *= len(prompts)
        if len(listed) != len(prompts):
            raise ValueError(
                f"{len(listed)} images for {len(prompts)} prompts; pass one image, or None, for each prompt"
            )
        rows = [self._encode_prompt(prompt, image is not None) for prompt, image in zip(prompts, listed, strict=True)]
        data = self._pad_left(rows)
        present = [image for image in listed if image is not None]
        if present:
            data.update(self.image_processor(present))
        return BatchFeature(data)

    def decode_answers(self, output_ids_BL: torch.Tensor, prompt_length: int) -> list[str]:
        """Answers in the output of `generate`: what follows the padded prompts, up to EOS, as bare text."""
        return [self.decode_text(row) for row in output_ids_BL[:, prompt_length:]]

    def decode_text(self, ids_L: Sequence[int] | torch.Tensor) -> str:
        """The bare text of one answer's ids, without special tokens."""
        return self.tokenizer.decode(ids_L, skip_special_tokens=True).removeprefix(self._answer_lead)

    def token_texts(self, ids_L: Sequence[int]) -> list[str]:
        """What each token adds to the text of `decode_text`; joined, they are that text.

        A token that ends inside a character adds nothing; the one that completes it adds the character.
        """
        texts: list[str] = []
        # A token's text can depend on the one before it, so two windows are compared, never tokens alone.
        begun, shown = 0, 0
        for end in range(1, len(ids_L) + 1):
            before = self._decode(ids_L[begun:shown]) if shown else ""
            now = self._decode(ids_L[begun:end])
            if now.endswith("\ufffd") and end < len(ids_L):
                texts.append("")
                continue
            texts.append(now[len(before) :] if shown else now.removeprefix(self._answer_lead))
            begun, shown = shown, end
        return texts

    def _decode(self, ids_L: Sequence[int]) -> str:
        return self.tokenizer.decode(ids_L, skip_special_tokens=True)

    @property
    def model_input_names(self) -> list[str]:
        """Keys of what `__call__` returns."""
        return ["input_ids", "attention_mask", "pixel_values"]

    def _encode_pieces(self, pieces: Sequence[Piece]) -> list[int]:
        ids: list[int] = []
        for text, with_tokens in pieces:
            ids += self._markup[text] if with_tokens else self._encode_text(text)
        return ids

    def _encode_text(self, text: str) -> list[int]:
        # What ``tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)`` gives, in less time.
        backend = self.tokenizer.backend_tokenizer
        backend.encode_special_tokens = True
        if backend.truncation is not None:
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        return backend.encode_batch_fast([text], add_special_tokens=False)[0].ids

    def _encode_prompt(self, prompt: str | Sequence[ChatTurn], with_image: bool) -> list[int]:
        turns = [("human", prompt)] if isinstance(prompt, str) else prompt
        return self.encode_prefix(with_image) + self.encode_dialogue(turns)[0]

    def _pad_left(self, rows: list[list[int]]) -> dict[str, torch.Tensor]:
        length = max(map(len, rows))
        ids_BL = torch.full((len(rows), length), self.tokenizer.pad_token_id)
        mask_BL = torch.zeros_like(ids_BL)
        for index, row in enumerate(rows):
            ids_BL[index, length - len(row) :] = torch.tensor(row)
            mask_BL[index, length - len(row) :] = 1
        return {"input_ids": ids_BL, "attention_mask": mask_BL}
