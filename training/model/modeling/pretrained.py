"""What all EarthGPT models share: loading from a sound folder, saving with card and code, publishing, random start."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init

from training.model.configuration import EarthGPTConfig
from training.model.folder import sound_model, without_foreign_code
from training.model.fusion import EarthGPTProjector
from training.model.language.bias_scale import VECTORS, BiasScaleLinear
from training.model.origin.card import model_card
from training.model.published.modelling_code import AUTO_MAP, write_code
from training.model.published.upload import upload_saved


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
        """Upload what `save_pretrained` writes, model card included; returns the commit's address.

        The processor is pushed by its own `push_to_hub`. A finished folder goes up as it is with ``hf upload``.
        """
        return upload_saved(lambda folder: self.save_pretrained(folder, **kwargs), repo_id, private, token)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, EarthGPTProjector):
            std = self.config.text.initializer_range
            init.normal_(module.start, mean=0.0, std=std)
            init.normal_(module.end, mean=0.0, std=std)
            if module.positions is not None:
                init.normal_(module.positions, mean=0.0, std=std)

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


def part_modules(config: EarthGPTConfig) -> list[str]:
    """The modules in which the kinds of a model's encoders and of its decoder are written."""
    return [type(entry.encoder).__module__ for entry in config.entries] + [type(config.decoder_kind).__module__]
