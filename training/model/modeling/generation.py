"""EarthGPT with its head: losses, logits and generation.

Which encoders and which decoder there are, `config` says; what is known of them lies in `vision` and `language`.

Shape suffixes: N images, H W pixels, S image slots (visual tokens and two end vectors), B batch, L sequence, D width,
K vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import GenerationMixin, LogitsProcessorList, SuppressTokensLogitsProcessor
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.utils.generic import can_return_tuple

from training.model.configuration import EarthGPTConfig
from training.model.fusion import EarthGPTProjector
from training.model.language.bias_scale import wrap_linears
from training.model.modeling.model import EarthGPTModel
from training.model.modeling.pretrained import EarthGPTPreTrainedModel
from training.model.origin.card import LANGUAGE_MODEL
from training.model.vision.towers import VisionTowers


@dataclass
class EarthGPTCausalLMOutputWithPast(CausalLMOutputWithPast):
    """As of a causal decoder, and `image_hidden_states` as in `EarthGPTModelOutputWithPast`."""

    image_hidden_states: torch.Tensor | None = None


class EarthGPTForConditionalGeneration(EarthGPTPreTrainedModel, GenerationMixin):
    """An `EarthGPTModel` and the output head of its decoder."""

    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.language_model.embed_tokens.weight"}  # type: ignore[misc]
    _tp_plan: ClassVar = {"lm_head": "colwise_gather_output"}  # type: ignore[misc]

    def __init__(self, config: EarthGPTConfig):
        super().__init__(config)
        self.model = EarthGPTModel(config)
        self.lm_head = nn.Linear(config.text.hidden_size, config.text.vocab_size, bias=False)
        if config.tuning is not None and config.tune_head:
            wrap_linears(self, ["lm_head"], config.tuning)
        self.post_init()

    @property
    def vision(self) -> VisionTowers:
        """The image encoders."""
        return self.model.vision

    @property
    def projector(self) -> EarthGPTProjector:
        """From the encoders' features to what fills the slots."""
        return self.model.projector

    @property
    def language_model(self) -> Any:
        """The decoder without head."""
        return self.model.language_model

    def parts(self) -> dict[str, nn.Module]:
        """What the model was put together from, by role: each encoder by its name, and the language model."""
        encoders = {entry.name: self.vision.get_submodule(entry.name) for entry in self.config.entries}
        return encoders | {LANGUAGE_MODEL: self.language_model}

    def get_input_embeddings(self) -> nn.Module:
        """Embedding table of the text tokens."""
        return self.model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the embedding table of the text tokens."""
        self.model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """Output head."""
        return self.lm_head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Replace the output head."""
        self.lm_head = new_embeddings

    def get_image_features(self, pixel_values: torch.Tensor, **kwargs) -> BaseModelOutputWithPooling:
        """As of `EarthGPTModel`."""
        return self.model.get_image_features(pixel_values, **kwargs)

    def check_slots(self, input_ids_BL: torch.Tensor, images: int) -> None:
        """As of `EarthGPTModel`."""
        self.model.check_slots(input_ids_BL, images)

    def embed(
        self,
        input_ids_BL: torch.Tensor,
        pixel_values_NCHW: torch.Tensor | None = None,
        image_features_NSD: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """As of `EarthGPTModel`."""
        return self.model.embed(input_ids_BL, pixel_values_NCHW, image_features_NSD)

    def hidden_states(
        self,
        input_ids: torch.Tensor,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | BlockMask | dict[str, Any] | None = None,
        position_ids: torch.Tensor | None = None,
        image_features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Final normalised states (B, L, D), to which `logits` applies.

        A loss over few target positions takes these states and runs the head on the targets alone, which spares the
        (B, L, K) logits. Arguments are those of `forward`; `image_features` (N, S, D) take the place of pixels.
        """
        return self.language_model(
            inputs_embeds=self.embed(input_ids, pixel_values, image_features),
            attention_mask=attention_mask,
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state

    def end_answers_with(self, eos_token_id: int) -> None:
        """Let generation stop at another token: dialogues in another form end otherwise."""
        self.config.text.eos_token_id = self.generation_config.eos_token_id = eos_token_id

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Next-token logits (..., K) of final states (..., D): the head, and what the decoder does behind it."""
        return self.config.decoder_kind.final_logits(self.config.text, self.lm_head(states))

    def generate(self, inputs: torch.Tensor | None = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """As of `GenerationMixin`. No placeholder is ever generated: it would ask for an image that is not there.

        Raises:
            ValueError: the number of slots is not that of the images.
        """
        prompt_BL = kwargs.get("input_ids") if inputs is None else inputs
        # Embeddings beside ids are what is read, with the images in them or not.
        if prompt_BL is not None and kwargs.get("past_key_values") is None and kwargs.get("inputs_embeds") is None:
            encoded = (kwargs.get("mm_encoder_outputs") or {}).get("image")
            given = kwargs.get("pixel_values") if encoded is None else encoded.pooler_output
            self.check_slots(prompt_BL, 0 if given is None else len(given))
        # Here and not in `generation_config`, which a caller, a file or a larger vocabulary replaces.
        processors = LogitsProcessorList(kwargs.pop("logits_processor", None) or ())
        if self.config.image_token_id < self.lm_head.out_features:
            processors.insert(0, SuppressTokensLogitsProcessor([self.config.image_token_id], self.device.type))
        # transformers types `self` by a protocol that none of its own models meets.
        return super().generate(inputs, logits_processor=processors, **kwargs)  # type: ignore[misc]

    def prepare_inputs_for_generation(  # type: ignore[override]  # what is named is what transformers looks for
        self, input_ids: torch.Tensor, *args: Any, inputs_embeds: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """As of `GenerationMixin`, and the image for a model that drafts for another: it is told of no first step.

        Tokenizers, which `generate` needs for texts that end an answer and passes on, are none of the model's inputs.

        Raises:
            ValueError: the image was encoded for a model of another width.
        """
        # transformers types `self` by a protocol that none of its own models meets.
        prepare: Any = super().prepare_inputs_for_generation  # type: ignore[misc]
        for name in ("tokenizer", "assistant_tokenizer"):
            kwargs.pop(name, None)
        inputs = prepare(input_ids, *args, inputs_embeds=inputs_embeds, **kwargs)
        encoded, ids_BL = (kwargs.get("mm_encoder_outputs") or {}).get("image"), inputs.get("input_ids")
        if encoded is None or inputs.get("mm_encoder_outputs") or ids_BL is None or ids_BL.shape[1] == 1:
            return inputs
        if bool((ids_BL == self.config.image_token_id).any()):
            given, width = encoded.pooler_output.shape[-1], self.config.text.hidden_size
            if given != width:
                raise ValueError(
                    f"the assistant reads images of width {width}, the model's have {given}; give an assistant of that "
                    "width, or prompt_lookup_num_tokens"
                )
            inputs["mm_encoder_outputs"] = kwargs["mm_encoder_outputs"]
        return inputs

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        shift_labels: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        use_cache: bool | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs,
    ) -> EarthGPTCausalLMOutputWithPast:
        """Next-token logits.

        Args:
            input_ids: (B, L), `image_token_id` at image slots.
            pixel_values: uint8 (N, 3, H, W), the images of all rows in order; None for text alone and for the later
                steps of generation.
            attention_mask: (B, L) with 1 for tokens and 0 for padding, or (B, 1, L, L) as `build_block_mask` makes it,
                which is passed on unchanged.
            position_ids: (B, L); by default 0, 1, 2, ...
            past_key_values: keys and values of earlier tokens.
            inputs_embeds: (B, L, D) in the place of `input_ids`; with pixels only where the placeholder's id is one of
                the vocabulary.
            labels: (B, L), -100 where there is no loss; shifted inside. Needs the default `logits_to_keep`.
            shift_labels: (B, L), targets that are shifted already, as programs that share a sequence among devices give
                them; they count in the place of `labels`.
            logits_to_keep: last positions (a count) or positions (an index tensor) to compute logits for; 0 for all.
            use_cache: return keys and values.
            mm_encoder_outputs: {"image": output of `get_image_features`}, which `generate` computes once.
            kwargs: those of `TransformersKwargs` for the decoder.

        Returns:
            `logits` (B, kept L, K), `past_key_values`, and the mean `loss` if there are labels.

        Raises:
            ValueError: the number of slots is not that of the images, or both ids and embeddings are given, or neither.
            TypeError: a keyword that no model of transformers has.
        """
        outputs = self.model(
            input_ids=input_ids,
            pixel_values=pixel_values,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            mm_encoder_outputs=mm_encoder_outputs,
            return_dict=True,
            **kwargs,
        )
        states_BLD = outputs.last_hidden_state
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) and logits_to_keep else logits_to_keep
        logits_BLK = self.logits(states_BLD if isinstance(kept, int) else states_BLD[:, kept])
        loss = None
        if labels is not None or shift_labels is not None:
            targets = {"labels": labels, "shift_labels": shift_labels}
            loss = self.loss_function(logits_BLK, vocab_size=self.config.text.vocab_size, **targets, **kwargs)
        return EarthGPTCausalLMOutputWithPast(
            loss=loss,
            logits=logits_BLK,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            image_hidden_states=outputs.image_hidden_states,
        )
