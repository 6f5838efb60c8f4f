"""Constrained generation: only answers of the grammar come out, and all of them can."""

import re
import sys

import pytest
import regex
import torch
from transformers import LogitsProcessorList

from mmrs.errors import UserError
from mmrs.instructions.dialects import DIALECTS
from mmrs.instructions.grammar import answer_pattern
from tests.support.models import left_padded
from tests.training.model.assembly.test_assemble import sentencepiece_tokenizer
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, initialise
from training.model.assembly.text_check import sample_dialogues
from training.model.constrained import AnswerGrammar, GrammarLogitsProcessor
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
        following = GrammarLogitsProcessor(grammar, [pattern], 2)
        for place, token in enumerate(answered):
            scores = following(torch.tensor([[0, 0, *answered[:place]]]), torch.zeros(1, len(any_processor.tokenizer)))
            allowed = scores[0].isfinite().nonzero().flatten().tolist()
            assert token in allowed
            assert answered[-1] not in allowed or token == answered[-1]
        checked += 1
    assert checked >= 5


def test_a_random_model_answers_in_the_grammar(make_config, tokenizer, random_pixels, processor):
    model = initialise(make_config(), 0).eval()
    grammar = AnswerGrammar(processor)
    patterns = [answer_pattern(task, CATEGORIES, DIALECTS["mmrs"]) for task in TASKS] + [None]
    inputs = left_padded(processor, [processor._encode_prompt("Where?" * (row + 1), 1) for row in range(5)])
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


def test_finished_rows_and_free_text_are_left_alone(processor):
    grammar, eos = AnswerGrammar(processor), processor.tokenizer.eos_token_id
    scores = torch.randn(3, 320)
    following = GrammarLogitsProcessor(grammar, ["(?:a|bb)", "(?:a|bb)", None], 1)
    first = following(torch.tensor([[5], [5], [5]]), scores)
    assert torch.equal(first[2], scores[2]) and 0 < first[0].isfinite().sum() < 320
    later = following(torch.tensor([[5, eos], [5, int(first[1].argmax())], [5, 7]]), scores)
    assert torch.equal(later[0], scores[0]) and torch.equal(later[2], scores[2])
    assert later[1].isfinite().sum() < 320


def test_tokens_that_only_the_model_has_are_never_allowed(processor):
    """A model's table can be longer than its tokenizer's, in multiples of 64 for instance."""
    following = GrammarLogitsProcessor(AnswerGrammar(processor), ["ship"], 1)
    assert not following(torch.tensor([[5]]), torch.zeros(1, 384))[0, 320:].isfinite().any()


def test_what_llguidance_does_not_know_is_refused(processor):
    with pytest.raises(ValueError, match="no grammar of answers"):
        GrammarLogitsProcessor(AnswerGrammar(processor), [r"(a)\1"], 1)


def test_without_llguidance_the_extra_is_named(processor, monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    with pytest.raises(UserError, match=r"pip install 'mmrs\[constrained\]'"):
        AnswerGrammar(processor)
