"""Greedy answers of a model: an image is encoded once, and what its questions share is read once.

A sequence begins with BOS and the image's slots, whatever is asked. Their keys and values are computed once for an
image and given to all of its questions. The prompts of a batch that ask about one image form a tree, of which each
token is read once; equal ones are answered once. Which questions form a batch follows from the questions and the batch
size, and what is read at once from the batches, so shares of processes and resumed runs compute what one process does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from mmrs.errors import UserError
from mmrs.instructions.answers import box_spans
from mmrs.shards.reader import ShardSet
from training.data.collate import prefix_of
from training.evaluation.questions import question_images
from training.evaluation.reading.shared_reading import (
    Layers,
    SharedReading,
    last_position_alone,
    read_prefixes,
    read_prompts,
)
from training.evaluation.task import Answer, Question
from training.evaluation.tasks import find_task
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.constrained import AnswerGrammar, GrammarLogitsProcessor

Batch = tuple[Question[Any], ...]
Precision = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class Decoding:
    """How answers are generated. Always greedy.

    Args:
        batch_size: prompts generated at once; of one task, of similar length of answer, an image's together.
        max_new_tokens: longest answer; 0: what each task allows, and as much as its longest right answer takes, as far
            as the model has positions. Answers that are cut all the same are counted.
        constrained: no answer can leave its task's grammar; scores are then not comparable with any others.
        precision: of weights and activations; ``auto``: bfloat16 on a GPU, float32 elsewhere.
    """

    batch_size: int = 32
    max_new_tokens: int = 0
    constrained: bool = False
    precision: Precision = "auto"

    def describe(self) -> str:
        """A phrase for the file of scores."""
        how = "constrained to the answer grammar" if self.constrained else "unconstrained"
        longest = (
            f"at most {self.max_new_tokens} tokens"
            if self.max_new_tokens
            else "as many tokens as the longest reference"
        )
        return f"greedy, {how}, {longest}"


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Questions that are generated at once, and the most tokens that an answer of their task may have.

    `spanning`: the images that are asked about in other batches too.
    """

    questions: Batch
    longest: int
    spanning: frozenset[str] = frozenset()


def own_reference(question: Question[Any]) -> str:
    """The right answer as a model of ours writes it."""
    return find_task(question.task).reference(question)


def plan_batches(
    questions: Sequence[Question[Any]],
    processor: Any,
    decoding: Decoding,
    reference: Callable[[Question[Any]], str] = own_reference,
) -> list[PlannedBatch]:
    """Every question in one batch, by task and number of images. Images stay together, those with short right answers
    first: a batch ends when its longest answer does.

    Args:
        processor: of the model; its tokenizer says how long a right answer is.
        reference: the right answer as the model writes it.
    """
    planned = []
    for task in sorted({question.task for question in questions}):
        asked = [question for question in questions if question.task == task]
        lengths = _reference_lengths([reference(question) for question in asked], processor)
        longest = decoding.max_new_tokens or _longest_answer(task, lengths)
        batches = [
            tuple(ordered[start : start + decoding.batch_size])
            for ordered in _in_order(asked, lengths)
            for start in range(0, len(ordered), decoding.batch_size)
        ]
        counts = Counter(image for batch in batches for image in _images(batch))
        for batch in batches:
            spanning = frozenset(image for image in _images(batch) if counts[image] > 1)
            planned.append(PlannedBatch(batch, longest, spanning))
    return planned


def _in_order(asked: Sequence[Question[Any]], lengths: Sequence[int]) -> list[list[Question[Any]]]:
    """Questions in the order in which they are batched, those of another number of images apart: the prefixes of a
    batch have one length."""
    ordered: dict[int, list[Question[Any]]] = {}
    images: dict[str, list[Question[Any]]] = {}
    needed: dict[str, int] = {}
    for question, length in zip(asked, lengths, strict=True):
        images.setdefault(question.record.id, []).append(question)
        needed[question.record.id] = max(length, needed.get(question.record.id, 0))
    for image in sorted(images, key=lambda name: needed[name]):
        # Prompts of one length need no padding between them.
        same = sorted(images[image], key=lambda question: len(question.prompt))
        ordered.setdefault(len(same[0].record.images), []).extend(same)
    return [ordered[number] for number in sorted(ordered)]


def pending_batches(planned: Sequence[PlannedBatch], answered: Collection[str]) -> Iterator[PlannedBatch]:
    """The batches with a question that is not answered yet, whole: answers do not depend on what was done before."""
    for batch in planned:
        if any(question.id not in answered for question in batch.questions):
            yield batch


def generate_answers(
    model: EarthGPTForConditionalGeneration,
    processor: EarthGPTProcessor,
    data: ShardSet,
    questions: Sequence[Question[Any]],
    decoding: Decoding,
    advance: Callable[[int], None],
) -> list[Answer]:
    """One answer per question, in the order of the questions, all in memory."""
    generator = AnswerGenerator(model, processor, data, decoding)
    answers: dict[str, Answer] = {}
    for batch in plan_batches(questions, processor, decoding):
        answers |= {answer.id: answer for answer in generator.answer(batch)}
        advance(len(batch.questions))
    return [answers[question.id] for question in questions]


def _turns(question: Question[Any]) -> list[tuple[str, str]]:
    """The dialogue up to the question, as the processor takes it."""
    earlier = find_task(question.task).earlier_turns(question)
    return [
        *(turn for asked, said in earlier for turn in (("human", asked), ("gpt", said))),
        ("human", question.prompt),
    ]


@dataclass(frozen=True, slots=True)
class _Prompt:
    """All that an answer follows from: questions with equal ones are answered alike."""

    image: str
    ids: tuple[int, ...]
    pattern: str | None


class AnswerGenerator:
    """A model, the images of a data set, and what the last batch leaves to the next.

    Args:
        model: on its device, in its precision.
        processor: of the model.
        data: where the questions' images lie.
        decoding: how answers are generated.
    """

    def __init__(
        self,
        model: EarthGPTForConditionalGeneration,
        processor: EarthGPTProcessor,
        data: ShardSet,
        decoding: Decoding,
    ):
        self._model = model.eval()
        self._processor = processor
        self._data = data
        self._decoding = decoding
        self._grammar = AnswerGrammar(processor) if decoding.constrained else None
        self._prefixes: dict[int, list[int]] = {}
        # Of images that span batches, as the last batch had them.
        self._kept: dict[str, Layers] = {}

    def plan(self, questions: Sequence[Question[Any]]) -> list[PlannedBatch]:
        """Every question in one batch."""
        return plan_batches(questions, self._processor, self._decoding)

    @torch.inference_mode()
    def answer(self, batch: PlannedBatch) -> list[Answer]:
        """The answers to the questions of a batch, in their order."""
        asked = [self._prompt(question) for question in batch.questions]
        prompts = list(dict.fromkeys(asked))
        reading = self._read(batch, prompts)
        start = reading.input_ids.shape[1]
        prefix = self._prefix(batch)
        room = self._model.config.get_text_config().max_position_embeddings - len(prefix)
        limits = [max(1, min(batch.longest, room - len(prompt.ids))) for prompt in prompts]
        sure = ChosenLogProbabilities()
        processors = LogitsProcessorList()
        if self._grammar is not None:
            patterns = [prompt.pattern for prompt in prompts]
            processors.append(GrammarLogitsProcessor(self._grammar, patterns, start))
        processors.append(sure)
        with last_position_alone(self._model):
            # transformers types `self` by a protocol that none of its own models meets.
            generated = self._model.generate(  # type: ignore[misc]
                input_ids=reading.input_ids,
                attention_mask=reading.attention_mask,
                past_key_values=reading.past_key_values,
                max_new_tokens=max(limits),
                do_sample=False,
                logits_processor=processors,
            )
        ids_BL = cast(torch.Tensor, generated)[:, start:].tolist()
        probabilities_BL = sure.stacked().tolist()
        said = {
            prompt: (ids[:limit], probabilities[:limit])
            for prompt, ids, probabilities, limit in zip(prompts, ids_BL, probabilities_BL, limits, strict=True)
        }
        return [self._answer(question, *said[prompt]) for question, prompt in zip(batch.questions, asked, strict=True)]

    def _prefix(self, batch: PlannedBatch) -> list[int]:
        """What stands before every prompt of a batch, whose questions are about as many images each.

        Raises:
            UserError: the model has no room for so many.
        """
        images = len(batch.questions[0].record.images)
        if images not in self._prefixes:
            one = self._processor.encode_prefix(with_image=True)
            self._prefixes[images] = prefix_of(one, self._processor.image_slots, images)
        positions = self._model.config.get_text_config().max_position_embeddings
        if len(self._prefixes[images]) >= positions:
            raise UserError(
                f"{batch.questions[0].record.id} has {images} images, which take {len(self._prefixes[images])} of the "
                f"model's {positions} positions: evaluate a model with more, or with fewer slots an image."
            )
        return self._prefixes[images]

    def _prompt(self, question: Question[Any]) -> _Prompt:
        pattern = find_task(question.task).pattern(question) if self._grammar is not None else None
        ids = self._processor.encode_dialogue(_turns(question))[0]
        return _Prompt(question.record.id, tuple(ids), pattern)

    def _read(self, batch: PlannedBatch, prompts: Sequence[_Prompt]) -> SharedReading:
        """The images of a batch and what its prompts share, read."""
        images = _images(batch.questions)
        together = [image for image in images if image not in batch.spanning]
        self._kept = {
            image: self._kept.get(image) or self._read_images(batch, [images[image]])
            for image in images
            if image in batch.spanning
        }
        parts = [
            *self._kept.values(),
            *([self._read_images(batch, [images[image] for image in together])] if together else []),
        ]
        number = {image: place for place, image in enumerate([*self._kept, *together])}
        layers = [
            (torch.cat([keys for keys, _ in layer]), torch.cat([values for _, values in layer]))
            for layer in zip(*parts, strict=True)
        ]
        asked = [(number[prompt.image], prompt.ids) for prompt in prompts]
        pad = self._processor.tokenizer.pad_token_id
        with last_position_alone(self._model):
            return read_prompts(self._model, self._prefix(batch), layers, asked, pad)

    def _read_images(self, batch: PlannedBatch, questions: Sequence[Question[Any]]) -> Layers:
        """The prefixes of the questions' images, in one call. Images that span batches are read each alone, so that
        they are the same numbers whatever batch comes first."""
        pictures = [image for question in questions for image in question_images(self._data, question)]
        pixels_NCHW = self._processor.image_processor(pictures)["pixel_values"]
        with last_position_alone(self._model):
            return read_prefixes(self._model, self._prefix(batch), pixels_NCHW, len(pictures) // len(questions))

    def _answer(self, question: Question[Any], ids: list[int], log_probabilities: list[float]) -> Answer:
        end = self._processor.tokenizer.eos_token_id
        ended = end in ids
        ids = ids[: ids.index(end)] if ended else ids
        text = self._processor.decode_text(ids)
        pieces = self._processor.token_texts(ids) if ids else []
        sure = span_log_probabilities(box_spans(text), pieces, log_probabilities)
        return Answer(question.id, text, question.prompt, "stop" if ended else "length", sure)


class ChosenLogProbabilities(LogitsProcessor):
    """Notes how probable each greedy choice was; the last of the processors, so that it sees what is chosen from."""

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        self._steps.append(scores.amax(dim=-1) - scores.logsumexp(dim=-1))
        return scores

    def stacked(self) -> torch.Tensor:
        """(B, steps)."""
        return torch.stack(self._steps, dim=1)


def span_log_probabilities(
    spans: Sequence[tuple[int, int]], pieces: Sequence[str], log_probabilities: Sequence[float]
) -> tuple[float, ...]:
    """Mean log-probability of the tokens that each span of a text overlaps.

    Args:
        spans: start and end of each in the text.
        pieces: the text of each token; together they are the text.
    """
    ends: list[int] = []
    for piece in pieces:
        ends.append(len(piece) + (ends[-1] if ends else 0))
    starts = [0, *ends[:-1]]
    means = []
    for start, end in spans:
        inside = [
            value
            for value, first, last in zip(log_probabilities, starts, ends, strict=False)
            if first < end and last > start
        ]
        means.append(round(sum(inside) / len(inside), 4) if inside else 0.0)
    return tuple(means)


def _images(questions: Sequence[Question[Any]]) -> dict[str, Question[Any]]:
    """A question about each image, by the image's record."""
    return {question.record.id: question for question in questions}


def _reference_lengths(references: Sequence[str], processor: Any) -> list[int]:
    """Tokens of each right answer."""
    different = sorted(set(references))
    ids = processor.tokenizer(different, add_special_tokens=False)["input_ids"]
    lengths = dict(zip(different, map(len, ids), strict=True))
    return [lengths[reference] for reference in references]


def _longest_answer(name: str, lengths: Sequence[int]) -> int:
    """Tokens that the longest right answer takes, its end included; at least the task's own."""
    return max(find_task(name).max_new_tokens, max(lengths) + 1)
