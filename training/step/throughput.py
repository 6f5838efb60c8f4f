"""Model FLOP utilisation: useful operations per second as a share of what the devices can do.

Useful are the operations of real tokens, visible (query, key) pairs, images and targets, counted by
`training.model.accounting`: 4N per token where weights are frozen, 6N where they train. Padding, hidden pairs and what
checkpointing computes twice do not count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from training.model.accounting import step_flops
from training.model.modeling.generation import EarthGPTForConditionalGeneration
from training.step.step import StepCounts

# Dense bf16 products with fp32 sums, in 10^12 operations per second, from the vendor's data sheets. The names are those
# that the driver reports; a GPU that is not here needs log.peak_tflops.
_PEAK_TFLOPS = (
    (r"NVIDIA H200( .*)?", 989.4),
    (r"NVIDIA H100 (80GB HBM3|SXM.*)", 989.4),
    (r"NVIDIA H100 PCIe", 756.5),
    (r"NVIDIA A100.*", 312.0),
    (r"NVIDIA L40S", 362.05),
)


def peak_flops(device: torch.device, given_tflops: float | None) -> float | None:
    """Operations per second that a device reaches at most: as given, as known by its name, or None."""
    if given_tflops is not None:
        return given_tflops * 1e12
    return known_peak_flops(torch.cuda.get_device_name(device)) if device.type == "cuda" else None


def known_peak_flops(name: str) -> float | None:
    """The data sheet's figure for a GPU of that name, or None."""
    return next((tflops * 1e12 for pattern, tflops in _PEAK_TFLOPS if re.fullmatch(pattern, name)), None)


@dataclass(frozen=True)
class StepCost:
    """Operations of a training step per unit of what is counted, forward and backward."""

    token: int
    pair: int
    image: int
    target: int

    @classmethod
    def of(cls, model: EarthGPTForConditionalGeneration) -> StepCost:
        """For the gradients that the parameters' `requires_grad` asks for."""
        units = [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
        return cls(
            *(step_flops(model, tokens, pairs, images, targets).total for tokens, pairs, images, targets in units)
        )

    def flops(self, counts: StepCounts) -> int:
        """Operations of a step."""
        return (
            self.token * counts.tokens
            + self.pair * counts.pairs
            + self.image * counts.images
            + self.target * counts.targets
        )
