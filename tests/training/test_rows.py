"""Rows of units are the pack in another shape: the same losses and gradients, every token once."""

import torch

from tests.training.test_loop import make_units, pack_of, processor, training  # noqa: F401 - fixtures
from training import loss as loss_module
from training.data.collate import Pack
from training.loss import target_losses
from training.model.masks import PADDING
from training.rows import unit_rows


def losses_and_gradients(model, pack: Pack):
    model.zero_grad()
    losses = target_losses(model, pack)
    losses.sum().backward()
    return losses.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_rows_and_packed_give_the_same_losses_and_gradients(training, processor, monkeypatch):  # noqa: F811
    pack = pack_of(processor, make_units(processor), 600)
    monkeypatch.setattr("training.rows.MAX_EXTRA_TOKENS", 10)
    assert unit_rows(pack, 0) is not None
    rows = losses_and_gradients(training.model, pack)
    monkeypatch.setattr(loss_module, "unit_rows", lambda pack, pad_id: None)
    packed = losses_and_gradients(training.model, pack)
    torch.testing.assert_close(rows[0], packed[0], atol=1e-5, rtol=1e-5)
    assert rows[1].keys() == packed[1].keys()
    for name, gradient in packed[1].items():
        torch.testing.assert_close(rows[1][name], gradient, atol=2e-5, rtol=1e-4, msg=name)


def test_every_token_is_in_one_row(processor):  # noqa: F811
    pack = pack_of(processor, make_units(processor), 600)
    rows = unit_rows(pack, -7)
    inside = rows.image_segment_US != PADDING
    kept = pack.image_segment_L != PADDING
    assert torch.equal(rows.input_ids_US[inside], pack.input_ids_L[kept])
    assert torch.equal(rows.position_ids_US[inside], pack.position_ids_L[kept])
    assert torch.equal(rows.dialogue_segment_US[inside], pack.dialogue_segment_L[kept])
    assert (rows.input_ids_US[~inside] == -7).all()
    flat = rows.input_ids_US.flatten()
    assert torch.equal(flat[rows.target_positions_T + 1], pack.target_ids_T)


def test_too_much_padding_keeps_the_pack(processor, monkeypatch):  # noqa: F811
    pack = pack_of(processor, make_units(processor), 600)
    monkeypatch.setattr("training.rows.MAX_EXTRA_TOKENS", -0.99)
    assert unit_rows(pack, 0) is None
    assert unit_rows(pack_of(processor, (), 600), 0) is None
