"""Original checkpoint names to Hugging Face names, on random weights.

The original models are written out here with plain torch operations, so that not only names but also the meaning of
each weight (stacking order, transposition) is checked.
"""

import math

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from training.model.vision import convnext, dinov2
from training.model.vision.encoder import encoder_of_type

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


def test_dinov2_names_are_those_of_published_files(tmp_path):
    state = dinov2_checkpoint()
    encoder_of_type("dinov2").from_original(state).save_pretrained(tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == dinov2.hugging_face_state(state).keys()


def test_foreign_weights_are_refused_by_name():
    with pytest.raises(ValueError, match="no ConvNeXt trunk"):
        convnext.hugging_face_state(dinov2_checkpoint())
    with pytest.raises(ValueError, match=r"'stages\.0\.extra' is no weight of a timm ConvNeXt"):
        convnext.hugging_face_state(openclip_checkpoint() | {"visual.trunk.stages.0.extra": torch.ones(1)})
    with pytest.raises(ValueError, match="has register_tokens"):
        dinov2.hugging_face_state(dinov2_checkpoint() | {"register_tokens": torch.ones(1, 4, 64)})
    with pytest.raises(ValueError, match=r"'head\.weight' is no weight of an original DINOv2"):
        dinov2.hugging_face_state(dinov2_checkpoint() | {"head.weight": torch.ones(1)})
    incomplete = dinov2_checkpoint()
    del incomplete["blocks.1.norm2.bias"]
    with pytest.raises(ValueError, match=r"missing keys such as encoder\.layer\.1\.norm2\.bias"):
        encoder_of_type("dinov2").from_original(incomplete)
