"""Spread coordinate targets: the loss that is reported stays, the gradient is that of the definition."""

import math

import pytest
import torch
from torch.nn import functional

from mmrs.errors import UserError
from training.config import LossConfig
from training.model import train_tokenizer
from training.model.tokenizer import HUNDREDTHS, hundredths_ids
from training.step.objective.coordinates import coordinate_targets

TEXTS = ["There is <p>one car</p>[0.41,0.30,0.50,0.62] in the image."]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, 400, hundredths=True)


def test_the_gradient_is_that_of_the_spread_target_and_the_value_is_the_exact_one(tokenizer):
    spread = 0.03
    targets = coordinate_targets(LossConfig(coordinate_spread=spread), tokenizer, len(tokenizer), CPU)
    ids = hundredths_ids(tokenizer)
    ids_T = torch.tensor([ids[41], tokenizer.eos_token_id, ids[0], ids[100]])
    logits_TK = torch.randn(4, len(tokenizer), generator=torch.Generator().manual_seed(0)).requires_grad_()
    exact_T = functional.cross_entropy(logits_TK, ids_T, reduction="none")
    losses_T = targets.losses(logits_TK, ids_T, exact_T)
    torch.testing.assert_close(losses_T, exact_T)
    losses_T.sum().backward()

    wanted_TK = torch.zeros_like(logits_TK)
    for row, identity in enumerate(ids_T.tolist()):
        if identity not in ids:
            wanted_TK[row, identity] = 1
            continue
        value = float(HUNDREDTHS[ids.index(identity)])
        shares = [math.exp(-(((float(text) - value) / spread) ** 2) / 2) for text in HUNDREDTHS]
        for number, share in zip(ids, shares, strict=True):
            wanted_TK[row, number] = share / sum(shares)
    torch.testing.assert_close(logits_TK.grad, logits_TK.detach().softmax(-1) - wanted_TK)


def test_the_nearer_miss_is_pulled_less(tokenizer):
    targets = coordinate_targets(LossConfig(coordinate_spread=0.02), tokenizer, len(tokenizer), CPU)
    ids = hundredths_ids(tokenizer)
    pulls = []
    for said in (42, 90):
        logits_TK = torch.zeros(1, len(tokenizer))
        logits_TK[0, ids[said]] = 8
        logits_TK.requires_grad_()
        ids_T = torch.tensor([ids[41]])
        targets.losses(logits_TK, ids_T, functional.cross_entropy(logits_TK, ids_T, reduction="none")).sum().backward()
        pulls.append(float(logits_TK.grad[0, ids[said]]))
    assert pulls[0] < pulls[1] - 0.1


def test_nothing_to_spread_is_none_and_a_tokenizer_without_hundredths_is_refused():
    digits = train_tokenizer(TEXTS, 300)
    assert coordinate_targets(LossConfig(), digits, len(digits), CPU) is None
    with pytest.raises(UserError, match=r"model\.coordinates=hundredths"):
        coordinate_targets(LossConfig(coordinate_spread=0.02), digits, len(digits), CPU)
