"""The language model of an EarthGPT alone, in the form that a class of transformers loads as it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from training.model.modeling.generation import EarthGPTForConditionalGeneration


@dataclass(frozen=True, eq=False)
class PlainDecoder:
    """A causal class of transformers, the configuration to build it with, and its state."""

    causal_class: type
    config: PreTrainedConfig
    state: dict[str, torch.Tensor]

    def model(self) -> PreTrainedModel:
        """The model, which shares the tensors of the state. To be saved: buffers that no file holds are not filled."""
        with torch.device("meta"):
            model = self.causal_class(self.config)
        model.load_state_dict(self.state, assign=True)
        model.tie_weights()
        return model


def plain_decoder(model: EarthGPTForConditionalGeneration) -> PlainDecoder:
    """The language model alone.

    Raises:
        ValueError: the model has tuning vectors, or biases that no class of transformers has.
    """
    config = model.config
    if config.tuning is not None:
        raise ValueError(f"the model is tuned with tuning={config.tuning!r}; call fold(model) first")
    causal_class, plain = config.decoder_kind.plain_form(config.text, config.linear_biases)
    state = {f"model.{name}": tensor for name, tensor in model.language_model.state_dict().items()}
    return PlainDecoder(causal_class, plain, state | {"lm_head.weight": model.lm_head.weight.detach()})
