"""Visual tokens and text in one causal sequence, up to the decoder's last hidden states.

Which encoders and which decoder there are, `config` says; what is known of them lies in `vision` and `language`.

Shape suffixes: N images, H W pixels, S image slots (visual tokens and two end vectors), B batch, L sequence, D width,
K vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
)
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from training.model.configuration import EarthGPTConfig
from training.model.fusion import EarthGPTProjector
from training.model.language.bias_scale import add_biases, wrap_linears
from training.model.modeling.pretrained import EarthGPTPreTrainedModel
from training.model.vision.towers import VisionTowers


@dataclass
class EarthGPTModelOutputWithPast(BaseModelOutputWithPast):
    """As of the decoder, and `image_hidden_states` (N, S, D): what filled the slots; None for text alone."""

    image_hidden_states: torch.Tensor | None = None


class EarthGPTModel(EarthGPTPreTrainedModel):
    """Visual encoders, projector and a causal decoder without its output head.

    Every position of `input_ids` that holds `config.image_token_id` is one image slot; the slots of all rows, read row
    by row, take the images of `pixel_values` in order. Attention is causal over image and text alike.
    """

    def __init__(self, config: EarthGPTConfig):
        super().__init__(config)
        self.vision = VisionTowers(
            config.entries, config.grid, config.image_size, self.config._attn_implementation or "eager"
        )
        self.projector = EarthGPTProjector(config)
        # Of whatever class the decoder is: what all of them have in common, `Decoder` says.
        self.language_model: Any = config.decoder_kind.build(config.text)
        if config.linear_biases:
            add_biases(self, config.decoder_kind.paths(config.text))
        if config.tuning is not None:
            wrap_linears(self, config.decoder_kind.paths(config.text), config.tuning)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """Embedding table of the text tokens."""
        return self.language_model.embed_tokens

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding table of the text tokens."""
        self.language_model.embed_tokens = value

    @can_return_tuple
    def get_image_features(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """Encode padded squares, uint8 (N, 3, H, W), into what fills their slots: `pooler_output` (N, S, D).

        Args:
            pixel_values: as `EarthGPTImageProcessor` delivers them.
            kwargs: `output_hidden_states`: the features of each encoder too, (N, G * G, C) each; by default as the
                configuration says. The others are of other models' encoders, without effect, and unknown ones are
                refused. None has a name here: `generate` keeps from the decoder what the encoder names.

        Raises:
            TypeError: a keyword that no model of transformers has.
        """
        refuse_unknown(kwargs)
        with_features = kwargs.get("output_hidden_states")
        if with_features is None:
            with_features = self.config.output_hidden_states
        features = self.vision(pixel_values)
        flat = tuple(each_NGGC.flatten(1, 2) for each_NGGC in features)
        return BaseModelOutputWithPooling(
            last_hidden_state=flat[0],
            pooler_output=self.projector(features),
            hidden_states=flat if with_features else None,
        )

    def check_slots(self, input_ids_BL: torch.Tensor, images: int) -> None:
        """Raise ValueError where the slots in `input_ids_BL` (B, L) are not those of so many images."""
        slots, needed = int((input_ids_BL == self.config.image_token_id).sum()), images * self.config.image_slots
        if slots != needed:
            raise ValueError(
                f"input_ids holds {slots} image slots but {images} images need {needed} ({self.config.image_slots} "
                "each); build both with EarthGPTProcessor of this model"
            )

    def _check_filled(self, input_ids_BL: torch.Tensor, features: Any) -> None:
        """Raise ValueError where `features` do not fill the slots; a chunk of a prompt has some of an image's alone."""
        vectors = sum(features_SD.shape[0] for features_SD in features)
        images, of_a_part = divmod(vectors, self.config.image_slots)
        if not of_a_part:
            self.check_slots(input_ids_BL, images)
            return
        slots = int((input_ids_BL == self.config.image_token_id).sum())
        if slots != vectors:
            raise ValueError(f"a part of a prompt holds {slots} image slots, and {vectors} vectors of images for them")

    def embed(
        self,
        input_ids_BL: torch.Tensor,
        pixel_values_NCHW: torch.Tensor | None = None,
        image_features_NSD: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Embed text and put the images into their slots.

        Args:
            input_ids_BL: token ids (B, L).
            pixel_values_NCHW: uint8 (N, 3, H, W), the images of all rows in order, or None.
            image_features_NSD: instead of pixels, what `get_image_features` made of them.

        Returns:
            Input embeddings (B, L, D).

        Raises:
            ValueError: the number of slots is not that of the images. Asked of tensors on the host alone: elsewhere the
                answer would have to be waited for, and a traced graph has none. Whoever makes a batch for a device
                calls `check_slots`.
        """
        is_slot_BL = input_ids_BL == self.config.image_token_id
        if input_ids_BL.device.type == "cpu" and not torch.compiler.is_compiling():
            if image_features_NSD is not None:
                self._check_filled(input_ids_BL, image_features_NSD)
            else:
                self.check_slots(input_ids_BL, 0 if pixel_values_NCHW is None else len(pixel_values_NCHW))
        embeddings_BLD = self.get_input_embeddings()(input_ids_BL.masked_fill(is_slot_BL, 0))
        if image_features_NSD is None and pixel_values_NCHW is not None:
            image_features_NSD = self.get_image_features(pixel_values_NCHW).pooler_output
        if image_features_NSD is None:
            return embeddings_BLD
        return embeddings_BLD.masked_scatter(is_slot_BL[..., None], image_features_NSD.to(embeddings_BLD.dtype))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | BlockMask | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs,
    ) -> EarthGPTModelOutputWithPast:
        """Final normalised states (B, L, D). Arguments are those of `EarthGPTForConditionalGeneration.forward`.

        Raises:
            ValueError: the number of slots is not that of the images, or both ids and embeddings are given, or neither.
            TypeError: a keyword that no model of transformers has.
        """
        refuse_unknown(kwargs)
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("pass exactly one of input_ids and inputs_embeds")
        encoded = (mm_encoder_outputs or {}).get("image")
        if encoded is None and pixel_values is not None:
            encoded = self.get_image_features(pixel_values, return_dict=True)
        images = None if encoded is None else encoded.pooler_output
        if input_ids is not None:
            inputs_embeds = self.embed(input_ids, None, images)
        elif images is not None and inputs_embeds is not None:
            inputs_embeds = self._fill_embedded_slots(inputs_embeds, images)
        outputs = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        return EarthGPTModelOutputWithPast(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=images,
        )

    def _fill_embedded_slots(self, embeddings_BLD: torch.Tensor, images_NSD: torch.Tensor) -> torch.Tensor:
        """Images into embeddings of ids of which nothing is known but that slots hold the placeholder's embedding."""
        config = self.config
        if config.image_token_id >= config.text.vocab_size:
            raise ValueError(
                f"image_token_id {config.image_token_id} has no embedding, so inputs_embeds do not say where images "
                "are; pass input_ids, or put the images in with `embed` and pass no pixel_values"
            )
        slot_id = torch.tensor(config.image_token_id, device=embeddings_BLD.device)
        is_slot_BL = (embeddings_BLD == self.get_input_embeddings()(slot_id)).all(-1)
        self._check_filled(torch.where(is_slot_BL, slot_id, slot_id + 1), images_NSD)
        return embeddings_BLD.masked_scatter(is_slot_BL[..., None], images_NSD.to(embeddings_BLD.dtype))


def refuse_unknown(keywords: Mapping[str, Any]) -> None:
    """A misspelt argument would otherwise be one without effect."""
    for name in keywords:
        if name not in TransformersKwargs.__annotations__:
            raise TypeError(f"{name!r} is no argument of EarthGPT; look at the signature of its forward")
