"""EarthGPT as transformers classes: visual tokens and text in one causal sequence.

Which encoders and which decoder there are, `config` says; what is known of them lies in `vision` and `language`.

Shape suffixes: N images, H W pixels, S image slots (visual tokens and two end vectors), B batch, L sequence, D width,
K vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch
from huggingface_hub import HfApi
from torch import nn
from torch.nn.attention.flex_attention import BlockMask
from transformers import GenerationMixin, LogitsProcessorList, PreTrainedModel, SuppressTokensLogitsProcessor
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from training.model.configuration import EarthGPTConfig
from training.model.folder import sound_model, without_foreign_code
from training.model.fusion import EarthGPTProjector
from training.model.language.bias_scale import VECTORS, BiasScaleLinear, add_biases, wrap_linears
from training.model.origin.card import LANGUAGE_MODEL, model_card
from training.model.published.modelling_code import AUTO_MAP, write_code
from training.model.vision.towers import VisionTowers


class EarthGPTPreTrainedModel(PreTrainedModel):
    """Loading, saving and random initialisation that all EarthGPT models share."""

    config: EarthGPTConfig
    config_class = EarthGPTConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    # transformers adds what the encoders and the decoder name themselves.
    _no_split_modules: ClassVar = []  # type: ignore[misc]
    _skip_keys_device_placement: ClassVar = ["past_key_values"]  # type: ignore[misc]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def __init__(self, config: EarthGPTConfig, *inputs: Any, **kwargs: Any):
        super().__init__(config, *inputs, **kwargs)
        if config.tuning is not None:
            self._keep_in_fp32_modules_strict = set(VECTORS)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, use_safetensors: bool | None = True, **kwargs):
        """As of `PreTrainedModel`, from safetensors only: no pickle is opened unless `use_safetensors` says so.

        Code that lies in the folder is not run, and nobody is asked whether it may, unless `trust_remote_code` says so.

        Raises:
            UserError: a folder that is damaged, or that lacks weights, which would be random.
        """
        place, with_info = pretrained_model_name_or_path, kwargs.pop("output_loading_info", False)
        with sound_model(place), without_foreign_code(place) as safe:
            options = safe | {"use_safetensors": use_safetensors} | kwargs
            loaded: Any = super().from_pretrained(place, *model_args, output_loading_info=True, **options)
            model, info = loaded
            # Tuning vectors start neutral where a checkpoint has none; anything else would be random.
            lacking = sorted(name for name in info["missing_keys"] if name.rpartition(".")[2] not in VECTORS)
            if place is not None and lacking:
                raise ValueError(f"{len(lacking)} weights are missing, {lacking[0]} first")
        return (model, info) if with_info else model

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoModel") -> None:
        """Without effect: the code of the model is written by `save_pretrained` in any case."""

    def save_pretrained(self, save_directory, *args, **kwargs) -> None:
        """As of `PreTrainedModel`; beside the weights the model card, ``README.md``, and the code of the model.

        The folder loads with ``trust_remote_code=True`` where this package is not installed.
        """
        self.config.auto_map = dict(AUTO_MAP)
        super().save_pretrained(save_directory, *args, **kwargs)
        if kwargs.get("is_main_process", True):
            (Path(save_directory) / "README.md").write_text(model_card(self.config), encoding="utf-8")
            write_code(Path(save_directory), part_modules(self.config))

    def push_to_hub(  # type: ignore[override]  # fewer options: the card is written, not asked for
        self, repo_id: str, *, private: bool | None = None, token: str | None = None, **kwargs
    ) -> str:
        """Save into a temporary folder and upload it, model card included; returns the commit's address.

        The processor is pushed by its own `push_to_hub`. A finished folder goes up as it is with ``hf upload``.
        """
        api = HfApi(token=token)
        repo = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with TemporaryDirectory() as folder:
            self.save_pretrained(folder, **kwargs)
            return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message="Upload EarthGPT"))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, EarthGPTProjector):
            std = self.config.text.initializer_range
            init.normal_(module.start, mean=0.0, std=std)
            init.normal_(module.end, mean=0.0, std=std)

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Give all that no checkpoint filled its random start; tuning vectors start neutral."""
        super().initialize_weights()
        # The decoder initialises its own layers, and does not know the vectors.
        for layer in self.modules():
            if isinstance(layer, BiasScaleLinear):
                init.zeros_(layer.bias_tune)
                if layer.scale_tune is not None:
                    init.ones_(layer.scale_tune)


@dataclass
class EarthGPTModelOutputWithPast(BaseModelOutputWithPast):
    """As of the decoder, and `image_hidden_states` (N, S, D): what filled the slots; None for text alone."""

    image_hidden_states: torch.Tensor | None = None


@dataclass
class EarthGPTCausalLMOutputWithPast(CausalLMOutputWithPast):
    """As of a causal decoder, and `image_hidden_states` as in `EarthGPTModelOutputWithPast`."""

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
    def get_image_features(
        self, pixel_values: torch.Tensor, output_hidden_states: bool | None = None, **kwargs
    ) -> BaseModelOutputWithPooling:
        """Encode padded squares, uint8 (N, 3, H, W), into what fills their slots: `pooler_output` (N, S, D).

        Args:
            pixel_values: as `EarthGPTImageProcessor` delivers them.
            output_hidden_states: the features of each encoder too, (N, G * G, C) each; by default as the configuration
                says.
            kwargs: of other models' encoders, without effect; but unknown ones are refused.

        Raises:
            TypeError: a keyword that no model of transformers has.
        """
        _refuse_unknown(kwargs)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        features = self.vision(pixel_values)
        flat = tuple(each_NGGC.flatten(1, 2) for each_NGGC in features)
        return BaseModelOutputWithPooling(
            last_hidden_state=flat[0],
            pooler_output=self.projector(features),
            hidden_states=flat if output_hidden_states else None,
        )

    def check_slots(self, input_ids_BL: torch.Tensor, images: int) -> None:
        """Raise ValueError where the slots in `input_ids_BL` (B, L) are not those of so many images."""
        slots, needed = int((input_ids_BL == self.config.image_token_id).sum()), images * self.config.image_slots
        if slots != needed:
            raise ValueError(
                f"input_ids holds {slots} image slots but {images} images need {needed} ({self.config.image_slots} "
                "each); build both with EarthGPTProcessor of this model"
            )

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
            given = pixel_values_NCHW if image_features_NSD is None else image_features_NSD
            self.check_slots(input_ids_BL, 0 if given is None else len(given))
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
        _refuse_unknown(kwargs)
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
        self.check_slots(torch.where(is_slot_BL, slot_id, slot_id + 1), len(images_NSD))
        return embeddings_BLD.masked_scatter(is_slot_BL[..., None], images_NSD.to(embeddings_BLD.dtype))


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
        if prompt_BL is not None and kwargs.get("past_key_values") is None:
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

        Raises:
            ValueError: the image was encoded for a model of another width.
        """
        # transformers types `self` by a protocol that none of its own models meets.
        prepare: Any = super().prepare_inputs_for_generation  # type: ignore[misc]
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


def part_modules(config: EarthGPTConfig) -> list[str]:
    """The modules in which the kinds of a model's encoders and of its decoder are written."""
    return [type(entry.encoder).__module__ for entry in config.entries] + [type(config.decoder_kind).__module__]


def _refuse_unknown(keywords: Mapping[str, Any]) -> None:
    """A misspelt argument would otherwise be one without effect."""
    for name in keywords:
        if name not in TransformersKwargs.__annotations__:
            raise TypeError(f"{name!r} is no argument of EarthGPT; look at the signature of its forward")
