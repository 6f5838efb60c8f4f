r"""From images and conversations to what the model reads; the prompt format is `training.model.language.dialogue_form`.

In its plain form one sequence is: BOS, the image's slots if there is one, then the dialogue's turns, each

    Human: {question}\nAssistant: {answer}</s>

Images of a later turn stand before its text. The code line that the paper builds on puts a long system line before
each dialogue; leaving it out is our choice, since it would cost tokens in every sample.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import BatchFeature, PreTrainedTokenizerBase, ProcessorMixin
from transformers.processing_utils import MultiModalData

from training.model.folder import sound_model, without_foreign_code
from training.model.inputs.batch import BatchOptions, padded, shared_images
from training.model.inputs.conversation import ChatTurn, Conversation, chat_template_of, conversation_of
from training.model.inputs.image_processor import EarthGPTImageProcessor
from training.model.language.dialogue_form import CHAT, PLAIN, PLAIN_FORM, DialogueForm, Piece, stored_form
from training.model.published.modelling_code import auto_map, write_code
from training.model.published.upload import upload_saved
from training.model.tokenizer import IMAGE


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
        self.image_token = IMAGE
        self.image_token_id: int = tokenizer.convert_tokens_to_ids(IMAGE)  # type: ignore[assignment]  # of one token
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
        self.chat_template = chat_template_of(self._form)
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

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoProcessor") -> None:
        """Without effect: `save_pretrained` writes the code in any case."""

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> list[str]:
        """As of `ProcessorMixin`, and the code of the processor beside its settings."""
        written = super().save_pretrained(save_directory, *args, **kwargs)
        write_code(Path(save_directory))
        return written

    def push_to_hub(  # type: ignore[override]  # fewer options: it comes without a card
        self, repo_id: str, *, private: bool | None = None, token: str | None = None, **kwargs: Any
    ) -> str:
        """Upload what `save_pretrained` writes, to where the model is or will be; returns the commit's address."""
        return upload_saved(lambda folder: self.save_pretrained(folder, **kwargs), repo_id, private, token)

    def to_dict(self) -> dict[str, Any]:
        """The settings, and where the classes of the code beside them are."""
        return super().to_dict() | auto_map("AutoProcessor", "AutoImageProcessor")

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

    def encode_conversation(
        self, conversation: Conversation, add_generation_prompt: bool = True, continue_final_message: bool = False
    ) -> tuple[list[int], list[bool]]:
        """Ids of a chat with its images' slots, BOS included, and which of them belong to answers.

        Args:
            conversation: its turns and the images of each; of the images only the number counts.
            add_generation_prompt: where the last turn is a question, ask for the answer.
            continue_final_message: the last turn is the beginning of an answer that is to be gone on with.

        Raises:
            ValueError: the answer to go on with is a question.
        """
        turns, form = conversation.turns, self._form
        ends_with_question = turns[-1][0] == "human"
        if continue_final_message and ends_with_question:
            raise ValueError("continue_final_message is set and the last message is the user's; leave it out")
        images = iter(conversation.images)
        ids = self.encode_prefix(with_image=False)
        is_target = [False] * len(ids)
        for index, (role, text) in enumerate(turns):
            if role == "human":
                before, asked = form.question_parts(text, index == 0, add_generation_prompt or index + 1 < len(turns))
                slots = [self.image_token_id] * (self.image_slots * len(next(images)))
                piece = [*self._encode_pieces(before), *slots, *self._encode_pieces(asked)]
            else:
                piece = [*self._encode_text(form.answer(text)), self.tokenizer.eos_token_id]
            ids += piece
            is_target += [role == "gpt"] * len(piece)
        return (ids[:-1], is_target[:-1]) if continue_final_message else (ids, is_target)

    def apply_chat_template(  # type: ignore[override]  # what the format has no use for is refused
        self,
        conversation: Sequence[Any],
        chat_template: str | None = None,
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tokenize: bool = False,
        return_dict: bool = False,
        return_assistant_tokens_mask: bool = False,
        processor_kwargs: Mapping[str, Any] | None = None,
        sanitize_control_tokens: bool = True,
        **kwargs: Any,
    ) -> Any:
        """A chat, or a list of chats, as text, or as the model's inputs.

        Tokens are made of the pieces that training uses and never of the rendered text, so that nothing that a message
        says is read as a special token.

        Args:
            conversation: messages as in `conversation_of`.
            chat_template: for the text alone.
            add_generation_prompt: ask for the answer to the last question.
            continue_final_message: go on with the last answer.
            tokenize: the inputs of the model in the place of the text.
            return_dict: all inputs; otherwise `input_ids` alone.
            return_assistant_tokens_mask: `assistant_masks` too, 1 for tokens of answers.
            processor_kwargs: those of `__call__` for padding, truncation and tensors; they may stand alone too.
            sanitize_control_tokens: without effect, see above.

        Raises:
            ValueError: tools or documents, or a chat that the format cannot hold.
        """
        for name in ("tools", "documents"):
            if kwargs.pop(name, None):
                raise ValueError(f"{name} are given, which EarthGPT was not taught to use; leave them out")
        chats = [conversation] if isinstance(conversation[0], Mapping) else list(conversation)
        if not tokenize:
            kwargs |= {"add_generation_prompt": add_generation_prompt, "continue_final_message": continue_final_message}
            return super().apply_chat_template(list(conversation), chat_template=chat_template, **kwargs)
        if chat_template is not None:
            raise ValueError("chat_template is given with tokenize; EarthGPT is asked in its own format alone")
        read = [conversation_of(chat) for chat in chats]
        encoded = [self.encode_conversation(each, add_generation_prompt, continue_final_message) for each in read]
        options = _options(kwargs | dict(processor_kwargs or {}))
        masks = [[int(each) for each in is_target] for _, is_target in encoded]
        images = [image for each in read for pictures in each.images for image in pictures]
        batch = self._batch(
            [ids for ids, _ in encoded], images, options, masks if return_assistant_tokens_mask else None
        )
        return batch if return_dict else batch["input_ids"]

    def __call__(  # type: ignore[override]
        self,
        images: Any = None,
        text: str | Sequence[str | Sequence[ChatTurn]] | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prompts for `generate`, made of the very pieces that training uses.

        Args:
            images: one image, one image or None for each prompt, a list of images for each prompt, or a flat list that
                the placeholders of rendered prompts share; see `as_picture` for what an image may be. None where no
                prompt has one.
            text: one prompt or a list of them. A prompt is a question, which is framed and of which nothing is read as
                a special token; or turns as in `encode_dialogue` that end with a human's, likewise; or a text that
                `apply_chat_template` rendered, known by the BOS or `<image>` that it begins with, of which special
                tokens count. None: the images alone.
            kwargs: `padding` (True, False, "longest" or "max_length"), `padding_side` ("left"), `truncation`,
                `max_length`, `pad_to_multiple_of`, `return_tensors` ("pt"), `return_mm_token_type_ids`,
                `return_text_replacement_offsets`, `sensor`; alone or within `text_kwargs`, `images_kwargs`,
                `common_kwargs`.

        Returns:
            `input_ids` and `attention_mask` (B, L); `pixel_values` uint8 (N, 3, H, W) if there are images.

        Raises:
            ValueError: neither text nor images, images that fit no prompt, a truncation that cuts an image, or offsets
                in a text that was not rendered.
            TypeError: a keyword that is not known.
        """
        options = _options(kwargs)
        if text is None:
            if images is None:
                raise ValueError("text is empty; pass a question, or a list with one prompt for each image")
            return self.image_processor(images, return_tensors=options.return_tensors, sensor=options.sensor)
        prompts = [text] if isinstance(text, str) else list(text)
        if not text:
            raise ValueError("text is empty; pass a question, or a list with one prompt for each image")
        placeholders = [self._placeholders(prompt) for prompt in prompts]
        if options.return_text_replacement_offsets and None in placeholders:
            raise ValueError("return_text_replacement_offsets is of prompts that apply_chat_template rendered alone")
        shared = shared_images(images, placeholders)
        rows = [self._encode_prompt(prompt, len(own)) for prompt, own in zip(prompts, shared, strict=True)]
        batch = self._batch(rows, [image for own in shared for image in own], options)
        if options.return_text_replacement_offsets:
            replacements = [self.replace_image_token({}, 0)] * sum(map(len, shared))
            batch["text_replacement_offsets"] = self.get_text_with_replacements(list(map(str, prompts)), replacements)[
                1
            ]
        return batch

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:
        """What stands for one placeholder of a rendered prompt: the image's slots."""
        return self.image_token * self.image_slots

    def _get_num_multimodal_tokens(self, image_sizes: Sequence[Any] | None = None, **kwargs: Any) -> MultiModalData:
        """Slots of images of given sizes, the same for all; servers plan with it."""
        if image_sizes is None:
            return MultiModalData()
        count = len(image_sizes)
        return MultiModalData(num_image_tokens=[self.image_slots] * count, num_image_patches=[1] * count)

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

    def _placeholders(self, prompt: str | Sequence[ChatTurn]) -> int | None:
        """Of a rendered prompt; None for a question or turns, before which any number of images may stand."""
        if isinstance(prompt, str) and prompt.startswith((self.tokenizer.bos_token, self.image_token)):
            return prompt.count(self.image_token)
        return None

    def _encode_prompt(self, prompt: str | Sequence[ChatTurn], images: int) -> list[int]:
        if self._placeholders(prompt) is not None:
            return self._encode_rendered(str(prompt), self.image_slots if images else 1)
        turns = [("human", prompt)] if isinstance(prompt, str) else list(prompt)
        slots = [self.image_token_id] * (self.image_slots * images)
        return [*self.encode_prefix(with_image=False), *slots, *self.encode_dialogue(turns)[0]]

    def _encode_rendered(self, prompt: str, slots: int) -> list[int]:
        """Ids of a rendered prompt, cut where training cuts: at what stands between texts, and before an answer."""
        special = {
            self.tokenizer.bos_token: [self.tokenizer.bos_token_id],
            self.tokenizer.eos_token: [self.tokenizer.eos_token_id],
            self.image_token: [self.image_token_id] * slots,
        }
        if self._form.with_tokens:
            special |= {text: ids for text, ids in self._markup.items() if text}
        longest_first = sorted(special, key=len, reverse=True)
        ids: list[int] = []
        for piece in re.split("(" + "|".join(map(re.escape, longest_first)) + ")", prompt):
            if piece in special:
                ids += special[piece]
                continue
            question, asks, answer = piece.partition(self._form.after_question)
            for text in (question + asks, answer):
                ids += self._encode_text(text) if text else []
        return ids

    def _batch(
        self, rows: list[list[int]], images: Sequence[Any], options: BatchOptions, masks: list[list[int]] | None = None
    ) -> BatchFeature:
        data: dict[str, Any] = padded(rows, self.tokenizer.pad_token_id, self.image_token_id, options, masks)
        if options.return_mm_token_type_ids:
            data["mm_token_type_ids"] = [
                [int(each == self.image_token_id) for each in row] for row in data["input_ids"]
            ]
        if images:
            data.update(self.image_processor(list(images), return_tensors="np", sensor=options.sensor))
        return BatchFeature(data, tensor_type=options.return_tensors)


def _options(keywords: Mapping[str, Any]) -> BatchOptions:
    """Keywords of a call, whatever group they stand in.

    Raises:
        TypeError: a keyword that is not known.
        ValueError: one that is given twice, with two values.
    """
    flat = dict(keywords)
    for group in ("common_kwargs", "text_kwargs", "images_kwargs"):
        own = flat.pop(group, None) or {}
        for name in flat.keys() & own:
            if flat[name] != own[name]:
                raise ValueError(f"{name} is {flat[name]!r}, and {own[name]!r} in {group}; leave one of them out")
        flat |= own
    # BOS and EOS are the format's own affair.
    flat.pop("add_special_tokens", None)
    flat.pop("sanitize_control_tokens", None)
    known = {field.name for field in fields(BatchOptions)}
    for name in flat:
        if name not in known:
            raise TypeError(f"{name!r} is no argument of EarthGPTProcessor; it knows {', '.join(sorted(known))}")
    return BatchOptions(**flat)
