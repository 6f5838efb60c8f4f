"""Original checkpoint names to Hugging Face names, on random weights.

The original models are written out here with plain torch operations, so that not only names but also the meaning of
each weight (stacking order, transposition) is checked.
"""

import math
import re

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from training.model.vision import clip, convnext, dinov2
from training.model.vision.encoder import NO_FACTS, OriginalFacts, encoder_of_state, encoder_of_type

DEPTHS, WIDTHS = (1, 2, 1, 1), (8, 12, 16, 20)


def openclip_checkpoint(prefix="visual.trunk."):
    generator = torch.Generator().manual_seed(0)
    state = {}

    def add(name, *shape):
        state[prefix + name] = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]) or 1)

    def pair(name, out, *rest):
        add(f"{name}.weight", out, *rest)
        add(f"{name}.bias", out)

    pair("stem.0", WIDTHS[0], 3, 4, 4)
    pair("stem.1", WIDTHS[0])
    for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True)):
        if stage:
            pair(f"stages.{stage}.downsample.0", WIDTHS[stage - 1])
            pair(f"stages.{stage}.downsample.1", width, WIDTHS[stage - 1], 2, 2)
        for block in range(depth):
            name = f"stages.{stage}.blocks.{block}"
            add(f"{name}.gamma", width)
            pair(f"{name}.conv_dw", width, 1, 7, 7)
            pair(f"{name}.norm", width)
            pair(f"{name}.mlp.fc1", 4 * width, width)
            pair(f"{name}.mlp.fc2", width, 4 * width)
    pair("head.norm", WIDTHS[-1])
    return state


REST_OF_CLIP = {
    "visual.head.mlp.fc1.weight": torch.ones(2, 2),
    "visual.head.mlp.fc2.weight": torch.ones(2, 2),
    "transformer.resblocks.0.attn.in_proj_weight": torch.ones(2, 2),
    "token_embedding.weight": torch.ones(2, 2),
    "logit_scale": torch.ones(()),
}


def run_timm_convnext(state, x):
    """Final map of a timm ConvNeXt, head norm included: (N, C, H/32, W/32)."""
    w = {name.removeprefix("visual.trunk."): value for name, value in state.items()}

    def norm(x, name):
        rows = functional.layer_norm(
            x.permute(0, 2, 3, 1), w[f"{name}.bias"].shape, w[f"{name}.weight"], w[f"{name}.bias"], 1e-6
        )
        return rows.permute(0, 3, 1, 2)

    x = norm(functional.conv2d(x, w["stem.0.weight"], w["stem.0.bias"], stride=4), "stem.1")
    for stage, depth in enumerate(DEPTHS):
        if stage:
            name = f"stages.{stage}.downsample"
            x = functional.conv2d(norm(x, f"{name}.0"), w[f"{name}.1.weight"], w[f"{name}.1.bias"], stride=2)
        for block in range(depth):
            name = f"stages.{stage}.blocks.{block}"
            y = functional.conv2d(
                x, w[f"{name}.conv_dw.weight"], w[f"{name}.conv_dw.bias"], padding=3, groups=x.shape[1]
            )
            y = norm(y, f"{name}.norm").permute(0, 2, 3, 1)
            y = functional.gelu(functional.linear(y, w[f"{name}.mlp.fc1.weight"], w[f"{name}.mlp.fc1.bias"]))
            y = functional.linear(y, w[f"{name}.mlp.fc2.weight"], w[f"{name}.mlp.fc2.bias"]) * w[f"{name}.gamma"]
            x = x + y.permute(0, 3, 1, 2)
    return norm(x, "head.norm")


def dinov2_checkpoint(width=64, depth=2, side=4, swiglu=False):
    generator = torch.Generator().manual_seed(1)
    state = {}

    def add(name, *shape):
        state[name] = torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]) or 1)

    def pair(name, out, *rest):
        add(f"{name}.weight", out, *rest)
        add(f"{name}.bias", out)

    add("cls_token", 1, 1, width)
    add("mask_token", 1, width)
    add("pos_embed", 1, side * side + 1, width)
    pair("patch_embed.proj", width, 3, 14, 14)
    for block in range(depth):
        name = f"blocks.{block}"
        pair(f"{name}.norm1", width)
        pair(f"{name}.attn.qkv", 3 * width, width)
        pair(f"{name}.attn.proj", width, width)
        add(f"{name}.ls1.gamma", width)
        pair(f"{name}.norm2", width)
        if swiglu:
            hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8
            pair(f"{name}.mlp.w12", 2 * hidden, width)
            pair(f"{name}.mlp.w3", width, hidden)
        else:
            pair(f"{name}.mlp.fc1", 4 * width, width)
            pair(f"{name}.mlp.fc2", width, 4 * width)
        add(f"{name}.ls2.gamma", width)
    pair("norm", width)
    return state


def run_dinov2(w, x, heads=1):
    """Normalised tokens of the original model at its own resolution: (N, 1 + patches, width)."""

    def linear(x, name):
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-6)

    x = functional.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14)
    x = torch.cat((w["cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)), 1) + w["pos_embed"]
    if "register_tokens" in w:
        x = torch.cat((x[:, :1], w["register_tokens"].expand(len(x), -1, -1), x[:, 1:]), 1)
    for block in range(1 + max(int(name.split(".")[1]) for name in w if name.startswith("blocks."))):
        name = f"blocks.{block}"
        tokens = linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv")
        q, k, v = tokens.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + linear(mixed, f"{name}.attn.proj") * w[f"{name}.ls1.gamma"]
        y = norm(x, f"{name}.norm2")
        if f"{name}.mlp.w12.weight" in w:
            gate, value = linear(y, f"{name}.mlp.w12").chunk(2, -1)
            y = linear(functional.silu(gate) * value, f"{name}.mlp.w3")
        else:
            y = linear(functional.gelu(linear(y, f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
        x = x + y * w[f"{name}.ls2.gamma"]
    return norm(x, "norm")


@pytest.mark.parametrize("prefix", ["visual.trunk.", ""])
def test_convnext_of_openclip_and_timm_runs_the_same(prefix):
    state = openclip_checkpoint(prefix)
    rest = REST_OF_CLIP if prefix else {"head.fc.weight": torch.ones(2, 20)}
    model = encoder_of_type("convnext").from_original(state | rest).eval()
    assert list(model.config.depths) == list(DEPTHS) and list(model.config.hidden_sizes) == list(WIDTHS)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        last = model(x).last_hidden_state
        ours = model.layernorm(last.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, run_timm_convnext(state, x), atol=1e-4, rtol=1e-4)


def test_trunk_without_a_final_norm_gets_the_neutral_one():
    state = {name: value for name, value in openclip_checkpoint().items() if "head.norm" not in name}
    renamed = convnext.hugging_face_state(state)
    assert torch.equal(renamed["layernorm.weight"], torch.ones(20)) and not renamed["layernorm.bias"].any()


@pytest.mark.parametrize(("width", "swiglu"), [(64, False), (128, False), (64, True)])
def test_original_dinov2_runs_the_same(width, swiglu):
    state = dinov2_checkpoint(width=width, swiglu=swiglu)
    model = encoder_of_type("dinov2").from_original(state).eval()
    assert (model.config.image_size, model.config.num_hidden_layers) == (56, 2)
    x = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        ours = model(x).last_hidden_state
    torch.testing.assert_close(ours, run_dinov2(state, x, heads=width // 64), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("swiglu", [False, True])
def test_dinov2_with_registers_runs_the_same_from_its_authors_and_from_timm(swiglu):
    """timm adds the class token's position to the token, and calls gated layers otherwise."""
    original = dinov2_checkpoint(swiglu=swiglu) | {"register_tokens": torch.randn(1, 3, 64)}
    of_timm = {
        name.replace("w12", "fc1").replace("w3", "fc2"): value
        for name, value in original.items()
        if name not in ("mask_token", "register_tokens")
    }
    of_timm["reg_token"] = original["register_tokens"]
    of_timm["cls_token"] = original["cls_token"] + original["pos_embed"][:, :1]
    of_timm["pos_embed"] = original["pos_embed"][:, 1:]
    x = torch.randn(2, 3, 56, 56)
    expected = run_dinov2(original, x)
    for state in (original, of_timm):
        encoder = encoder_of_state(state)
        model = encoder.from_original(state).eval()
        assert encoder.model_type == model.config.model_type == "dinov2_with_registers"
        assert encoder.leading_tokens(model.config) == 4
        with torch.no_grad():
            torch.testing.assert_close(model(x).last_hidden_state, expected, atol=1e-4, rtol=1e-4)
            maps = encoder.maps_NGGC(model, x, (2,))[0]
        torch.testing.assert_close(maps.flatten(1, 2), expected[:, 4:], atol=1e-4, rtol=1e-4)


def timm_checkpoint(kind, width=128, depth=2, side=3):
    """timm's weights of a CLIP or SigLIP ViT."""
    state = {name: value for name, value in dinov2_checkpoint(width, depth, side).items() if ".ls" not in name}
    del state["mask_token"]
    if kind == "siglip":
        del state["cls_token"]
        state["pos_embed"] = state["pos_embed"][:, 1:]
        return state | {"attn_pool.latent": torch.ones(1, 1, width), "attn_pool.q.weight": torch.ones(width, width)}
    del state["patch_embed.proj.bias"]
    state |= {f"norm_pre.{part}": torch.randn(width) for part in ("weight", "bias")}
    return state | {"head.weight": torch.ones(5, width)}


OPENCLIP_NAMES = {
    r"^cls_token$": "class_embedding",
    r"^pos_embed$": "positional_embedding",
    r"^patch_embed\.proj": "conv1",
    r"^norm_pre": "ln_pre",
    r"^norm\.": "ln_post.",
    r"^blocks": "transformer.resblocks",
    r"\.attn\.qkv\.": ".attn.in_proj_",
    r"\.attn\.proj\.": ".attn.out_proj.",
    r"\.norm(\d)\.": r".ln_\1.",
    r"\.mlp\.fc1\.": ".mlp.c_fc.",
    r"\.mlp\.fc2\.": ".mlp.c_proj.",
}


def openclip_vit(state):
    """The same weights as OpenCLIP's own transformer has them, in a whole model."""
    renamed = {}
    for name, value in state.items():
        for theirs, ours in OPENCLIP_NAMES.items():
            name = re.sub(theirs, ours, name)
        renamed[f"visual.{name}"] = value
    del renamed["visual.head.weight"]
    renamed["visual.class_embedding"] = renamed["visual.class_embedding"].flatten()
    renamed["visual.positional_embedding"] = renamed["visual.positional_embedding"][0]
    return renamed | {"visual.proj": torch.ones(128, 5)} | REST_OF_CLIP


def run_timm_vit(w, x, eps, activation, heads=2):
    """Tokens after each block and the norm."""

    def linear(x, name):
        return functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)

    x = functional.conv2d(x, w["patch_embed.proj.weight"], w.get("patch_embed.proj.bias"), stride=14)
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat((w["cls_token"].expand(len(x), -1, -1), x), 1) if "cls_token" in w else x
    x = x + w["pos_embed"]
    x = norm(x, "norm_pre") if "norm_pre.weight" in w else x
    for block in range(2):
        name = f"blocks.{block}"
        q, k, v = (
            linear(norm(x, f"{name}.norm1"), f"{name}.attn.qkv").unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        )
        x = x + linear(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2), f"{name}.attn.proj")
        x = x + linear(activation(linear(norm(x, f"{name}.norm2"), f"{name}.mlp.fc1")), f"{name}.mlp.fc2")
    return norm(x, "norm")


def gelu_tanh(x):
    return functional.gelu(x, approximate="tanh")


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


STATED = OriginalFacts(quick_gelu=True, head_width=32)
VITS = {
    "timm clip": (timm_checkpoint("clip"), lambda state: state, NO_FACTS),
    "timm clip, stated": (timm_checkpoint("clip"), lambda state: state, STATED),
    "openclip": (timm_checkpoint("clip"), openclip_vit, NO_FACTS),
    "openclip, stated": (timm_checkpoint("clip"), openclip_vit, STATED),
    "timm siglip": (timm_checkpoint("siglip"), lambda state: state, NO_FACTS),
    "openclip siglip": (
        timm_checkpoint("siglip"),
        lambda state: {f"visual.trunk.{name}": value for name, value in state.items()} | REST_OF_CLIP,
        NO_FACTS,
    ),
}


@pytest.mark.parametrize(("state", "written", "facts"), VITS.values(), ids=VITS)
def test_vits_of_clip_and_siglip_run_the_same(state, written, facts):
    given = written(state)
    encoder = encoder_of_state(given)
    model = encoder.from_original(given, facts).eval()
    encoder.trim(model)
    x = torch.randn(2, 3, 42, 42)
    if encoder.model_type == "siglip_vision_model":
        eps, activation = 1e-6, gelu_tanh
    else:
        eps, activation = 1e-5, quick_gelu if facts.quick_gelu else functional.gelu
    expected = run_timm_vit(state, x, eps, activation, heads=128 // (facts.head_width or 64))
    with torch.no_grad():
        found = encoder.maps_NGGC(model, x, (1, 2))[1].flatten(1, 2)
    torch.testing.assert_close(found, expected[:, -9:], atol=1e-4, rtol=1e-4)


def test_dinov2_names_are_those_of_published_files(tmp_path):
    state = dinov2_checkpoint()
    encoder_of_type("dinov2").from_original(state).save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == dinov2.hugging_face_state(state).keys()


def test_foreign_weights_are_refused_by_name():
    with pytest.raises(ValueError, match="no ConvNeXt trunk"):
        convnext.hugging_face_state(dinov2_checkpoint())
    with pytest.raises(ValueError, match=r"'stages\.0\.extra' is no weight of a timm ConvNeXt"):
        convnext.hugging_face_state(openclip_checkpoint() | {"visual.trunk.stages.0.extra": torch.ones(1)})
    with pytest.raises(ValueError, match=r"'blocks\.0\.extra' is no weight of a CLIP ViT"):
        clip.hugging_face_clip(timm_checkpoint("clip") | {"blocks.0.extra": torch.ones(1)})
    with pytest.raises(ValueError, match=r"2 weights such as logit_scale, token_embedding\.weight are of no known"):
        encoder_of_state({name: REST_OF_CLIP[name] for name in ("logit_scale", "token_embedding.weight")})
    with pytest.raises(ValueError, match=r"'head\.weight' is no weight of an original DINOv2"):
        dinov2.hugging_face_state(dinov2_checkpoint() | {"head.weight": torch.ones(1)})
    incomplete = dinov2_checkpoint()
    del incomplete["blocks.1.norm2.bias"]
    with pytest.raises(ValueError, match=r"missing keys such as encoder\.layer\.1\.norm2\.bias"):
        encoder_of_type("dinov2").from_original(incomplete)
