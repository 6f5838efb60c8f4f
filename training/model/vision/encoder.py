"""What the model needs of an image encoder, and the encoders that are known, by their transformers `model_type`.

Everything about one encoder lies in one file: a subclass of `VisionEncoder` without state, and its registration. Adding
one edits no other file:

    class Siglip(PatchEncoder):
        model_type = "siglip_vision_model"
        ...

    register_encoder(Siglip())

A configuration lists `EncoderEntry`s: which encoders a model has, at which image size, and which of their layers count.

Shape suffixes: N images, H W pixels, G cells along one side of a feature map, C channels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedConfig

from training.model.operations import Operation

LAYER_FUSIONS = ("mean", "sum", "concat")
State = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of red, green and blue that an encoder was pre-trained with, for pixels in 0..1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @classmethod
    def of(cls, mean: Any, std: Any) -> PixelStatistics:
        """Of plain lists. Raises ValueError where they are not three numbers each."""
        try:
            means, stds = (tuple(float(value) for value in values) for values in (mean, std))
        except (TypeError, ValueError) as error:
            raise ValueError(f"mean {mean!r} and std {std!r} are no numbers; give three each") from error
        if len(means) != 3 or len(stds) != 3 or not all(math.isfinite(value) for value in (*means, *stds)):
            raise ValueError(f"mean {mean!r} and std {std!r} are not three numbers each, one a colour")
        if min(stds) <= 0:
            raise ValueError(f"std is {std!r}; give three numbers above 0")
        return cls((means[0], means[1], means[2]), (stds[0], stds[1], stds[2]))


@dataclass(frozen=True)
class OriginalFacts:
    """What stands beside an original checkpoint and no weight tells: whether its activation is QuickGELU, and the
    channels of an attention head, None where that is not said."""

    quick_gelu: bool = False
    head_width: int | None = None


NO_FACTS = OriginalFacts()
IMAGENET = PixelStatistics((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = PixelStatistics((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = PixelStatistics((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


class VisionEncoder(ABC):
    """One kind of image encoder. Layers are counted from 1: the blocks of a transformer, the stages of a CNN."""

    model_type: ClassVar[str]
    """As transformers names the configuration."""
    model_class: ClassVar[type]
    """The transformers class that reads a Hugging Face folder."""
    statistics: ClassVar[PixelStatistics]
    layer_word: ClassVar[str]
    """What one layer is to a reader of errors and cards, for instance "ViT block"."""
    layer_fusion: ClassVar[str]
    """How the layers join where a configuration does not say: one of `LAYER_FUSIONS`."""

    def build(self, config: Any, attention: str) -> nn.Module:
        """The encoder with the library's random weights.

        Args:
            attention: the attention kernel that the whole model was asked to use.
        """
        config._attn_implementation = attention
        return self.model_class(config)

    def trim(self, model: Any) -> None:  # noqa: B027 most encoders have nothing of the kind
        """Take out of a loaded encoder, in place, what only its pre-training used: without gradient it cannot train."""

    @abstractmethod
    def check(self, config: Any) -> None:
        """Raise ValueError where fields of the configuration contradict each other or are not supported."""

    @abstractmethod
    def depth(self, config: Any) -> int:
        """Number of layers."""

    @abstractmethod
    def width(self, config: Any, layer: int) -> int:
        """Channels of a layer's map."""

    @abstractmethod
    def stride(self, config: Any) -> int:
        """What the side of the image must be a multiple of, in pixels."""

    @abstractmethod
    def grid(self, config: Any, image_size: int, layer: int) -> int:
        """Cells along one side of a layer's map of an image of `image_size` pixels a side."""

    @abstractmethod
    def usual_layers(self, config: Any) -> tuple[int, ...]:
        """The layers that are used where a configuration does not say."""

    @abstractmethod
    def maps_NGGC(self, model: Any, pixels_NCHW: torch.Tensor, layers: Sequence[int]) -> list[torch.Tensor]:
        """Maps of the chosen layers, normalised, each at its own resolution.

        Args:
            pixels_NCHW: standardised with `statistics`, in the dtype of the encoder.
        """

    @abstractmethod
    def operations(self, model: Any, image_size: int, layers: Sequence[int]) -> Iterator[Operation]:
        """Of one image, for `training.model.accounting`; an encoder of which any parameter trains counts as trained up
        to its last chosen layer."""

    @abstractmethod
    def scale_random(self, model: Any) -> None:
        """Redraw all weights in place, see `training.model.random_weights`."""

    def native_size(self, config: Any) -> int:
        """Side in pixels of the images that it was trained on last."""
        return config.image_size

    def is_original(self, state: State) -> bool:
        """Whether weights look like this encoder's in a form that `from_original` reads."""
        return False

    def from_original(self, state: State, facts: OriginalFacts = NO_FACTS) -> nn.Module:
        """The encoder with the weights of a checkpoint in the form that its authors, OpenCLIP or timm publish.

        Args:
            facts: what is stated beside the weights.

        Raises:
            ValueError: another model's weights, or a form that is not read.
        """
        raise ValueError(f"no original checkpoints of a {self.model_type} are read; give a Hugging Face folder of one.")


@dataclass(frozen=True)
class EncoderEntry:
    """One encoder of a model.

    `name` is that of its module, ``vision.NAME``, and of its settings, ``NAME.image_size``. `image_size` is the side in
    pixels of the square that it sees, `layers` those whose maps are used, counted from 1 and increasing. `fusion` says
    how they join: "mean" and "sum" keep the width, "concat" adds the widths up. `statistics` are those of its own
    pre-training, where they are not its kind's: a ConvNeXt can come from CLIP or from ImageNet.
    """

    name: str
    config: PreTrainedConfig
    image_size: int
    layers: tuple[int, ...]
    fusion: str
    statistics: PixelStatistics

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> EncoderEntry:
        """The entry of plain data, as it stands in a configuration file; layers and fusion have the encoder's defaults.

        Raises:
            ValueError: a field is missing, unknown, out of range or contradicts another one.
        """
        known = ("name", "config", "image_size", "layers", "fusion", "statistics")
        for field in ("name", "config", "image_size"):
            if field not in fields:
                raise ValueError(f"an encoder of the model has no {field}; give each one {', '.join(known[:3])}")
        for field in fields:
            if field not in known:
                raise ValueError(f"{fields['name']}.{field} is no field of an encoder; set one of {', '.join(known)}")
        config = fields["config"]
        if not isinstance(config, PreTrainedConfig):
            config = _config(str(fields["name"]), config)
        encoder = encoder_of(config)
        entry = cls(
            name=fields["name"],
            config=config,
            image_size=fields["image_size"],
            layers=tuple(fields.get("layers", encoder.usual_layers(config))),
            fusion=fields.get("fusion", encoder.layer_fusion),
            statistics=_statistics(fields["name"], fields.get("statistics", encoder.statistics)),
        )
        entry.check()
        return entry

    @property
    def encoder(self) -> VisionEncoder:
        """What is known of its kind."""
        return encoder_of(self.config)

    @property
    def width(self) -> int:
        """Channels of its joined layers."""
        widths = [self.encoder.width(self.config, layer) for layer in self.layers]
        return sum(widths) if self.fusion == "concat" else widths[0]

    @property
    def grid(self) -> int:
        """Cells along one side of its coarsest chosen map."""
        return self.encoder.grid(self.config, self.image_size, self.layers[-1])

    def fields(self) -> dict[str, Any]:
        """Plain data, the way back from `from_fields`."""
        config = {
            key: value
            for key, value in self.config.to_dict().items()
            # What says how the weights once lay in a file; here they are the model's.
            if key not in ("dtype", "architectures", "transformers_version", "_name_or_path")
        }
        plain = {"name": self.name, "config": config, "image_size": self.image_size}
        plain |= {"layers": list(self.layers), "fusion": self.fusion}
        if self.statistics != self.encoder.statistics:
            plain["statistics"] = {"mean": list(self.statistics.mean), "std": list(self.statistics.std)}
        return plain

    def check(self) -> None:
        """Raise ValueError for a name that no module can have, or sizes and layers that do not fit the encoder."""
        name, encoder = self.name, self.encoder
        if not str(name).isidentifier() or str(name) != str(name).lower() or hasattr(nn.Module, name):
            raise ValueError(f"an encoder is named {name!r}; give it a short lower-case name, for instance 'vit'")
        try:
            encoder.check(self.config)
        except ValueError as error:
            raise ValueError(f"{name}.config.{error}") from error
        if self.config.num_channels != 3:
            raise ValueError(
                f"{name}.config.num_channels is {self.config.num_channels}; set 3, images are delivered as RGB"
            )
        stride = encoder.stride(self.config)
        if self.image_size < stride or self.image_size % stride:
            raise ValueError(
                f"{name}.image_size is {self.image_size}; set a positive multiple of {stride}, what one cell of the "
                f"{encoder.model_type} takes"
            )
        layers, last = list(self.layers), encoder.depth(self.config)
        if not layers or sorted(set(layers)) != layers or layers[0] < 1 or layers[-1] > last:
            raise ValueError(
                f"{name}.layers is {layers}; set increasing {encoder.layer_word} numbers between 1 and {last}"
            )
        if self.fusion not in LAYER_FUSIONS:
            raise ValueError(f"{name}.fusion is {self.fusion!r}; set one of {', '.join(map(repr, LAYER_FUSIONS))}")
        widths = {encoder.width(self.config, layer) for layer in layers}
        if self.fusion != "concat" and len(widths) > 1:
            raise ValueError(
                f"{name}.fusion is {self.fusion!r} but its layers {layers} have {len(widths)} widths; set 'concat'"
            )


_ENCODERS: dict[str, VisionEncoder] = {}


def register_encoder(encoder: VisionEncoder) -> None:
    """Make an encoder known under its `model_type`; a later one of the same type takes its place."""
    _ENCODERS[encoder.model_type] = encoder


def encoder_of(config: PreTrainedConfig) -> VisionEncoder:
    """What is known of the encoder that a configuration is of. Raises ValueError where nothing is."""
    return encoder_of_type(config.model_type)


def encoder_of_type(model_type: str) -> VisionEncoder:
    """What is known of encoders of a transformers `model_type`. Raises ValueError where nothing is."""
    if model_type not in _ENCODERS:
        raise ValueError(f"there is no encoder for a {model_type!r} model; give one of {', '.join(encoder_types())}")
    return _ENCODERS[model_type]


def encoder_of_state(state: State) -> VisionEncoder:
    """What is known of the encoder that original weights are of. Raises ValueError where it is not told."""
    for encoder in _ENCODERS.values():
        if encoder.is_original(state):
            return encoder
    raise ValueError(
        f"{len(state)} weights such as {', '.join(sorted(state)[:3])} are of no known encoder: neither of an original, "
        f"OpenCLIP or timm checkpoint; give a Hugging Face folder of one of {', '.join(encoder_types())}."
    )


def encoder_types() -> tuple[str, ...]:
    """The `model_type`s that are known."""
    return tuple(_ENCODERS)


def _statistics(name: str, given: Any) -> PixelStatistics:
    if isinstance(given, PixelStatistics):
        return given
    if not isinstance(given, Mapping) or given.keys() != {"mean", "std"}:
        raise ValueError(f"{name}.statistics is {given!r}; set mean and std, three numbers each")
    try:
        return PixelStatistics.of(given["mean"], given["std"])
    except ValueError as error:
        raise ValueError(f"{name}.statistics: {error}") from error


def _config(name: str, fields: Mapping[str, Any]) -> PreTrainedConfig:
    values = dict(fields)
    model_type = values.pop("model_type", None)
    if model_type is None:
        raise ValueError(f"{name}.config has no model_type; set one of {', '.join(encoder_types())}")
    encoder = encoder_of_type(model_type)
    try:
        return encoder.model_class.config_class(**values)  # type: ignore[attr-defined]
    except TypeError as error:
        raise ValueError(f"{name}.config is no configuration of a {model_type}: {error}") from error
