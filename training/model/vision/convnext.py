"""ConvNeXt: Hugging Face folders, OpenCLIP checkpoints with a timm ConvNeXt tower, and timm's own.

An OpenCLIP checkpoint has names such as ``visual.trunk.stem.0.weight`` beside a text tower. Names on the Hugging Face
side are those of published `ConvNextModel` files, which `from_pretrained` maps on those of the installed version.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import ConvNextConfig, ConvNextModel

from training.model.operations import Operation, trains
from training.model.random_weights import make_filters_blind_to_brightness, scale_by_inputs
from training.model.vision.encoder import CLIP, NO_FACTS, OriginalFacts, State, VisionEncoder, register_encoder
from training.model.vision.original_names import count, image_tower, loaded, renamed

EDGE_SHARE = 0.75
_NAMES = (
    ("stem.0.", "embeddings.patch_embeddings."),
    ("stem.1.", "embeddings.layernorm."),
    ("stages.#.downsample.#.", "encoder.stages.#.downsampling_layer.#."),
    ("stages.#.blocks.#.gamma", "encoder.stages.#.layers.#.layer_scale_parameter"),
    ("stages.#.blocks.#.conv_dw.", "encoder.stages.#.layers.#.dwconv."),
    ("stages.#.blocks.#.norm.", "encoder.stages.#.layers.#.layernorm."),
    ("stages.#.blocks.#.mlp.fc#.", "encoder.stages.#.layers.#.pwconv#."),
    ("head.norm.", "layernorm."),
)


def _no_attention(*_requested: Any, **_options: Any) -> str:
    return "eager"


class ConvNext(VisionEncoder):
    """ConvNeXt (arXiv 2201.03545) of CLIP: the paper's second encoder. Its layers are its stages."""

    model_type = "convnext"
    model_class: ClassVar[type] = ConvNextModel
    statistics = CLIP
    layer_word = "ConvNeXt stage"
    layer_fusion = "concat"

    def build(self, config: Any, attention: str) -> nn.Module:
        """It has no attention, and refuses any implementation but this one that is asked for the whole model, here or
        by `set_attn_implementation`."""
        model: Any = super().build(config, "eager")
        model.get_correct_attn_implementation = _no_attention
        return model

    def check(self, config: Any) -> None:
        """Depths and widths must be given for every stage."""
        if not len(config.depths) == len(config.hidden_sizes) == config.num_stages:
            raise ValueError(
                f"num_stages is {config.num_stages} but depths is {list(config.depths)} and hidden_sizes is "
                f"{list(config.hidden_sizes)}; set lists of {config.num_stages}"
            )

    def depth(self, config: Any) -> int:
        """Number of stages."""
        return config.num_stages

    def width(self, config: Any, layer: int) -> int:
        """Channels of a stage."""
        return config.hidden_sizes[layer - 1]

    def stride(self, config: Any) -> int:
        """Pixels along one side of a cell of the coarsest map."""
        return self.patch(config) * 2 ** (config.num_stages - 1)

    def grid(self, config: Any, image_size: int, layer: int) -> int:
        """Half as many cells with every stage."""
        return image_size // (self.patch(config) * 2 ** (layer - 1))

    def usual_layers(self, config: Any) -> tuple[int, ...]:
        """All stages."""
        return tuple(range(1, config.num_stages + 1))

    def maps_NGGC(self, model: Any, pixels_NCHW: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """Maps of the chosen stages, normalised.

        Every stage's map is read by exactly one pre-trained LayerNorm: the next stage's, or the model's final one. With
        it all scales reach the projector in the range that the network itself works with, at no extra parameter.
        """
        stages = self.stages(model)
        maps = model(pixels_NCHW, output_hidden_states=True).hidden_states[-len(stages) :]
        return [self._normalised_NGGC(model, maps[layer - 1], layer) for layer in layers]

    def _normalised_NGGC(self, model: Any, map_NCGG: torch.Tensor, layer: int) -> torch.Tensor:
        stages = self.stages(model)
        if layer < len(stages):
            return self.entry(stages[layer])[0](map_NCGG).permute(0, 2, 3, 1)
        return self.final_norm(model)(map_NCGG.permute(0, 2, 3, 1))

    def operations(self, model: Any, image_size: int, layers: Sequence[int]) -> Iterator[Operation]:
        """The stem, then each stage with all of its convolutions at its own resolution."""
        side = image_size // self.patch(model.config)
        learns = trains(model.parameters())
        stem = self.stem(model)
        forward = 2 * stem.weight.numel() * side**2
        yield forward, forward * learns
        for number, stage in enumerate(self.stages(model), start=1):
            side = side if number == 1 else side // 2
            filters = (layer for layer in stage.modules() if isinstance(layer, nn.Linear | nn.Conv2d))
            weights = sum(layer.weight.numel() for layer in filters if layer is not stem)
            forward = 2 * weights * side**2
            yield forward, 2 * forward * (learns and number <= layers[-1])

    @torch.no_grad()
    def scale_random(self, model: Any) -> None:
        """Most patch and depthwise filters do not see brightness; the other depthwise filters start near the
        identity."""
        scale_by_inputs(model)
        make_filters_blind_to_brightness(self.stem(model).weight, share=EDGE_SHARE, gain=1.0)
        for module in model.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                _make_depthwise_filters(module.weight)

    def patch(self, config: Any) -> int:
        """Pixels along one side of a cell of the first stage's map."""
        return config.patch_size

    def stem(self, model: Any) -> nn.Conv2d:
        """The convolution that makes the first stage's cells."""
        return model.embeddings.patch_embeddings

    def stages(self, model: Any) -> Sequence[Any]:
        """The stages, in order."""
        return model.encoder.stages

    def entry(self, stage: Any) -> Sequence[nn.Module]:
        """The norm that a stage begins with, and the convolution that halves the sides."""
        return stage.downsampling_layer

    def final_norm(self, model: Any) -> nn.Module:
        """The norm behind the last stage."""
        return model.layernorm

    def is_original(self, state: State) -> bool:
        """Timm's names, bare or in an OpenCLIP model."""
        return "stem.0.weight" in image_tower(state)

    def from_original(self, state: State, facts: OriginalFacts = NO_FACTS) -> nn.Module:
        """An OpenCLIP or timm checkpoint; all sizes are read from the shapes.

        Raises:
            ValueError: the weights are not those of a ConvNeXt.
        """
        named = hugging_face_state(state)
        stages = count(named, r"encoder\.stages\.(\d+)\.")
        config = ConvNextConfig(
            num_stages=stages,
            depths=[count(named, rf"encoder\.stages\.{stage}\.layers\.(\d+)\.") for stage in range(stages)],
            hidden_sizes=[len(named[f"encoder.stages.{stage}.layers.0.dwconv.bias"]) for stage in range(stages)],
            patch_size=named["embeddings.patch_embeddings.weight"].shape[-1],
            layer_norm_eps=1e-6,
        )
        return loaded(ConvNextModel, config, named)


def hugging_face_state(state: State) -> dict[str, torch.Tensor]:
    """OpenCLIP or bare timm weights under the names of `ConvNextModel`.

    The text tower and the projection head of an OpenCLIP checkpoint are left out. A trunk without its final norm, as
    some exports have it, gets the neutral one.

    Raises:
        ValueError: a name of the trunk is unknown, or there is no trunk.
    """
    trunk = image_tower(state)
    if "stem.0.weight" not in trunk:
        raise ValueError(
            f"no ConvNeXt trunk: neither visual.trunk.stem.0.weight nor stem.0.weight is among {len(state)} names such "
            f"as {', '.join(sorted(state)[:3])}. Give an OpenCLIP ConvNeXt checkpoint or a timm ConvNeXt."
        )
    kept = {name: value for name, value in trunk.items() if not re.match(r"head\.(?!norm\.)", name)}
    named = {renamed(name, _NAMES, "a timm ConvNeXt"): value for name, value in kept.items()}
    if "layernorm.weight" not in named:
        width = named["encoder.stages.3.downsampling_layer.1.bias"]
        named |= {"layernorm.weight": torch.ones_like(width), "layernorm.bias": torch.zeros_like(width)}
    return named


def _make_depthwise_filters(weight_O1HW: torch.Tensor) -> None:
    make_filters_blind_to_brightness(weight_O1HW, share=EDGE_SHARE, gain=1.0)
    centre = weight_O1HW.shape[-1] // 2
    weight_O1HW[round(len(weight_O1HW) * EDGE_SHARE) :, :, centre, centre] += 1.0


register_encoder(ConvNext())
