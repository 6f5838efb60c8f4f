"""AdamW over parameters of bf16 with fp32 masters, and with moments of 8 bits: what full tuning of a large model takes.

A trained parameter costs 16 bytes in fp32: itself, its gradient, two moments. In bf16 with a master it is 16 too, but
weights that are gathered and gradients that are summed are half as large; with moments of 8 bits it is 10. Updates go
to the master, for near 1 bf16 has steps of 0.008 that no learning rate reaches.

torch's own update does the arithmetic; moments are packed in blocks of 256 numbers by bitsandbytes, the first by a
signed and the second by an unsigned map of dynamic range (arXiv 2110.02861). bitsandbytes' own optimiser was no choice:
it has no masters, and keeps a count that a checkpoint of tensors cannot hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.adamw import adamw

MASTER, FIRST, SECOND = "master", "exp_avg", "exp_avg_sq"
_BLOCK = 256
# Few numbers save nothing, and embeddings of single rows are sensitive.
LEAST_PACKED = 4096


class MasterAdamW(torch.optim.AdamW):
    """AdamW whose state holds an fp32 `master` of each parameter that is not fp32 itself.

    Args:
        params: as of `torch.optim.AdamW`.
        eight_bit: pack the moments of parameters of at least `LEAST_PACKED` numbers. Not for sharded parameters.
        options: as of `torch.optim.AdamW`.
    """

    def __init__(self, params: Any, eight_bit: bool = False, **options: Any):
        super().__init__(params, **options)
        self._eight_bit = eight_bit

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        if closure is not None:
            raise ValueError("a closure would compute the gradient anew; call step() after backward()")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        packed = self._eight_bit and parameter.numel() >= LEAST_PACKED
        if not state:
            self._begin(parameter, state, packed)
        master = state.get(MASTER, parameter)
        moments = [_unpacked(state, name, master) if packed else state[name] for name in (FIRST, SECOND)]
        adamw(
            [master],
            [parameter.grad.to(master.dtype)],  # type: ignore[union-attr]
            [moments[0]],
            [moments[1]],
            [],
            [state["step"]],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )
        if packed:
            for name, moment in zip((FIRST, SECOND), moments, strict=True):
                _pack(state, name, moment)
        if master is not parameter:
            parameter.copy_(master)

    def _begin(self, parameter: torch.Tensor, state: dict[str, torch.Tensor], packed: bool) -> None:
        state["step"] = torch.tensor(0.0)
        if parameter.dtype != torch.float32:
            state[MASTER] = parameter.detach().float()
        zeros = torch.zeros_like(parameter, dtype=torch.float32)
        for name in (FIRST, SECOND):
            if packed:
                _pack(state, name, zeros)
            else:
                state[name] = zeros.clone()


def bytes_per_parameter(dtype: torch.dtype, numel: int, eight_bit: bool) -> float:
    """What the state of one number of a parameter of so many takes: moments, and a master where it is not fp32."""
    packed = eight_bit and numel >= LEAST_PACKED
    moments = 2 * (1 + 4 / _BLOCK) if packed else 8.0
    return moments + (0 if dtype == torch.float32 else 4)


def _pack(state: dict[str, torch.Tensor], name: str, moment: torch.Tensor) -> None:
    from bitsandbytes import functional

    codes, blocks = functional.quantize_blockwise(moment, code=_map(name, moment.device), blocksize=_BLOCK)
    state[name], state[f"{name}_scale"] = codes, blocks.absmax


def _unpacked(state: dict[str, torch.Tensor], name: str, like: torch.Tensor) -> torch.Tensor:
    from bitsandbytes import functional

    code = _map(name, like.device)
    moment = functional.dequantize_blockwise(state[name], absmax=state[f"{name}_scale"], code=code, blocksize=_BLOCK)
    return moment.view_as(like).to(like.dtype)


def _map(name: str, device: torch.device) -> torch.Tensor:
    from bitsandbytes import functional

    return functional.create_dynamic_map(signed=name == FIRST).to(device)
