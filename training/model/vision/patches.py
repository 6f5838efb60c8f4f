"""What vision transformers have in common: square patches, equal blocks, a final norm, tokens before the patches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from training.model.operations import Operation, trains
from training.model.random_weights import make_filters_blind_to_brightness, scale_by_inputs
from training.model.vision.encoder import VisionEncoder

PATCH_GAIN = 4.0


class PatchEncoder(VisionEncoder):
    """A vision transformer whose configuration has `hidden_size`, `num_hidden_layers` and `patch_size`."""

    layer_word = "ViT block"
    layer_fusion = "mean"
    prefix_tokens: ClassVar[int] = 0
    """Tokens that stand before the patches, where their number is no matter of the configuration: a class token."""
    branch_ends: ClassVar[tuple[str, ...]] = ()
    """Ends of the names of the layers that end a residual branch."""

    @abstractmethod
    def patch_layer(self, model: Any) -> Any:
        """The convolution, or linear layer, that makes patches."""

    @abstractmethod
    def blocks(self, model: Any) -> Sequence[nn.Module]:
        """The transformer's blocks."""

    @abstractmethod
    def final_norm(self, model: Any) -> nn.Module:
        """The norm behind the last block."""

    @abstractmethod
    def positions_TD(self, model: Any) -> torch.Tensor | None:
        """The learned positions of the patches, row by row, to write to; None where positions are computed."""

    def forward_options(self) -> dict[str, Any]:
        """What else the model's forward needs to take images of any size."""
        return {}

    def hidden_states(self, model: Any, pixels_NCHW: torch.Tensor) -> Sequence[torch.Tensor]:
        """Tokens (N, T, C) after the embedding and after each block, before the final norm."""
        return model(pixels_NCHW, output_hidden_states=True, **self.forward_options()).hidden_states

    def patch_filters_OIHW(self, model: Any) -> torch.Tensor:
        """The weights that make patches, to write to."""
        return self.patch_layer(model).weight

    def leading_tokens(self, config: Any) -> int:
        """Tokens that stand before the patches."""
        return self.prefix_tokens

    def check(self, config: Any) -> None:
        """Patches must be square."""
        if not isinstance(config.patch_size, int):
            raise ValueError(f"patch_size is {config.patch_size!r}; set one integer, patches must be square")

    def depth(self, config: Any) -> int:
        """Number of blocks."""
        return config.num_hidden_layers

    def width(self, config: Any, layer: int) -> int:
        """The same for every block."""
        return config.hidden_size

    def stride(self, config: Any) -> int:
        """Side of a patch."""
        return config.patch_size

    def grid(self, config: Any, image_size: int, layer: int) -> int:
        """Patches along one side."""
        return image_size // config.patch_size

    def usual_layers(self, config: Any) -> tuple[int, ...]:
        """The last block of each quarter."""
        return tuple(sorted({max(1, config.num_hidden_layers * quarter // 4) for quarter in (1, 2, 3, 4)}))

    def maps_NGGC(self, model: Any, pixels_NCHW: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """Output of the chosen blocks after the final norm, without the tokens before the patches.

        The paper taps the map of every drawn block; which ones, and that all pass the final norm, is our choice.
        """
        states = self.hidden_states(model, pixels_NCHW)
        grid, norm = pixels_NCHW.shape[-1] // model.config.patch_size, self.final_norm(model)
        leading = self.leading_tokens(model.config)
        return [norm(states[layer])[:, leading:].unflatten(1, (grid, grid)) for layer in layers]

    def operations(self, model: Any, image_size: int, layers: Sequence[int]) -> Iterator[Operation]:
        """Patches, then each block's linear layers and its attention: 4 T^2 D for T tokens of width D."""
        cells = (image_size // model.config.patch_size) ** 2
        tokens = cells + self.leading_tokens(model.config)
        learns = trains(model.parameters())
        forward = 2 * self.patch_layer(model).weight.numel() * cells
        yield forward, forward * learns
        for number, block in enumerate(self.blocks(model), start=1):
            weights = sum(layer.weight.numel() for layer in block.modules() if isinstance(layer, nn.Linear))
            forward = 2 * weights * tokens + 4 * tokens**2 * model.config.hidden_size
            yield forward, 2 * forward * (learns and number <= layers[-1])

    @torch.no_grad()
    def scale_random(self, model: Any) -> None:
        """Patch filters do not see brightness, which would drown contrast; learned positions become sines and cosines
        of row and column."""
        scale_by_inputs(model, model.config.num_hidden_layers, self.branch_ends)
        make_filters_blind_to_brightness(self.patch_filters_OIHW(model), share=1.0, gain=PATCH_GAIN)
        positions_TD = self.positions_TD(model)
        if positions_TD is not None:
            positions_TD.copy_(sine_cosine_positions(int(len(positions_TD) ** 0.5), positions_TD.shape[-1]))


def drop_mask_token(embeddings: Any) -> None:
    """Make the token that stood for hidden patches in pre-training no parameter: without gradient it cannot train.

    It stays as a buffer that no file holds, for the library's own initialisation sets it.
    """
    token = embeddings._parameters.pop("mask_token", None)
    if token is not None:
        embeddings.register_buffer("mask_token", token.detach(), persistent=False)


def sine_cosine_positions(side: int, width: int) -> torch.Tensor:
    """Row-major position vectors (side * side, width): a quarter each of row sines, row cosines, column sines, cosines.

    The wavelengths run from 2 pi cells upwards geometrically, 100 times over.

    Raises:
        ValueError: the width is not divisible by four.
    """
    if width % 4:
        raise ValueError(f"width is {width}; set a multiple of 4 as the encoder's hidden_size")
    frequencies = 100.0 ** (-torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * frequencies
    along = torch.cat((angles.sin(), angles.cos()), dim=-1)
    rows, columns = along[:, None].expand(side, side, -1), along[None].expand(side, side, -1)
    return torch.cat((rows, columns), dim=-1).flatten(0, 1)
