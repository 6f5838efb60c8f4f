"""Random weights for training from scratch: scale, zero-mean filters, positions."""

import pytest
import torch

from training.model import initialise, preset
from training.model.vision.patches import sine_cosine_positions

IDS = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "image_token_id": 3}


@pytest.fixture(scope="module")
def tiny():
    return initialise(preset("tiny", **IDS), 0)


def test_patch_filters_do_not_see_brightness(tiny):
    filters = tiny.vision.vit.embeddings.patch_embeddings.projection.weight
    torch.testing.assert_close(filters.mean((-2, -1)), torch.zeros(filters.shape[:2]), atol=1e-6, rtol=0)
    means = tiny.vision.cnn.embeddings.patch_embeddings.weight.mean((-2, -1)).abs().amax(-1)
    assert (means < 1e-6).sum() == 18 and len(means) == 24


def test_linear_layers_keep_the_scale_of_their_input(tiny):
    layer = tiny.language_model.layers[0]
    torch.testing.assert_close(layer.mlp.up_proj.weight.std().item(), 128**-0.5, rtol=0.02, atol=0)
    torch.testing.assert_close(layer.mlp.down_proj.weight.std().item(), (384 * 8) ** -0.5, rtol=0.02, atol=0)


def test_positions_tell_every_cell_apart():
    positions = sine_cosine_positions(8, 16)
    distances = torch.cdist(positions, positions) + torch.eye(64) * 9
    assert distances.min() > 0.3
    table = positions.unflatten(0, (8, 8))
    assert torch.equal(table[:, 0, :8], table[:, 5, :8])
    assert torch.equal(table[0, :, 8:], table[5, :, 8:])
    with pytest.raises(ValueError, match="width is 30"):
        sine_cosine_positions(8, 30)


def test_tied_embedding_keeps_the_scale_of_the_head(make_config):
    tied = initialise(make_config(tie_word_embeddings=True), 0).lm_head.weight.std()
    untied = initialise(make_config(), 0).get_input_embeddings().weight.std()
    assert tied < 0.3 < 0.9 < untied
