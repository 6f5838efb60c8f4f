"""Constrained generation: only answers of the grammar come out, and all of them can."""

import re

import pytest
import regex
import torch
from transformers import LogitsProcessorList

from mmrs.instructions.dialects import DIALECTS
from mmrs.instructions.grammar import answer_pattern
from tests.training.model.assembly.test_assemble import sentencepiece_tokenizer
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, initialise
from training.model.assembly.text_check import sample_dialogues
from training.model.constrained import AnswerGrammar, GrammarLogitsProcessor, token_bytes
from training.model.tokenizer import adapt_tokenizer

CATEGORIES = ("ship", "harbor")
TASKS = ("classification", "detection-hbb", "detection-obb", "visual-grounding")


def processors(tokenizer):
    yield tokenizer
    for prepend_always in (False, True):
        other = sentencepiece_tokenizer(prepend_always)
        adapt_tokenizer(other, len(other))
        yield other


@pytest.fixture(params=["byte-level", "sentencepiece", "sentencepiece, blank always"])
def any_processor(request, tokenizer):
    names = ["byte-level", "sentencepiece", "sentencepiece, blank always"]
    chosen = list(processors(tokenizer))[names.index(request.param)]
    return EarthGPTProcessor(EarthGPTImageProcessor(64), chosen, 18)


def test_bytes_of_tokens_make_up_the_text(any_processor):
    contents = token_bytes(any_processor.tokenizer)
    for text in ("There are <p>two ships</p>[0.1,0.2]", "a café  \n\t 中 \U0001f6a2"):
        ids = any_processor.tokenizer.encode(f"0{text}", add_special_tokens=False, split_special_tokens=True)
        assert b"".join(contents[number] for number in ids).decode().lstrip(" ") == f"0{text}"
    assert all(contents[number] is None for number in any_processor.tokenizer.all_special_ids)


def test_every_written_answer_can_be_generated(any_processor):
    """Each of its tokens is allowed where it comes, the end token exactly at the end."""
    grammar = AnswerGrammar(any_processor)
    checked = 0
    for question, answer in sample_dialogues():
        classes = (*CATEGORIES, "golf course")
        patterns = [answer_pattern(task, classes, dialect) for task in TASKS for dialect in DIALECTS.values()]
        pattern = next((each for each in patterns if re.fullmatch(each, answer)), None)
        if pattern is None:
            continue
        ids, is_target = any_processor.encode_dialogue([("human", question), ("gpt", answer)])
        answered = [number for number, target in zip(ids, is_target, strict=True) if target]
        for place in range(0, len(answered), 19):
            allowed = grammar.allowed(pattern, grammar.text(answered[:place]))
            assert answered[place] in allowed
            assert answered[-1] not in allowed or answered[place] == answered[-1]
        assert answered[-1] in grammar.allowed(pattern, grammar.text(answered[:-1]))
        checked += 1
    assert checked >= 5


def test_a_random_model_answers_in_the_grammar(make_config, tokenizer, random_pixels, processor):
    model = initialise(make_config(), 0).eval()
    grammar = AnswerGrammar(processor)
    patterns = [answer_pattern(task, CATEGORIES, DIALECTS["mmrs"]) for task in TASKS] + [None]
    inputs = processor._pad_left([processor._encode_prompt("Where?" * (row + 1), True) for row in range(5)])
    length = inputs["input_ids"].shape[1]

    def generate(constraints, **options):
        return model.generate(
            **inputs, pixel_values=random_pixels(5), max_new_tokens=60, do_sample=False,
            logits_processor=LogitsProcessorList(constraints), **options,
        )  # fmt: skip

    free, kept = generate([]), generate([GrammarLogitsProcessor(grammar, patterns, length)])
    assert kept[-1, length:].tolist() == free[-1, length:].tolist()
    answers = processor.decode_answers(kept, length)
    assert answers[0] in CATEGORIES
    assert re.fullmatch(patterns[3], answers[3])
    for pattern, answer in zip(patterns[1:3], answers[1:3], strict=True):
        assert regex.fullmatch(pattern, answer, partial=True) and answer.startswith("There ")
    unconstrained = processor.decode_answers(free, length)[:-1]
    assert not any(re.fullmatch(pattern, answer) for pattern, answer in zip(patterns, unconstrained, strict=False))
    with pytest.raises(ValueError, match="without beams"):
        generate([GrammarLogitsProcessor(grammar, patterns, length)], num_beams=2)


def test_finished_rows_and_dead_ends_are_left_alone(processor):
    grammar = AnswerGrammar(processor)
    scores = torch.randn(2, 320)
    eos = processor.tokenizer.eos_token_id
    done = GrammarLogitsProcessor(grammar, ["a", "a"], 1)(torch.tensor([[5, eos], [5, eos]]), scores)
    assert torch.equal(done, scores)
