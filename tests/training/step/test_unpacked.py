"""Rows are the pack in another shape: the same losses and gradients, every token of a dialogue once."""

from dataclasses import replace
from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.run.test_loop import make_units, pack_of, processor, training  # noqa: F401 - fixtures
from training.data.collate import Pack
from training.model.masks import PADDING, PREFIX
from training.step import unpacked as rows_module
from training.step.objective.loss import target_losses
from training.step.unpacked import _cheapest, _Cost, row_batches


def losses_and_gradients(model, pack: Pack, in_rows: bool):
    model.zero_grad()
    losses = target_losses(model, pack, in_rows)
    losses.sum().backward()
    return losses.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.fixture
def prefer(monkeypatch):
    """Make one kind of rows cheap, and all else dear."""

    def choose(wanted: bool):
        def batch(self, rows, longest, causal):
            return 1.0 if causal is wanted and longest < 600 else 1e9

        monkeypatch.setattr(_Cost, "batch", batch)

    return choose


@pytest.mark.parametrize("causal", [False, True])
def test_rows_and_packed_give_the_same_losses_and_gradients(training, processor, prefer, causal):  # noqa: F811
    pack = pack_of(processor, make_units(processor), 600)
    packed = losses_and_gradients(training.model, pack, in_rows=False)
    prefer(causal)
    assert {batch.causal for batch in row_batches(pack, training.model.config)} == {causal}
    rows = losses_and_gradients(training.model, pack, in_rows=True)
    torch.testing.assert_close(rows[0], packed[0], atol=1e-5, rtol=1e-5)
    assert rows[1].keys() == packed[1].keys()
    for name, gradient in packed[1].items():
        torch.testing.assert_close(rows[1][name], gradient, atol=2e-5, rtol=1e-4, msg=name)


def test_several_batches_give_the_same_losses(training, processor, monkeypatch):  # noqa: F811
    pack = pack_of(processor, make_units(processor), 600)
    expected = target_losses(training.model, pack, in_rows=False)
    monkeypatch.setattr(rows_module, "TOKENS_PER_CALL", 0)
    assert len(row_batches(pack, training.model.config)) > 1
    torch.testing.assert_close(target_losses(training.model, pack, in_rows=True), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_every_token_of_a_dialogue_is_in_one_row(training, processor, prefer, causal):  # noqa: F811
    pack = pack_of(processor, make_units(processor), 600)
    pack = replace(pack, input_ids_L=torch.arange(600))
    prefer(causal)
    batches = row_batches(pack, training.model.config)
    inside = [batch.image_segment_RS != PADDING for batch in batches]
    tokens = torch.cat([batch.input_ids_RS[kept] for batch, kept in zip(batches, inside, strict=True)])
    spoken = pack.dialogue_segment_L[tokens] != PREFIX
    wanted = torch.arange(600)[(pack.image_segment_L != PADDING) & (pack.dialogue_segment_L != PREFIX)]
    assert torch.equal(tokens[spoken].sort().values, wanted)
    found = torch.cat([batch.input_ids_RS.flatten()[batch.target_positions_T] for batch in batches])
    order = torch.cat([batch.targets_T for batch in batches])
    assert torch.equal(found[order.argsort()], pack.target_positions_T)
    for batch, kept in zip(batches, inside, strict=True):
        for row in range(len(kept)):
            length = int(kept[row].sum())
            assert kept[row, :length].all()
            if causal:
                assert torch.equal(batch.position_ids_RS[row, :length], torch.arange(length))
            assert len(batch.image_segment_RS[row, :length].unique()) == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=7), st.floats(0.1, 10), st.floats(0, 2), st.booleans())
def test_the_partition_is_the_cheapest_of_all(lengths, per_token, per_pair, causal):
    cost = _Cost(per_token, per_pair)
    total, batches = _cheapest([[(0, length)] for length in lengths], cost, causal)
    assert sorted(stop for batch in batches for ((_, stop),) in batch) == sorted(lengths)
    ordered = sorted(lengths)
    every = []
    for cuts in range(len(ordered)):
        for places in combinations(range(1, len(ordered)), cuts):
            edges = [0, *places, len(ordered)]
            parts = [ordered[a:b] for a, b in pairwise(edges)]
            every.append(sum(cost.batch(len(part), max(part), causal) for part in parts))
    assert total == pytest.approx(min(every))


def test_a_pack_stays_whole_where_that_costs_least(training, processor, monkeypatch):  # noqa: F811
    config = training.model.config
    assert row_batches(pack_of(processor, (), 600), config) is None
    pack = pack_of(processor, make_units(processor), 600)
    names = ("input_ids_L", "position_ids_L", "image_segment_L", "dialogue_segment_L")
    full = replace(pack, **{name: getattr(pack, name)[: pack.real_tokens] for name in names})
    assert row_batches(full, config) is not None
    # Without attention nothing is left to save, and every further token or call costs.
    monkeypatch.setattr(rows_module, "ATTENTION_SLOWNESS", 0)
    assert row_batches(full, config) is None


@pytest.mark.parametrize("causal", [False, True])
def test_rows_of_text_take_no_image(training, processor, prefer, causal):  # noqa: F811
    units = make_units(processor)
    pack = pack_of(processor, units, 600)
    expected = target_losses(training.model, pack, in_rows=False)
    # The second unit becomes one of text: its slots go, and its image with them.
    gone = (pack.image_segment_L == 1) & (pack.input_ids_L == training.model.config.image_token_id)
    pixels = torch.cat([pack.pixel_values_NCHW[:1], pack.pixel_values_NCHW[2:]])
    ids = pack.input_ids_L.masked_fill(gone, pack.input_ids_L[0].item())
    text = replace(pack, input_ids_L=ids, pixel_values_NCHW=pixels)
    prefer(causal)
    losses = target_losses(training.model, text, in_rows=True)
    torch.testing.assert_close(losses, target_losses(training.model, text, in_rows=False), atol=1e-5, rtol=1e-5)
    others = text.target_units_T != 1
    torch.testing.assert_close(losses[others], expected[others], atol=1e-5, rtol=1e-5)
