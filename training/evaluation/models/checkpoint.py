"""Answers of any image-text-to-text checkpoint of transformers: its own processor and chat template, greedy.

No code of a checkpoint is ever run and no pickle read: `trust_remote_code` is off and weights are safetensors. Its own
sampling, penalties and lengths are set aside, so that all models are decoded alike. Prompts of a batch are padded on
the left; a batch of another size may change an answer in its last digits, as sums of floats are taken in another order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessorList,
)

from mmrs.errors import UserError
from mmrs.shards.reader import ShardSet
from training.evaluation.adapters.adapter import Adapter
from training.evaluation.generate import ChosenLogProbabilities, Decoding, PlannedBatch, plan_batches
from training.evaluation.models.answerer import adapted_answer, turns
from training.evaluation.questions import question_images
from training.evaluation.task import Answer, FinishReason, Question
from training.model.folder import quiet_transformers


class CheckpointAnswerer:
    """An `Answerer`.

    Args:
        folder: of the checkpoint.
        dtype: of the weights and activations.
        adapter: of its family.
        data: where the questions' images lie.

    Raises:
        UserError: the folder cannot be loaded as such a model, or has no chat template.
    """

    def __init__(
        self, folder: Path, device: str, dtype: torch.dtype, decoding: Decoding, adapter: Adapter, data: ShardSet
    ):
        with quiet_transformers():
            self._processor, self._model = _loaded(folder, dtype)
        if not (self._processor.chat_template or self._processor.tokenizer.chat_template):
            raise UserError(f"{folder} has no chat template (chat_template.jinja), so nothing says how it is asked.")
        self._processor.tokenizer.padding_side = "left"
        if self._processor.tokenizer.pad_token_id is None:
            self._processor.tokenizer.pad_token = self._processor.tokenizer.eos_token
        self._model = self._model.to(device).eval()
        self._ends = _ends(self._model, self._processor.tokenizer)
        self._model.generation_config = GenerationConfig(
            eos_token_id=self._ends, pad_token_id=self._processor.tokenizer.pad_token_id, do_sample=False
        )
        self._adapter = adapter.fitted(self._processor)
        self._data, self._decoding = data, decoding

    def plan(self, questions: Sequence[Question[Any]]) -> list[PlannedBatch]:
        """Every question in one batch."""
        return plan_batches(questions, self._processor, self._decoding, self._adapter.reference)

    @torch.inference_mode()
    def answer(self, batch: PlannedBatch) -> list[Answer]:
        """The answers to the questions of a batch, in their order."""
        inputs = self._inputs(batch.questions)
        sure = ChosenLogProbabilities()
        generated = self._model.generate(
            **inputs, max_new_tokens=batch.longest, do_sample=False, logits_processor=LogitsProcessorList([sure])
        )
        ids_BL = cast(torch.Tensor, generated)[:, inputs["input_ids"].shape[1] :].tolist()
        probabilities_BL = sure.stacked().tolist()
        return [
            self._answer(question, ids, probabilities)
            for question, ids, probabilities in zip(batch.questions, ids_BL, probabilities_BL, strict=True)
        ]

    def _inputs(self, questions: Sequence[Question[Any]]) -> dict[str, Any]:
        conversations = [self._conversation(question) for question in questions]
        inputs = self._processor.apply_chat_template(
            conversations,
            tokenize=True,
            add_generation_prompt=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        )
        return dict(inputs.to(self._model.device, dtype=self._model.dtype))

    def _conversation(self, question: Question[Any]) -> list[dict[str, Any]]:
        conversation: list[dict[str, Any]] = [
            {"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns(self._adapter, question)
        ]
        images = map(self._adapter.prepare, question_images(self._data, question))
        conversation[0]["content"][:0] = [{"type": "image", "image": image} for image in images]
        return conversation

    def _answer(self, question: Question[Any], ids: list[int], log_probabilities: list[float]) -> Answer:
        end = next((place for place, token in enumerate(ids) if token in self._ends), None)
        ids = ids[:end]
        said = self._decoded(ids)
        lengths = [len(self._decoded(ids[: place + 1])) for place in range(len(ids))]
        # A character may be of several tokens: the last of them is given it.
        pieces = [said[start:stop] for start, stop in zip([0, *lengths[:-1]], lengths, strict=True)]
        reason: FinishReason = "length" if end is None else "stop"
        return adapted_answer(self._adapter, question, said, reason, (pieces, log_probabilities[: len(ids)]))

    def _decoded(self, ids: Sequence[int]) -> str:
        # Marks of boxes and references are special tokens of some families, so they stay.
        return cast(str, self._processor.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _loaded(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True
        )
        return _load_processor(folder), model
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{folder} cannot be loaded as an image-text-to-text model of transformers, whose own code is run and no "
            f"code of the folder: {reason[:400]}"
        ) from error


def _load_processor(folder: Path) -> Any:
    """The checkpoint's processor; without torchvision, which only videos need, its part for videos is left out."""
    options: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    if find_spec("torchvision") is not None:
        return AutoProcessor.from_pretrained(folder, **options)
    path = folder / "processor_config.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    name = stored.get("processor_class") or _processor_name(folder)
    import transformers

    kind = getattr(transformers, name, None)
    if kind is None or "video_processor" not in kind.get_attributes():
        return AutoProcessor.from_pretrained(folder, **options)
    return _without_videos(kind)(
        image_processor=AutoImageProcessor.from_pretrained(folder, **options),
        tokenizer=AutoTokenizer.from_pretrained(folder, **options),
        video_processor=None,
        chat_template=_chat_template(folder),
        **{name: value for name, value in stored.items() if name in ("image_seq_length",)},
    )


def _without_videos(kind: type) -> type:
    """The class of a processor that may have no part for videos."""

    class ImagesAlone(kind):  # type: ignore[misc, valid-type]
        def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
            return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    return ImagesAlone


def _processor_name(folder: Path) -> str:
    """As older checkpoints state it: beside the image processor or the tokenizer."""
    for name in ("preprocessor_config.json", "tokenizer_config.json"):
        path = folder / name
        if path.exists():
            stated = json.loads(path.read_text()).get("processor_class")
            if stated:
                return str(stated)
    return ""


def _chat_template(folder: Path) -> str | None:
    jinja, old = folder / "chat_template.jinja", folder / "chat_template.json"
    if jinja.exists():
        return jinja.read_text()
    return json.loads(old.read_text()).get("chat_template") if old.exists() else None


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end an answer: those of the checkpoint's generation, else its tokenizer's."""
    stated = model.generation_config.eos_token_id
    found = stated if isinstance(stated, list) else [stated]
    ends = [token for token in found if token is not None]
    return ends or [tokenizer.eos_token_id]
