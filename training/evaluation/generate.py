"""Greedy answers of a model, in batches of similar prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from transformers import LogitsProcessorList

from mmrs.shards.reader import ShardSet
from training.evaluation.questions import Question, open_image
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.constrained import AnswerGrammar, GrammarLogitsProcessor


def generate_answers(
    model: EarthGPTForConditionalGeneration,
    processor: EarthGPTProcessor,
    data: ShardSet,
    questions: Sequence[Question],
    batch_size: int,
    max_new_tokens: int,
    advance: Callable[[int], None],
    pattern_of: Callable[[Question], str | None] | None = None,
) -> list[str]:
    """One answer per question, in the order of the questions.

    Questions of one task go together, so that a batch ends when its answers do. Decoding is greedy.

    Args:
        pattern_of: the regular expression that an answer must match, where generation is to be constrained.
    """
    grammar = None if pattern_of is None else AnswerGrammar(processor)
    model.eval()
    order = sorted(range(len(questions)), key=lambda index: (questions[index].task, index))
    answers = [""] * len(questions)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        images = [open_image(data, questions[index]) for index in batch]
        inputs = processor(images=images, text=[questions[index].prompt for index in batch]).to(model.device)
        prompt_length = inputs["input_ids"].shape[1]
        constraints = LogitsProcessorList()
        if grammar is not None and pattern_of is not None:
            patterns = [pattern_of(questions[index]) for index in batch]
            constraints.append(GrammarLogitsProcessor(grammar, patterns, prompt_length))
        with torch.inference_mode():
            output_BL = model.generate(
                **inputs, max_new_tokens=max_new_tokens, do_sample=False, logits_processor=constraints
            )
        for index, answer in zip(batch, processor.decode_answers(output_BL, prompt_length), strict=True):
            answers[index] = answer
        advance(len(batch))
    return answers
