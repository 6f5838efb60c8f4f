"""A model folder out of parts: small random parts in every form that is read."""

import json
import shutil
import struct
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    ConvNextConfig,
    ConvNextModel,
    Dinov2Config,
    Dinov2Model,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from mmrs.errors import UserError
from tests.training.model.vision.test_original_names import (
    REST_OF_CLIP,
    dinov2_checkpoint,
    openclip_checkpoint,
    openclip_vit,
    timm_checkpoint,
)
from training.model.assembly import parts
from training.model.assembly.assemble import AssemblyRequest, assemble, describe_assembly
from training.model.assembly.text_check import check_texts, sample_dialogues
from training.model.inputs.image_processor import EarthGPTImageProcessor
from training.model.origin.card import NOT_STATED
from training.model.processing import EarthGPTProcessor
from training.model.tokenizer import adapt_tokenizer
from training.model.vision.encoder import CLIP, IMAGENET, PixelStatistics

CHANGES = {"vit.image_size": 56, "cnn.image_size": 64, "token_merge": 1}
BYTES = [f"<0x{number:02X}>" for number in range(256)]


def sentencepiece_tokenizer(prepend_always=False, **special):
    """A BPE with byte fallback and blanks as ▁, the form of LLaMA-2's tokenizer; without a padding token."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if prepend_always:
        steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        tokenizer.normalizer = normalizers.Sequence(steps)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>", "<s>", "</s>", *BYTES], show_progress=False, max_token_length=8
    )
    tokenizer.train_from_iterator([f"{question} {answer}" for question, answer in sample_dialogues()][:4], trainer)
    content = json.loads(tokenizer.to_str())
    content["added_tokens"] = [token for token in content["added_tokens"] if token["content"] not in BYTES]
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"} | special
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), **names)


def write_llama(folder, tokenizer=None, **changes):
    tokenizer = tokenizer or sentencepiece_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    fields = sizes | {"num_key_value_heads": 2, "vocab_size": len(tokenizer), "initializer_range": 0.3, **changes}
    LlamaForCausalLM(LlamaConfig(**fields)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: llama2\n---\n# A model\n")
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Every part in two forms."""
    root = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    vit = Dinov2Config(hidden_size=24, num_hidden_layers=3, num_attention_heads=2, patch_size=14, image_size=56)
    Dinov2Model(vit).save_pretrained(root / "dinov2")
    cnn = ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 12, 16, 20])
    ConvNextModel(cnn).save_pretrained(root / "convnext")
    (root / "convnext" / "LICENSE").write_text("\nMIT License\n\nCopyright\n")
    torch.save(dinov2_checkpoint(), root / "dinov2.pth")
    (root / "openclip").mkdir()
    save_file(openclip_checkpoint() | REST_OF_CLIP, root / "openclip" / "open_clip_model.safetensors")
    save_file(REST_OF_CLIP, root / "text.safetensors")
    write_llama(root / "llama")
    return root


def put_together(out, llm, size="tiny", vit=None, cnn=None, **more):
    """The model of two encoders, each random where none is given."""
    encoders = {name: str(source) for name, source in (("vit", vit), ("cnn", cnn)) if source is not None}
    return assemble(AssemblyRequest(out, str(llm), encoders, size, **more))


def read(folder):
    return AutoModelForImageTextToText.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)


@pytest.mark.parametrize(("vit", "cnn"), [("dinov2", "convnext"), ("dinov2.pth", "openclip"), (None, None)])
def test_parts_become_one_folder(sources, tmp_path, random_pixels, vit, cnn):
    vit_path, cnn_path = (sources / name if name else None for name in (vit, cnn))
    changes = CHANGES if vit else {}
    result = put_together(tmp_path / "model", sources / "llama", vit=vit_path, cnn=cnn_path, changes=changes)
    model, processor = read(tmp_path / "model")
    assert result.image_slots == processor.image_slots == model.config.image_slots
    assert result.parameters == sum(value.numel() for value in model.parameters())
    side = model.config.image_size
    pixels = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
    ids = torch.tensor([[*processor.encode_prefix(True), *processor.encode_dialogue([("human", "Where?")])[0]]])
    with torch.no_grad():
        assert torch.isfinite(model(ids, pixel_values=pixels).logits).all()
    if vit == "dinov2":
        original = Dinov2Model.from_pretrained(sources / "dinov2").state_dict()
        original.pop("embeddings.mask_token")
        ours = model.vision.vit.state_dict()
        assert ours.keys() == original.keys() and all(torch.equal(ours[name], original[name]) for name in ours)
        assert model.config.entry("vit").layers == (1, 2, 3)
    noted = {part["role"]: part for part in model.config.origin["parts"]}
    assert {role: part["origin"] for role, part in noted.items()} == {
        "llm": "llama", "vit": vit or "random weights", "cnn": cnn or "random weights",
    }  # fmt: skip
    assert noted["llm"]["licence"] == "llama2"
    assert noted["cnn"]["licence"] == {"convnext": "MIT License", "openclip": NOT_STATED, None: "none needed"}[cnn]
    assert ("Look up the licence of vit" in describe_assembly(result)) == (vit is not None)


@pytest.mark.parametrize("tie", [False, True])
@torch.no_grad()
def test_text_is_answered_as_by_the_bare_language_model(sources, tmp_path, tie):
    write_llama(tmp_path / "llama", tie_word_embeddings=tie)
    put_together(tmp_path / "model", tmp_path / "llama")
    model, processor = read(tmp_path / "model")
    bare = LlamaForCausalLM.from_pretrained(tmp_path / "llama").eval()
    assert model.get_input_embeddings().weight.shape == bare.get_input_embeddings().weight.shape
    inputs = processor(text=["Where is the ship?", "Count."])
    expected = bare.generate(
        **inputs, max_new_tokens=12, do_sample=False, pad_token_id=processor.tokenizer.pad_token_id
    )
    assert torch.equal(model.generate(**inputs, max_new_tokens=12, do_sample=False), expected)
    ids = inputs["input_ids"][:1]
    assert torch.equal(model(ids).logits, bare(ids).logits)


def test_an_encoder_that_an_earthgpt_was_trained_with_goes_on(sources, tmp_path):
    """With its weights, image size, layers and pixels, before another language model."""
    trained = tmp_path / "trained"
    put_together(trained, sources / "llama", changes=CHANGES | {"vit.layers": [2]})
    before, _ = read(trained)
    again = tmp_path / "again"
    write_llama(tmp_path / "wider", hidden_size=96)
    put_together(again, tmp_path / "wider", vit=trained, changes={"cnn.image_size": 64, "token_merge": 1}, seed=7)
    after, _ = read(again)
    assert after.config.entry("vit").fields() == before.config.entry("vit").fields()
    assert after.config.entry("vit").image_size == 56
    for name, value in before.vision.vit.state_dict().items():
        assert torch.equal(value, after.vision.vit.state_dict()[name])
    assert any(
        not torch.equal(value, after.vision.cnn.state_dict()[name])
        for name, value in before.vision.cnn.state_dict().items()
    )
    note = next(part for part in after.config.origin["parts"] if part["role"] == "vit")
    assert note["origin"] == "trained"
    with pytest.raises(UserError, match=r"has no encoder sar; it has vit, cnn"):
        assemble(AssemblyRequest(tmp_path / "none", str(sources / "llama"), {"sar": str(trained)}, size="tiny"))


def test_the_same_seed_gives_the_same_folder(sources, tmp_path):
    notes = [
        put_together(tmp_path / str(number), sources / "llama", seed=seed).parts
        for number, seed in enumerate((0, 0, 1))
    ]
    assert notes[0] == notes[1]
    assert notes[0][2] == notes[2][2] and notes[0][0].digest != notes[2][0].digest


def test_visual_tokens_start_at_the_scale_of_the_text(sources, tmp_path):
    put_together(tmp_path / "model", sources / "llama")
    model, _ = read(tmp_path / "model")
    text = model.get_input_embeddings().weight.square().mean().sqrt()
    pixels = torch.randint(0, 256, (2, 3, 128, 128), dtype=torch.uint8)
    image = model.get_image_features(pixels).pooler_output.square().mean().sqrt()
    assert 0.8 < image / text < 1.25


def test_dtype_is_that_of_the_language_model_or_the_given_one(sources, tmp_path):
    put_together(tmp_path / "model", sources / "llama", dtype="bfloat16")
    model, _ = read(tmp_path / "model")
    assert {value.dtype for value in model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("prepend_always", [False, True])
def test_sentencepiece_texts_come_back(prepend_always):
    tokenizer = sentencepiece_tokenizer(prepend_always)
    rows = len(tokenizer)
    adapt_tokenizer(tokenizer, rows)
    assert tokenizer.pad_token == "<unk>" and tokenizer.convert_tokens_to_ids("<image>") == rows
    processor = EarthGPTProcessor(EarthGPTImageProcessor(64), tokenizer, 18)
    check_texts(processor)
    for question, answer in sample_dialogues():
        turns = [("human", question), ("gpt", answer), ("human", "Sure?"), ("gpt", "yes")]
        ids, is_target = processor.encode_dialogue(turns)
        prompt = processor._encode_prompt(question, 1)
        assert ids[: len(prompt) - 19] == prompt[19:] and not any(is_target[: len(prompt) - 19])
        generated = torch.tensor([[*ids[: ids.index(tokenizer.eos_token_id) + 1], tokenizer.pad_token_id]])
        assert processor.decode_answers(generated, len(prompt) - 19) == [answer]


def test_missing_special_tokens_are_replaced_by_those_there_are():
    tokenizer = sentencepiece_tokenizer(bos_token=None, unk_token=None)
    adapt_tokenizer(tokenizer, len(tokenizer))
    assert tokenizer.bos_token == tokenizer.pad_token == "</s>" and tokenizer.padding_side == "left"
    padded = sentencepiece_tokenizer(pad_token="<pad>")
    adapt_tokenizer(padded, len(padded) - 1)
    assert padded.pad_token == "<unk>"
    without = sentencepiece_tokenizer(eos_token=None)
    with pytest.raises(ValueError, match="no EOS token"):
        adapt_tokenizer(without, len(without))
    foreign = sentencepiece_tokenizer()
    with pytest.raises(
        ValueError, match=rf"has id {len(foreign) - 5} but the language model has {len(foreign) - 5} emb"
    ):
        adapt_tokenizer(foreign, len(foreign) - 5)


def test_a_tokenizer_that_changes_texts_is_refused(sources, tmp_path):
    tokenizer = sentencepiece_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    write_llama(tmp_path / "llama", tokenizer)
    with pytest.raises(UserError, match="the parts do not make a model: the tokenizer turns the"):
        put_together(tmp_path / "model", tmp_path / "llama")
    assert not (tmp_path / "model").exists()


def test_what_does_not_fit_is_refused(sources, tmp_path):
    llama, vit = (str(sources / name) for name in ("llama", "dinov2"))
    out = tmp_path / "model"
    cases = [
        ({"llm": ""}, "no language model"),
        ({"llm": llama, "size": "huge"}, "no preset 'huge'"),
        ({"llm": llama, "dtype": "int8"}, "dtype 'int8'"),
        ({"llm": vit}, "is a dinov2 model; give one of .*llama, .*qwen2"),
        ({"llm": llama, "vit": llama}, "is a llama model; give one of clip_vision_model, convnext, dinov2"),
        ({"llm": llama, "cnn": str(sources / "text.safetensors")}, "are of no known encoder"),
        ({"llm": llama, "vit": str(sources / "absent" / "more")}, "there is no file or folder"),
        ({"llm": llama, "vit": str(tmp_path)}, "has no config.json and 0 weight files"),
        ({"llm": llama, "vit": vit, "size": "tiny", "changes": {"vit.image_size": 60}}, "vit.image_size is 60"),
        ({"llm": llama, "size": "tiny", "changes": {"depth": 3}}, "depth is no field that can be changed"),
    ]
    for arguments, words in cases:
        with pytest.raises(UserError, match=words):
            put_together(out, **arguments)
        assert not out.exists()
    out.mkdir()
    (out / "file").write_text("")
    with pytest.raises(UserError, match="is not empty"):
        put_together(out, llama)


@pytest.mark.parametrize(
    ("head", "licence"),
    [
        (struct.pack("<Q15sIQ", 15, b"general.license", 8, 10) + b"apache-2.0rest", "apache-2.0"),
        (struct.pack("<Q15sIQ", 15, b"general.license", 8, 2**60) + b"apache-2.0", NOT_STATED),
        (struct.pack("<Q15sI", 15, b"general.license", 8) + b"cut", NOT_STATED),
        (b"some text about general.license", NOT_STATED),
    ],
)
def test_the_licence_of_a_gguf_is_read_from_its_header(tmp_path, head, licence):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + bytes(20) + head)
    assert parts.licence_of(str(tmp_path / "model.gguf")) == licence


def test_a_hub_name_without_a_network_ends_with_a_next_step(monkeypatch):
    def refuse(*_, **__):
        raise OSError("We couldn't connect to 'https://huggingface.co' to load the files.\nMore lines.")

    for kind in (parts.AutoConfig, parts.AutoTokenizer):
        monkeypatch.setattr(kind, "from_pretrained", refuse)
    monkeypatch.setattr(parts, "cached_file", refuse)
    for read in (parts.read_language_model, partial(parts.read_encoder, "vit")):
        with pytest.raises(UserError, match=r"owner/name cannot be read: We couldn't connect.*hf download owner/name"):
            read("owner/name")


def test_a_gguf_without_its_readers_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(parts.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs gguf and accelerate to read: pip install 'mmrs\[gguf\]'"):
        parts.read_language_model(str(tmp_path / "model.gguf"))


NOTES = {
    "timm": (
        "config.json",
        {"architecture": "vit_base_patch14_clip_quickgelu_42.openai", "num_classes": 0},
        "pretrained_cfg",
        "model.safetensors",
    ),
    "openclip": (
        "open_clip_config.json",
        {"model_cfg": {"quick_gelu": True, "vision_cfg": {"head_width": 32}}},
        "preprocess_cfg",
        "open_clip_model.safetensors",
    ),
}


@pytest.mark.parametrize("kind", NOTES)
@pytest.mark.parametrize("on_the_hub", [False, True])
def test_repositories_of_timm_and_openclip_say_what_no_weight_tells(tmp_path, monkeypatch, kind, on_the_hub):
    name, fields, described, weights = NOTES[kind]
    statistics = {"mean": [0.5, 0.25, 0.125], "std": [0.5, 0.5, 0.25]}
    (tmp_path / name).write_text(json.dumps(fields | {described: statistics}))
    state = timm_checkpoint("clip")
    save_file(state if kind == "timm" else openclip_vit(state), tmp_path / weights)
    source = str(tmp_path)
    if on_the_hub:
        source = "owner/name"
        monkeypatch.setattr(
            parts, "cached_file", lambda _, file, **__: tmp_path / file if (tmp_path / file).is_file() else None
        )
    part = parts.read_encoder("vit", source)
    config = part.model.config
    assert (config.model_type, config.hidden_act) == ("clip_vision_model", "quick_gelu")
    assert config.num_attention_heads == (2 if kind == "timm" else 4)
    assert part.statistics == PixelStatistics(tuple(statistics["mean"]), tuple(statistics["std"]))


def test_a_model_keeps_the_pixels_that_its_encoder_was_trained_with(sources, tmp_path):
    shutil.copytree(sources / "convnext", tmp_path / "convnext")
    stated = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    (tmp_path / "convnext" / "preprocessor_config.json").write_text(json.dumps(stated))
    put_together(tmp_path / "model", sources / "llama", vit="none", cnn=tmp_path / "convnext")
    model, _ = read(tmp_path / "model")
    assert model.config.entry("cnn").statistics == IMAGENET
    assert "statistics" in json.loads((tmp_path / "model" / "config.json").read_text())["encoders"][0]
    pixels = torch.randint(0, 256, (1, 3, model.config.image_size, model.config.image_size), dtype=torch.uint8)
    with torch.no_grad():
        found = model.vision(pixels)[0]
        entry = replace(model.config.entry("cnn"), statistics=CLIP)
        model.vision.entries = (entry,)
        assert (model.vision(pixels)[0] - found).abs().max() > 1e-3


@pytest.mark.parametrize("mean", [[0.5], "red", [0.5, 0.5, None], [0.1, 0.2, float("inf")]])
def test_pixels_that_are_no_three_numbers_are_refused(sources, tmp_path, mean):
    shutil.copytree(sources / "convnext", tmp_path / "convnext")
    stated = {"image_mean": mean, "image_std": [0.229, 0.224, 0.225]}
    (tmp_path / "convnext" / "preprocessor_config.json").write_text(json.dumps(stated))
    with pytest.raises(UserError, match="convnext cannot be read: mean"):
        parts.read_encoder("cnn", str(tmp_path / "convnext"))


def test_an_encoder_of_timm_that_is_not_known_names_another_way(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "swin_tiny_patch4_window7_224"}))
    save_file({"layers.0.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"timm swin_tiny.*no known encoder.*--encoder NAME=facebook/dinov3"):
        parts.read_encoder("vit", str(tmp_path))


def test_hub_names_are_told_from_paths(sources, monkeypatch):
    monkeypatch.chdir(sources)
    for name in ("facebook/dinov2-large", "HuggingFaceTB/SmolLM2-1.7B"):
        assert parts._local(name) is None
    assert parts._local("llama") == Path("llama")
    for name in ("absent", "./absent", "some/absent.gguf", "/a/b/c"):
        with pytest.raises(UserError, match=f"no file or folder {name}"):
            parts._local(name)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"\x80\x02 no pickle"])
def test_broken_checkpoints_are_refused(sources, tmp_path, content):
    for name in ("vit.pth", "vit.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} cannot be read: .* Give a Hugging Face folder"):
            put_together(tmp_path / "model", sources / "llama", vit=tmp_path / name)
    torch.save([torch.ones(1)], tmp_path / "vit.pth")
    with pytest.raises(UserError, match="holds a list, not weights by name"):
        put_together(tmp_path / "model", sources / "llama", vit=tmp_path / "vit.pth")


def test_pickled_weights_of_a_folder_are_refused(sources, tmp_path):
    model = LlamaForCausalLM.from_pretrained(sources / "llama")
    model.config.save_pretrained(tmp_path / "llama")
    sentencepiece_tokenizer().save_pretrained(tmp_path / "llama")
    torch.save(model.state_dict(), tmp_path / "llama" / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"model\.safetensors"):
        put_together(tmp_path / "model", tmp_path / "llama")


def test_code_in_a_checkpoint_is_not_run(sources, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"pos_embed": Evil()}, tmp_path / "vit.pth")
    with pytest.raises(UserError, match="cannot be read"):
        put_together(tmp_path / "model", sources / "llama", vit=tmp_path / "vit.pth")
    assert not (tmp_path / "made").exists()
