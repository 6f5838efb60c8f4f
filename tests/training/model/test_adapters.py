"""Encoders and decoders that the paper does not use, from parts to a trained model: those that the project has beside
the paper's, and a toy that tests add by one file."""

import ast
import re
from itertools import product
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Siglip2VisionConfig,
    Siglip2VisionModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    SmolLM3Config,
    SmolLM3ForCausalLM,
    ViTConfig,
    ViTModel,
)

import training.model
from mmrs.errors import UserError
from tests.training.micro import make_config as run_config
from tests.training.model.assembly.test_assemble import sentencepiece_tokenizer
from tests.training.model.conftest import CORPUS
from tests.training.model.test_accounting import counted, kept_by_autograd
from tests.training.model.test_modeling import DIALOGUES, ids_of, logits_alone, pack
from tests.training.model.toys import plain_vit
from tests.training.model.tuning.test_vectors import disturb
from training.config.parameter_sets import SETS
from training.model.accounting import activation_memory, cache_bytes, step_flops
from training.model.assembly.assemble import AssemblyRequest, assemble
from training.model.assembly.parts import read_encoder
from training.model.export.export import export
from training.model.language.bias_scale import tuned_vectors
from training.model.language.decoder import decoder_of_type, decoder_types
from training.model.masks import build_position_ids
from training.model.origin.digest import weights_digest
from training.model.tuning.vectors import add_tuning, fold
from training.model.vision.encoder import encoder_types
from training.run.train import train
from training.step.attention import pack_mask, set_attention

EXACT = {"atol": 1e-5, "rtol": 1e-5}
# Of logits up to 5; the vectors of these tests are far larger than a run makes them.
FOLDED = {"atol": 5e-5, "rtol": 1e-5}
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
}
_GEMMA = _SIZES | {"head_dim": 8}
_VIT = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 2}
_DINO = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 14}
ENCODERS = {
    "siglip_vision_model": lambda: SiglipVisionModel(SiglipVisionConfig(**_VIT, patch_size=16, image_size=32)),
    plain_vit.PlainVit.model_type: lambda: ViTModel(ViTConfig(**_VIT, patch_size=8, image_size=32)),
    "dinov2": lambda: Dinov2Model(Dinov2Config(**_DINO, image_size=28)),
    "dinov2_with_registers": lambda: Dinov2WithRegistersModel(
        Dinov2WithRegistersConfig(**_DINO, image_size=28, num_register_tokens=3)
    ),
    "dinov3_vit": lambda: DINOv3ViTModel(
        DINOv3ViTConfig(**_VIT, patch_size=16, image_size=32, num_register_tokens=2, layerscale_value=0.5)
    ),
    "clip_vision_model": lambda: CLIPVisionModel(CLIPVisionConfig(**_VIT, patch_size=16, image_size=32)),
    "siglip2_vision_model": lambda: Siglip2VisionModel(Siglip2VisionConfig(**_VIT, patch_size=16, num_patches=4)),
    "dinov3_convnext": lambda: DINOv3ConvNextModel(
        DINOv3ConvNextConfig(depths=[1, 1, 1], hidden_sizes=[8, 12, 16], image_size=32, layer_scale_init_value=0.5)
    ),
    "convnext": lambda: ConvNextModel(ConvNextConfig(depths=[1, 1], hidden_sizes=[8, 12], num_stages=2, image_size=32)),
}
DECODERS = {
    "qwen2": lambda rows: Qwen2ForCausalLM(Qwen2Config(**_SIZES, vocab_size=rows)),
    "qwen3": lambda rows: Qwen3ForCausalLM(Qwen3Config(**_SIZES, vocab_size=rows, head_dim=16)),
    # Windows that are shorter than a dialogue with its image.
    "mistral": lambda rows: MistralForCausalLM(MistralConfig(**_SIZES, vocab_size=rows, sliding_window=13)),
    "gemma": lambda rows: GemmaForCausalLM(GemmaConfig(**_GEMMA, vocab_size=rows)),
    "gemma2": lambda rows: Gemma2ForCausalLM(
        Gemma2Config(**_GEMMA, vocab_size=rows, sliding_window=13, final_logit_softcapping=3.0, query_pre_attn_scalar=9)
    ),
    "gemma3_text": lambda rows: Gemma3ForCausalLM(
        Gemma3TextConfig(**_GEMMA, vocab_size=rows, sliding_window=13, sliding_window_pattern=2)
    ),
    "phi3": lambda rows: Phi3ForCausalLM(Phi3Config(**_SIZES, vocab_size=rows, pad_token_id=0)),
    "smollm3": lambda rows: SmolLM3ForCausalLM(
        SmolLM3Config(**_SIZES, vocab_size=rows, pad_token_id=0, no_rope_layer_interval=2)
    ),
}
# Of each decoder, encoders by name in their order: two, one alone, three.
MODELS = {
    "qwen2": {"vit": "siglip_vision_model", "cnn": "convnext"},
    "qwen3": {"vit": "siglip_vision_model", "cnn": "none"},
    "mistral": {"vit": "vit", "cnn": "convnext", "third": "dinov2"},
    "gemma": {"vit": "clip_vision_model", "cnn": "none"},
    "gemma2": {"vit": "dinov2_with_registers", "cnn": "dinov3_convnext"},
    "gemma3_text": {"vit": "dinov3_vit", "cnn": "none"},
    "phi3": {"vit": "siglip2_vision_model", "cnn": "none"},
    "smollm3": {"vit": "clip_vision_model", "cnn": "convnext", "third": "dinov3_vit"},
}
# The class that loads a folded language model, where there is one.
PLAIN_WITH_BIASES = {"qwen2": "LlamaForCausalLM", "smollm3": "SmolLM3ForCausalLM"}
SENTENCEPIECE = ("mistral", "gemma", "gemma2", "gemma3_text")


def byte_level_tokenizer():
    """The form of Qwen's tokenizers: no BOS, one token for the end and for padding."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end, pad_token=end)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Function of a decoder: the folder of a model around it, and that of its language model."""
    made = {}

    def make(decoder):
        if decoder not in made:
            root = tmp_path_factory.mktemp(decoder)
            torch.manual_seed(0)
            tokenizer = sentencepiece_tokenizer() if decoder in SENTENCEPIECE else byte_level_tokenizer()
            language_model = DECODERS[decoder](len(tokenizer))
            for name, value in language_model.named_parameters():
                if name.endswith("_proj.bias"):
                    value.data.normal_()
            language_model.save_pretrained(root / "llm")
            tokenizer.save_pretrained(root / "llm")
            sources = {}
            for name, kind in MODELS[decoder].items():
                sources[name] = "none" if kind == "none" else str(root / name)
                if kind != "none":
                    ENCODERS[kind]().save_pretrained(root / name)
            request = AssemblyRequest(root / "model", str(root / "llm"), sources, "tiny", changes={"token_merge": 1})
            assemble(request)
            made[decoder] = root / "model", root / "llm"
        return made[decoder]

    return make


# Between them every kind of tokenizer and number of encoders, windows and norms of heads; the others run in the night.
QUICK = {"qwen2", "gemma2", "phi3", "smollm3"}


@pytest.fixture(params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.nightly) for name in DECODERS])
def decoder(request):
    return request.param


@pytest.fixture
def folder(folders, decoder):
    return folders(decoder)[0]


def read(folder):
    return read_model(folder), AutoProcessor.from_pretrained(folder)


def read_model(folder):
    return AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager").eval()


def pixels_of(model, count=2):
    side = model.config.image_size
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("decoder", DECODERS)
@torch.no_grad()
def test_parts_are_taken_as_they_are(folder, folders, decoder):
    model, processor = read(folder)
    kinds = [entry.config.model_type for entry in model.config.entries]
    assert kinds == [kind for kind in MODELS[decoder].values() if kind != "none"]
    ids = torch.tensor([ids_of(processor, DIALOGUES[0], False)])
    bare = AutoModelForCausalLM.from_pretrained(folders(decoder)[1], attn_implementation="eager").eval()
    assert torch.equal(model(ids).logits, bare(ids).logits)
    roles = [part["role"] for part in model.config.origin["parts"]]
    assert roles == [*(name for name, kind in MODELS[decoder].items() if kind != "none"), "llm"]
    idle = {"embeddings.mask_token", "pooler", "head"}
    assert not [name for name, _ in model.vision.named_parameters() if any(part in name for part in idle)]


def test_packed_equals_each_dialogue_alone(folder):
    model, processor = read(folder)
    ids_BL, image_BL, dialogue_BL, spans = pack(processor, [DIALOGUES[:2], DIALOGUES[2:]])
    pixels = pixels_of(model)
    mask = pack_mask(model.language_model, image_BL, dialogue_BL)
    with torch.no_grad():
        states = model.hidden_states(ids_BL, pixels, mask, build_position_ids(image_BL, dialogue_BL))
    packed = model.logits(states)[0]
    for number, dialogue, start, stop in spans:
        alone = logits_alone(model, ids_of(processor, dialogue), pixels[number : number + 1])
        torch.testing.assert_close(packed[start:stop], alone[start - stop :], atol=2e-5, rtol=1e-5)
    other = model(ids_BL, pixel_values=pixels.flip(0), attention_mask=mask).logits[0]
    assert (other - packed).abs().max() > 1e-3


def test_generation_equals_argmax_without_cache(folder):
    model, processor = read(folder)
    pixels = pixels_of(model, 1)
    row = ids_of(processor, DIALOGUES[0][:1])
    given = torch.tensor([row])
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": -1}
    output = model.generate(given, pixel_values=pixels, attention_mask=torch.ones_like(given), **options)
    for length in range(len(row), len(row) + 5):
        assert output[0, length] == logits_alone(model, output[0, :length].tolist(), pixels)[-1].argmax()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_tuning_starts_bit_identical(folder, dtype):
    model, processor = read(folder)
    model = model.to(dtype)
    ids, pixels = torch.tensor([ids_of(processor, DIALOGUES[0])]), pixels_of(model, 1)
    expected, digest = model(ids, pixel_values=pixels).logits, weights_digest(model)
    add_tuning(model, "bias-scale")
    assert torch.equal(model(ids, pixel_values=pixels).logits, expected) and weights_digest(model) == digest
    assert len(tuned_vectors(model)) == 2 * 2 * (4 if model.config.text.model_type == "phi3" else 7)


@torch.no_grad()
def test_a_tuned_model_is_saved_and_folds(folder, tmp_path):
    model, processor = read(folder)
    ids, pixels = torch.tensor([ids_of(processor, DIALOGUES[0])]), pixels_of(model, 1)
    add_tuning(model, "bias-scale")
    tuned = disturb(model)(ids, pixel_values=pixels).logits
    model.save_pretrained(tmp_path / "tuned")
    assert torch.equal(read_model(tmp_path / "tuned")(ids, pixel_values=pixels).logits, tuned)
    fold(model).save_pretrained(tmp_path / "folded")
    folded = read_model(tmp_path / "folded")
    assert not tuned_vectors(folded) and folded.config.linear_biases
    torch.testing.assert_close(folded(ids, pixel_values=pixels).logits, tuned, **FOLDED)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("decoder", "kind"),
    [*((decoder, "bias-scale") for decoder in DECODERS), *product(("qwen2", "phi3", "gemma2"), ("lora", None))],
)
def test_three_steps_train_what_the_stage_says(folders, decoder, shards, tmp_path, kind):
    folder = folders(decoder)[0]
    if kind == "lora":
        pytest.importorskip("peft", reason="peft is not installed (pip install 'mmrs[lora]')")
    names = {"bias-scale": "vectors", "lora": "adapters", None: "projector"}
    stage = {"tuning": {"kind": kind} if kind else None, "trainable": [{"set": names[kind], "learning_rate": 1e-2}]}
    config = run_config(tmp_path / "run", shards, folder, max_steps=3, stage=stage)
    result = train(config)
    base, (trained, processor) = read_model(folder), read(result.model)
    before, after = base.state_dict(), trained.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    linears = {f"{path}.weight" for path in base.config.tuned_layers(head=False)}
    if kind == "bias-scale":
        assert not moved and len(tuned_vectors(trained)) == 2 * len(linears)
        assert all(not torch.equal(v, torch.full_like(v, "scale" in n)) for n, v in tuned_vectors(trained).items())
        written = tmp_path / "out"
        export(result.model, written)
        ids = torch.tensor([ids_of(processor, DIALOGUES[0], False)])
        with torch.no_grad():
            expected = trained(ids).logits
            torch.testing.assert_close(read_model(written)(ids).logits, expected, **FOLDED)
            if decoder not in PLAIN_WITH_BIASES:
                with pytest.raises(UserError, match="ForCausalLM has no biases"):
                    export(result.model, tmp_path / "alone", "language-model")
                return
            export(result.model, tmp_path / "alone", "language-model")
            alone = AutoModelForCausalLM.from_pretrained(tmp_path / "alone").eval()
            assert type(alone).__name__ == PLAIN_WITH_BIASES[decoder]
            torch.testing.assert_close(alone(ids).logits, expected, **FOLDED)
    elif kind == "lora":
        assert moved == linears
    else:
        assert moved == {name for name in before if name.startswith("model.projector.")}


def test_the_untuned_language_model_goes_out_as_it_came(folder, folders, decoder, tmp_path):
    export(folder, tmp_path / "alone", "language-model")
    alone, bare = (AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path / "alone", folders(decoder)[1]))
    assert type(alone) is type(bare)
    assert all(torch.equal(alone.state_dict()[name], value) for name, value in bare.state_dict().items())


PATTERNS = ["everything but encoders", "attention", "vectors", "norms"]


@pytest.mark.parametrize(
    ("decoder", "patterns"),
    [
        *product(("qwen2", "qwen3", "gemma3_text", "phi3"), PATTERNS),
        *product(("mistral", "gemma", "gemma2"), ["norms"]),
    ],
)
def test_operations_and_memory_are_what_torch_counts(folders, decoder, patterns):
    folder = folders(decoder)[0]
    model, processor = read(folder)
    model.train()
    if patterns == "vectors":
        add_tuning(model, "bias-scale")
    everything = r"(model\.(projector|language_model)|lm_head)\..*"
    pattern = everything if patterns.startswith("everything") else SETS[patterns]
    for name, value in model.named_parameters():
        value.requires_grad_(re.fullmatch(pattern, name) is not None)
    forward, backward, length = counted(model, processor, pixels_of(model), kept=4)
    flops = step_flops(model, tokens=2 * length, pairs=2 * length**2, images=2, targets=8)
    assert (sum(flops.forward.values()), sum(flops.backward.values())) == (forward, backward)
    if model.config.decoder_kind.dense_kernel == "eager":
        return  # It keeps its scores, which no formula counts.
    set_attention(model.language_model, "sdpa")
    # Masks are no part of the formula: no window is reached here.
    model.config.text.sliding_window = getattr(model.config.text, "sliding_window", None) and 4096
    tokens, kept = kept_by_autograd(model, processor, pixels_of(model, 1), 200, 32)
    memory = activation_memory(model, tokens, 1, 32, torch.float32)
    assert 0.88 < sum(memory.values()) / kept <= 1
    cache = model(torch.tensor([[1, 7, 8, 9]]), use_cache=True).past_key_values
    stored = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert cache_bytes(model.config, 4, torch.float32) == stored


def test_the_encoder_of_a_whole_siglip_is_read(tmp_path):
    text = {
        "vocab_size": 40,
        "hidden_size": 8,
        "intermediate_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    vision = _VIT | {"patch_size": 16, "image_size": 32}
    whole = SiglipModel(SiglipConfig(text_config=text, vision_config=vision))
    whole.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    part = read_encoder("vit", str(tmp_path))
    assert part.licence == "apache-2.0" and not part.model.config.vision_use_head
    expected = {name: value for name, value in whole.vision_model.state_dict().items() if "head." not in name}
    found = {name.removeprefix("vision_model."): value for name, value in part.model.state_dict().items()}
    assert found.keys() == expected.keys() and all(torch.equal(found[name], value) for name, value in expected.items())


@torch.no_grad()
def test_siglip_features_are_its_own(folders):
    model, _ = read(folders("qwen3")[0])
    entry, encoder = model.config.entries[0], model.vision.vit
    assert (entry.image_size, entry.layers, encoder.use_head) == (32, (1, 2, 3, 4), False)
    pixels = pixels_of(model, 1)
    standardised = (pixels.float() / 255 - 0.5) / 0.5
    outputs = encoder(standardised, output_hidden_states=True)
    maps = entry.encoder.maps_NGGC(encoder, standardised, (2, 4))
    torch.testing.assert_close(maps[1].flatten(1, 2), outputs.last_hidden_state, **EXACT)
    torch.testing.assert_close(maps[0].flatten(1, 2), encoder.post_layernorm(outputs.hidden_states[2]), **EXACT)
    mean = torch.stack(entry.encoder.maps_NGGC(encoder, standardised, entry.layers)).mean(0)
    torch.testing.assert_close(model.vision(pixels)[0], mean, **EXACT)


@pytest.mark.parametrize("kind", decoder_types())
def test_parameter_sets_are_the_layers_that_the_decoder_names(kind):
    linears = decoder_of_type(kind).linears
    layer = "model.language_model.layers.3."
    matched = {name for name in linears.all if re.fullmatch(SETS["attention"], f"{layer}{name}.weight")}
    assert matched == {*linears.attention_inputs, linears.attention_output}
    inputs = {name for name in linears.all if re.fullmatch(SETS["attention-qkv"], f"{layer}{name}.weight")}
    assert inputs == set(linears.attention_inputs)
    for name in linears.all:
        assert re.fullmatch(SETS["vectors"], f"{layer}{name}.scale_tune")
        assert re.fullmatch(SETS["adapters"], f"{layer}{name}.lora_A.default.weight")


def test_norms_of_heads_are_norms(folders):
    model, _ = read(folders("qwen3")[0])
    names = [name for name, _ in model.named_parameters() if re.fullmatch(SETS["norms"], name)]
    assert len(names) == 2 * 4 + 1 and sum("q_norm" in name for name in names) == 2


def test_code_outside_the_adapters_names_no_encoder_and_no_decoder():
    root = Path(training.model.__file__).parent
    kinds = {*encoder_types(), *decoder_types(), "gemma", "phi", "mistral", "clip"}
    classes = re.compile(r"\b(Llama|Qwen|Mistral|Dinov2|ConvNext|Siglip|CLIP)[A-Z0-9]\w*")
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in ("vision", "language") or path.name == "presets.py":
            continue
        text = path.read_text()
        assert not classes.search(text), f"{path} names {classes.search(text)}"
        strings = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
        assert not strings & kinds, f"{path} names {strings & kinds}"
