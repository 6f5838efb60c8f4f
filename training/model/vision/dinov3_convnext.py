"""DINOv3 ConvNeXt: the small models of DINOv3 for images of any size. Hugging Face folders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import nn
from transformers import DINOv3ConvNextModel

from training.model.vision.convnext import ConvNext
from training.model.vision.encoder import IMAGENET, NO_FACTS, OriginalFacts, State, VisionEncoder, register_encoder


class Dinov3ConvNext(ConvNext):
    """ConvNeXt of DINOv3 (arXiv 2508.10104). The stem is a part of its first stage."""

    model_type = "dinov3_convnext"
    model_class: ClassVar[type] = DINOv3ConvNextModel
    statistics = IMAGENET

    def check(self, config: Any) -> None:
        """A depth and a width for each stage, and none left out at random: packs would differ from single images."""
        super().check(config)
        if config.drop_path_rate:
            raise ValueError(f"drop_path_rate is {config.drop_path_rate}; set 0")

    def patch(self, config: Any) -> int:
        """Four in all of them; the configuration does not say it."""
        return 4

    def stem(self, model: Any) -> nn.Conv2d:
        """The first layer of the first stage."""
        return self.stages(model)[0].downsample_layers[0]

    def stages(self, model: Any) -> Sequence[Any]:
        """One module deeper in some versions of transformers."""
        return getattr(model, "model", model).stages

    def entry(self, stage: Any) -> Sequence[nn.Module]:
        """Of any stage but the first, which begins with the stem."""
        return stage.downsample_layers

    def final_norm(self, model: Any) -> nn.Module:
        """It is also that of the pooled image."""
        return model.layer_norm

    def is_original(self, state: State) -> bool:
        """No original checkpoints are read: timm's names are those of any ConvNeXt."""
        return False

    def from_original(self, state: State, facts: OriginalFacts = NO_FACTS) -> nn.Module:
        """Refused: Raises ValueError that asks for a Hugging Face folder."""
        return VisionEncoder.from_original(self, state, facts)


register_encoder(Dinov3ConvNext())
