"""The dual encoder is the two originals plus stated resizing, normalisation and joining."""

import pytest
import torch
from torch.nn import functional
from transformers import ConvNextModel, Dinov2Model, DINOv3ConvNextConfig

from training.model import initialise
from training.model.vision.encoder import encoder_of_type
from training.model.vision.towers import resize_map

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def standardise(pixels_NCHW, statistics):
    mean, std = (torch.tensor(values)[:, None, None] for values in statistics)
    return (pixels_NCHW / 255 - mean) / std


def test_vit_branch_equals_dinov2(make_config, random_pixels):
    config = make_config(vit={"fusion": "concat", "layers": [1, 3]})
    encoder = initialise(config, 0).eval().vision
    original = Dinov2Model(config.entry("vit").config).eval()
    original.load_state_dict(encoder.vit.state_dict())
    pixels = random_pixels(2)
    resized = functional.interpolate(pixels.float(), (56, 56), mode="bilinear", antialias=True)
    with torch.no_grad():
        vit_NGGV, _ = encoder(pixels)
        outputs = original(standardise(resized, IMAGENET), output_hidden_states=True)
    first = original.layernorm(outputs.hidden_states[1])[:, 1:]
    torch.testing.assert_close(vit_NGGV.flatten(1, 2)[..., :24], first, atol=1e-5, rtol=1e-5)
    last = outputs.last_hidden_state[:, 1:]
    torch.testing.assert_close(vit_NGGV.flatten(1, 2)[..., 24:], last, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("fusion", "parts"), [("mean", 2), ("sum", 1)])
def test_fusion_of_the_layers_is_their_mean_or_sum(make_config, random_pixels, fusion, parts):
    encoders = [
        initialise(make_config(vit={"fusion": kind, "layers": [1, 3]}), 0).eval().vision for kind in ("concat", fusion)
    ]
    encoders[1].load_state_dict(encoders[0].state_dict())
    with torch.no_grad():
        joined, fused = (encoder(random_pixels(1))[0] for encoder in encoders)
    torch.testing.assert_close(fused, (joined[..., :24] + joined[..., 24:]) / parts, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("side", [28, 56, 84])
def test_positions_are_interpolated_as_by_dinov2(make_config, random_pixels, side):
    """A table of 4 x 4 positions for grids of 2, 4 and 6, against bicubic interpolation written out."""
    config = make_config(vit={"image_size": side, "layers": [3], "fusion": "concat"}, cnn={"image_size": 96})
    encoder = initialise(config, 0).eval().vision
    original = Dinov2Model(config.entry("vit").config).eval()
    original.load_state_dict(encoder.vit.state_dict())
    pixels = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    resized = functional.interpolate(pixels.float(), (side, side), mode="bilinear", antialias=True)
    with torch.no_grad():
        vit_NGGV, _ = encoder(pixels)
        expected = original(standardise(resized, IMAGENET)).last_hidden_state[:, 1:]
        embedded = original.embeddings(standardise(resized, IMAGENET))
        patches = original.embeddings.patch_embeddings(standardise(resized, IMAGENET))
        table = original.embeddings.position_embeddings[:, 1:].unflatten(1, (4, 4)).permute(0, 3, 1, 2)
        positions = functional.interpolate(table, (side // 14, side // 14), mode="bicubic", align_corners=False)
    torch.testing.assert_close(vit_NGGV.flatten(1, 2), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embedded[:, 1:] - patches, positions.flatten(2).transpose(1, 2), atol=1e-5, rtol=1e-5)
    # Row by row from the top left: a transposed or flipped grid is not the same table.
    assert not torch.allclose(positions, positions.transpose(2, 3)) and not torch.allclose(positions, positions.flip(2))


def test_cnn_branch_equals_convnext(make_config, random_pixels):
    config = make_config()
    encoder = initialise(config, 0).eval().vision
    original = ConvNextModel(config.entry("cnn").config).eval()
    original.load_state_dict(encoder.cnn.state_dict())
    pixels = random_pixels(2)
    with torch.no_grad():
        _, cnn_NGGC = encoder(pixels)
        maps = original(standardise(pixels.float(), CLIP), output_hidden_states=True).hidden_states[1:]
        # Stage 1 (16 x 16) is averaged over 4 x 4 cells, stage 3 (4 x 4) is kept, stage 4 (2 x 2) is enlarged.
        normed = original.encoder.stages[1].downsampling_layer[0](maps[0])
        first = normed.unflatten(3, (4, 4)).unflatten(2, (4, 4)).mean((3, 5)).permute(0, 2, 3, 1)
        third = original.encoder.stages[3].downsampling_layer[0](maps[2]).permute(0, 2, 3, 1)
        last = original.layernorm(maps[3].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        last = functional.interpolate(last, (4, 4), mode="bilinear").permute(0, 2, 3, 1)
    torch.testing.assert_close(cnn_NGGC[..., :8], first, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cnn_NGGC[..., 20:36], third, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cnn_NGGC[..., 36:], last, atol=1e-5, rtol=1e-5)


def test_resized_map_keeps_a_constant_and_its_orientation():
    rows = torch.arange(8.0)[:, None].expand(8, 8)[None, ..., None]
    assert resize_map(rows, 4)[0, :, 0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]
    assert resize_map(rows, 8) is rows
    enlarged = resize_map(rows, 16)[0, ..., 0]
    assert (enlarged.diff(dim=0) >= 0).all() and (enlarged.diff(dim=1) == 0).all()


@pytest.mark.parametrize("frozen, trained", [("vit", "cnn"), ("cnn", "vit")])
def test_frozen_encoder_runs_in_eval_and_without_autograd(make_config, random_pixels, frozen, trained):
    encoder = initialise(make_config(), 0).vision.train()
    getattr(encoder, frozen).requires_grad_(False)
    vit_NGGV, cnn_NGGC = encoder(random_pixels(1))
    features = {"cnn": cnn_NGGC, "vit": vit_NGGV}
    assert not features[frozen].requires_grad and features[trained].requires_grad
    assert not getattr(encoder, frozen).training and getattr(encoder, trained).training
    features[trained].square().sum().backward()
    assert all(parameter.grad is None for parameter in getattr(encoder, frozen).parameters())
    getattr(encoder, frozen).requires_grad_(True)
    encoder(random_pixels(1))
    assert getattr(encoder, frozen).training


def test_every_encoder_parameter_but_the_mask_token_is_trained(make_config, random_pixels):
    model = initialise(make_config(), 0).train()
    model.get_image_features(random_pixels(2)).pooler_output.square().sum().backward()
    parts = [*model.vision.named_parameters(), *model.projector.named_parameters()]
    idle = {name for name, parameter in parts if parameter.grad is None or not parameter.grad.abs().sum()}
    # The projector's LayerNorm makes the sum of squares independent of what enters it only up to scale and shift.
    assert idle <= {"vit.embeddings.mask_token"}


@pytest.mark.parametrize("pixels", [torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 56, 56, dtype=torch.uint8)])
def test_other_pixels_are_refused(model, pixels):
    with pytest.raises(ValueError, match=r"expected torch.uint8 \(N, 3, 64, 64\)"):
        model.vision(pixels)


def test_the_maps_of_a_dinov3_convnext_are_its_own():
    """The last map is what the model returns; an earlier one is read by the norm that the next stage begins with."""
    config = DINOv3ConvNextConfig(depths=[1, 2, 1], hidden_sizes=[8, 12, 16], layer_scale_init_value=0.5)
    encoder = encoder_of_type("dinov3_convnext")
    torch.manual_seed(0)
    model = encoder.build(config, "sdpa").eval()
    pixels_NCHW = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        first_NGGC, last_NGGC = encoder.maps_NGGC(model, pixels_NCHW, (1, 3))
        whole = model(pixels_NCHW)
        stages = encoder.stages(model)
        own = stages[1].downsample_layers[0](stages[0](pixels_NCHW)).permute(0, 2, 3, 1)
    assert first_NGGC.shape == (2, 8, 12, 8) and last_NGGC.shape == (2, 2, 3, 16)
    torch.testing.assert_close(last_NGGC.flatten(1, 2), whole.last_hidden_state[:, 1:], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(first_NGGC, own, atol=1e-6, rtol=1e-5)


def test_a_dinov3_convnext_leaves_no_block_out_at_random():
    with pytest.raises(ValueError, match=r"drop_path_rate is 0\.1; set 0"):
        encoder_of_type("dinov3_convnext").check(DINOv3ConvNextConfig(drop_path_rate=0.1))
