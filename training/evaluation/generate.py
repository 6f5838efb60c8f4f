"""Greedy answers of a model, in batches of similar prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mmrs.shards.reader import ShardSet
from training.evaluation.questions import Question, open_image
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor


def generate_answers(
    model: EarthGPTForConditionalGeneration,
    processor: EarthGPTProcessor,
    data: ShardSet,
    questions: Sequence[Question],
    batch_size: int,
    max_new_tokens: int,
    advance: Callable[[int], None],
) -> list[str]:
    """One answer per question, in the order of the questions.

    Questions of one task go together, so that a batch ends when its answers do. Decoding is greedy and unconstrained.
    """
    model.eval()
    order = sorted(range(len(questions)), key=lambda index: (questions[index].task, index))
    answers = [""] * len(questions)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        images = [open_image(data, questions[index]) for index in batch]
        inputs = processor(images=images, text=[questions[index].prompt for index in batch]).to(model.device)
        with torch.inference_mode():
            output_BL = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        for index, answer in zip(batch, processor.decode_answers(output_BL, inputs["input_ids"].shape[1]), strict=True):
            answers[index] = answer
        advance(len(batch))
    return answers
