"""Greedy answers of a model, in batches of similar prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import LogitsProcessorList

from mmrs.shards.reader import ShardSet
from training.evaluation.questions import open_image
from training.evaluation.task import Answer, FinishReason, Question
from training.evaluation.tasks import find_task
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.constrained import AnswerGrammar, GrammarLogitsProcessor


@dataclass(frozen=True, slots=True)
class Decoding:
    """How answers are generated. Always greedy.

    Args:
        batch_size: prompts generated at once; of one task, so that a batch ends when its answers do.
        max_new_tokens: longest answer; 0: what each task allows, and as much as its longest right answer takes, as far
            as the model has positions. Answers that are cut all the same are counted.
        constrained: no answer can leave its task's grammar; scores are then not comparable with any others.
    """

    batch_size: int = 32
    max_new_tokens: int = 0
    constrained: bool = False

    def describe(self) -> str:
        """A phrase for the file of scores."""
        how = "constrained to the answer grammar" if self.constrained else "unconstrained"
        longest = (
            f"at most {self.max_new_tokens} tokens"
            if self.max_new_tokens
            else "as many tokens as the longest reference"
        )
        return f"greedy, {how}, {longest}"


def generate_answers(
    model: EarthGPTForConditionalGeneration,
    processor: EarthGPTProcessor,
    data: ShardSet,
    questions: Sequence[Question[Any]],
    decoding: Decoding,
    advance: Callable[[int], None],
) -> list[Answer]:
    """One answer per question, in the order of the questions."""
    grammar = AnswerGrammar(processor) if decoding.constrained else None
    model.eval()
    answers: dict[str, Answer] = {}
    for task in sorted({question.task for question in questions}):
        asked = [question for question in questions if question.task == task]
        longest = decoding.max_new_tokens or longest_answer(task, asked, processor)
        for start in range(0, len(asked), decoding.batch_size):
            batch = asked[start : start + decoding.batch_size]
            for answer in _answer_batch(model, processor, data, batch, longest, grammar):
                answers[answer.id] = answer
            advance(len(batch))
    return [answers[question.id] for question in questions]


def longest_answer(name: str, questions: Sequence[Question[Any]], processor: EarthGPTProcessor) -> int:
    """Tokens that the longest right answer to any of the questions takes, its end included; at least the task's own."""
    task = find_task(name)
    references = {task.reference(question) for question in questions}
    counts = [len(ids) for ids in processor.tokenizer(sorted(references), add_special_tokens=False)["input_ids"]]
    return max(task.max_new_tokens, max(counts) + 1)


def _answer_batch(
    model: EarthGPTForConditionalGeneration,
    processor: EarthGPTProcessor,
    data: ShardSet,
    batch: Sequence[Question[Any]],
    longest: int,
    grammar: AnswerGrammar | None,
) -> list[Answer]:
    """Answers to questions of one task, of at most `longest` tokens."""
    task = find_task(batch[0].task)
    images = [open_image(data, question) for question in batch]
    inputs = processor(images=images, text=[question.prompt for question in batch]).to(model.device)
    prompt_length = inputs["input_ids"].shape[1]
    constraints = LogitsProcessorList()
    if grammar is not None:
        patterns = [task.pattern(question) for question in batch]
        constraints.append(GrammarLogitsProcessor(grammar, patterns, prompt_length))
    with torch.inference_mode():
        # transformers types `self` by a protocol that none of its own models meets.
        generated = model.generate(  # type: ignore[misc]
            **inputs,
            max_new_tokens=max(1, min(longest, model.config.get_text_config().max_position_embeddings - prompt_length)),
            do_sample=False,
            logits_processor=constraints,
        )
    output_BL = cast(torch.Tensor, generated)
    ended_B = (output_BL[:, prompt_length:] == processor.tokenizer.eos_token_id).any(dim=1).tolist()
    texts = processor.decode_answers(output_BL, prompt_length)
    return [
        Answer(question.id, text, question.prompt, _finish_reason(ended))
        for question, text, ended in zip(batch, texts, ended_B, strict=True)
    ]


def _finish_reason(ended: bool) -> FinishReason:
    return "stop" if ended else "length"
