"""Projector: channel order, merging, framing."""

import pytest
import torch

from training.model import initialise
from training.model.fusion import merge_tokens


def test_projection_is_linear_in_cnn_then_vit_channels(make_config):
    config = make_config(projector_norm=False)
    projector = initialise(config, 0).projector
    cnn_NGGC, vit_NGGV = torch.randn(2, 4, 4, 56), torch.randn(2, 4, 4, 24)
    weight, bias = projector.linear.weight, projector.linear.bias
    expected = cnn_NGGC @ weight[:, :56].T + vit_NGGV @ weight[:, 56:].T + bias
    slots_NSD = projector([vit_NGGV, cnn_NGGC])
    torch.testing.assert_close(slots_NSD[:, 1:-1], expected.flatten(1, 2), atol=1e-5, rtol=1e-5)
    assert torch.equal(slots_NSD[:, 0], projector.start.expand(2, -1))
    assert torch.equal(slots_NSD[:, -1], projector.end.expand(2, -1))
    assert not torch.equal(projector.start, projector.end)


@pytest.mark.parametrize(("fusion", "factor"), [("sum", 1.0), ("mean", 0.5)])
def test_an_addition_is_a_special_concatenation(make_config, fusion, factor):
    config = make_config(fusion=fusion, projector_norm=False)
    added = initialise(config, 0).projector
    assert added.linear.weight.shape == (32, 24) and added.align["cnn"].weight.shape == (24, 56)
    joined = initialise(make_config(projector_norm=False), 0).projector
    with torch.no_grad():
        weight = added.linear.weight
        joined.linear.weight.copy_(factor * torch.cat((weight @ added.align["cnn"].weight, weight), 1))
        joined.linear.bias.copy_(added.linear.bias)
        joined.start.copy_(added.start)
        joined.end.copy_(added.end)
    features = torch.randn(2, 4, 4, 24), torch.randn(2, 4, 4, 56)
    torch.testing.assert_close(added(features), joined(features), atol=1e-5, rtol=1e-5)


def test_norm_standardises_each_token(make_config):
    tokens = initialise(make_config(), 0).projector([torch.randn(1, 4, 4, 24), torch.randn(1, 4, 4, 56)])[:, 1:-1]
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(1, 16), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.std(-1, correction=0), torch.ones(1, 16), atol=1e-3, rtol=0)


def test_merge_joins_each_square_of_cells_row_by_row():
    cells = torch.arange(16).reshape(1, 4, 4, 1)
    assert merge_tokens(cells, 2)[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert merge_tokens(cells, 1)[0, :, 0].tolist() == list(range(16))


def test_merged_model_has_a_quarter_of_the_tokens(make_config, random_pixels):
    config = make_config(token_merge=2)
    model = initialise(config, 0).eval()
    assert model.get_image_features(random_pixels(3)).pooler_output.shape == (3, config.image_slots, 32)
    assert config.image_slots == 4 + 2


def test_each_place_adds_its_own_vector(make_config, tmp_path):
    features = torch.randn(2, 4, 4, 24), torch.randn(2, 4, 4, 56)
    model = initialise(make_config(visual_positions=True), 0)
    plain, placed = initialise(make_config(), 0).projector, model.projector
    assert placed.positions.shape == (16, 32) and plain.positions is None
    plain.load_state_dict({name: value for name, value in placed.state_dict().items() if name != "positions"})
    added_NSD = placed(features) - plain(features)
    torch.testing.assert_close(added_NSD[:, 1:-1], placed.positions.expand(2, -1, -1))
    assert not added_NSD[:, [0, -1]].any()
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    assert torch.equal(loaded.projector.positions, placed.positions)
