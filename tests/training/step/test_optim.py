"""The optimiser that `build_optimiser` makes, against torch's plain one."""

from __future__ import annotations

import torch
from torch import nn

from training.config import OptimiserConfig
from training.stages.stage import FreezeRow
from training.step.optim import build_optimiser


def _gradients(step: int, layer: nn.Module) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(value.shape, generator=generator) for value in layer.parameters()]


def test_on_a_cpu_one_kernel_makes_the_updates_of_the_plain_optimiser():
    torch.manual_seed(0)
    layer, twin = nn.Linear(24, 17), nn.Linear(24, 17)
    twin.load_state_dict(layer.state_dict())
    config = OptimiserConfig(weight_decay=0.1)
    rows = [FreezeRow(name, value, 0.01, decays=value.dim() > 1) for name, value in layer.named_parameters()]
    ours = build_optimiser(rows, config)
    groups = [{"params": [twin.weight], "weight_decay": 0.1}, {"params": [twin.bias], "weight_decay": 0.0}]
    plain = torch.optim.AdamW(groups, lr=0.01, betas=config.betas, eps=config.epsilon, foreach=False, fused=False)
    assert all(group["fused"] for group in ours.param_groups)
    for step in range(20):
        for module, optimiser in ((layer, ours), (twin, plain)):
            for value, gradient in zip(module.parameters(), _gradients(step, layer), strict=True):
                value.grad = gradient
            optimiser.step()
    for value, other in zip(layer.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)
