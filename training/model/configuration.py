"""Configuration of EarthGPT: image encoders, one projector, one causal decoder. Which ones is data, not code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PreTrainedConfig

from training.model.language.bias_scale import TUNINGS
from training.model.language.decoder import Decoder, decoder_config, decoder_of
from training.model.vision.encoder import EncoderEntry

FUSIONS = ("concat", "sum", "mean")
TOKEN_MERGES = (1, 2)
CHANGEABLE = ("fusion", "token_merge", "projector_norm", "visual_positions")
CHANGEABLE_OF_ENCODERS = ("image_size", "layers", "fusion")


class EarthGPTConfig(PreTrainedConfig):
    """Sizes of the whole model. The paper's scale, as we read it, is that of `training.model.presets`.

    DINOv2 ViT-L/14, CLIP ConvNeXt-L, LLaMA-2 and one linear projection are what is known of the paper. Everything else
    in this list is not published, and each alternative is a value of its field:

    - resolution: `image_size` of each encoder (224 to 518 px is what they are used with);
    - which of the tapped ViT blocks count, and their "multi-layer feature fusion": its `layers` and `fusion`;
    - which of the ConvNeXt's scales count: its `layers`;
    - the circled plus between both encoders: `fusion`;
    - the number of visual tokens: `image_size` of the first encoder and `token_merge`;
    - whether a norm follows the projection, as in the code line that the paper builds on: `projector_norm`;
    - whether each place of the grid adds a vector of its own after that, which no paper of the line does:
      `visual_positions`;
    - the "shift" of the instruction tuning, and whether the output head takes part: `tuning`, `tune_head`.

    What trains in which run is no property of the model: see `training.config.parameter_sets`.

    Args:
        encoders: one `EncoderEntry` or dict of its fields for each, one at least. The first is the reference: its grid
            is the model's, to which the features of all are brought.
        text_config: the language model's, as config object or dict of its fields, `model_type` among them.
        fusion: how the encoders join: "concat" along channels, the first one's last; or their "sum" or "mean", the
            others' channels brought to the first one's by a learned matrix each, since the channels of two networks do
            not correspond.
        token_merge: side of the square of neighbouring cells whose channels join into one visual token.
        projector_norm: LayerNorm after the projection.
        visual_positions: add a learned vector to each visual token, one for each place. Encoders with random weights
            forget where a cell lies; pre-trained ones say it.
        image_token_id: placeholder in `input_ids` for one visual slot. It is never looked up in the embedding table,
            so it may lie outside the vocabulary.
        tie_word_embeddings: one matrix for embedding and output head.
        tuning: None, or "bias" or "bias-scale" for a language model with `training.model.tuning.vectors`.
        tune_head: tuning vectors on the output head too; only together with `tuning`.
        linear_biases: every linear layer of the language model's blocks has a bias, as folded tuning vectors leave it,
            whatever its `text_config` says.
        origin: what the weights were made of, for the model card: `parts` (one mapping with role, origin, licence,
            parameters, digest for each) and `training` (one mapping for each run, oldest first). Nothing reads it but
            the card.

    Raises:
        ValueError: a field is out of range or contradicts another one.
    """

    model_type = "earthgpt"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {"text_config": PreTrainedConfig}
    has_no_defaults_at_init = True

    encoders: list | tuple | None = None
    text_config: dict | PreTrainedConfig | None = None
    fusion: str = "concat"
    token_merge: int = 2
    projector_norm: bool = True
    visual_positions: bool = False
    image_token_id: int = 32000
    tie_word_embeddings: bool = False
    tuning: str | None = None
    tune_head: bool = False
    linear_biases: bool = False
    origin: dict | None = None

    def __post_init__(self, **kwargs):
        self.encoders = [
            entry if isinstance(entry, EncoderEntry) else EncoderEntry.from_fields(entry)
            for entry in self.encoders or ()
        ]
        if not isinstance(self.text_config, PreTrainedConfig):
            self.text_config = decoder_config(self.text_config or {})
        super().__post_init__(**kwargs)
        # One flag decides: the head is held by the outer model, which knows nothing of the inner flag.
        self.tie_word_embeddings = self.tie_word_embeddings or self.text_config.tie_word_embeddings
        self.text_config.tie_word_embeddings = self.tie_word_embeddings
        _check_choices(self)
        _check_encoders(self)
        _check_text(self)
        _check_origin(self.origin)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoConfig") -> None:
        """Without effect: whoever saves the model writes its code in any case."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it is written to ``config.json``."""
        return super().to_dict() | {"encoders": [entry.fields() for entry in self.encoders or ()]}

    @property
    def entries(self) -> tuple[EncoderEntry, ...]:
        """The encoders, in their order."""
        return tuple(self.encoders or ())

    def entry(self, name: str) -> EncoderEntry:
        """The encoder of a name. Raises KeyError where there is none."""
        return {entry.name: entry for entry in self.entries}[name]

    @property
    def text(self) -> Any:
        """The language model's configuration, whatever its kind."""
        return self.text_config

    @property
    def decoder_kind(self) -> Decoder:
        """What is known of the language model's kind."""
        return decoder_of(self.text)

    def tuned_layers(self, head: bool) -> list[str]:
        """Names of the layers that tuning vectors go on: all linear layers of all blocks, and the head if asked."""
        return [f"model.{path}" for path in self.decoder_kind.paths(self.text)] + ["lm_head"] * head

    @property
    def image_size(self) -> int:
        """Side in pixels of the padded square that the processor delivers; each encoder gets its own resized copy."""
        return max(entry.image_size for entry in self.entries)

    @property
    def grid(self) -> int:
        """Cells along one side of the image, those of the first encoder; the features of all are brought to them."""
        return self.entries[0].grid

    @property
    def visual_tokens(self) -> int:
        """Visual tokens of one image after merging, without the two learned end vectors."""
        return (self.grid // self.token_merge) ** 2

    @property
    def image_slots(self) -> int:
        """Positions that one image takes in the sequence: learned start vector, visual tokens, learned end vector."""
        return self.visual_tokens + 2

    @property
    def fused_channels(self) -> int:
        """Width of one grid cell once the encoders are joined."""
        return sum(entry.width for entry in self.entries) if self.fusion == "concat" else self.entries[0].width


def changed(fields: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Plain fields of a configuration with some replaced: `CHANGEABLE`, and an encoder's as ``NAME.image_size``.

    Raises:
        ValueError: there is no such field.
    """
    result = dict(fields)
    entries = {entry["name"]: dict(entry) for entry in fields["encoders"]}
    known = [*CHANGEABLE, *(f"{name}.{field}" for name in entries for field in CHANGEABLE_OF_ENCODERS)]
    for key, value in changes.items():
        if key not in known:
            raise ValueError(f"{key} is no field that can be changed; choose among {', '.join(known)}")
        name, dot, field = key.partition(".")
        if dot:
            entries[name][field] = value
        else:
            result[key] = value
    return result | {"encoders": list(entries.values())}


_ORIGIN_FIELDS = {
    "parts": {"role", "origin", "licence", "parameters", "digest"},
    "training": {"stage", "tuning", "trained_parameters", "steps", "samples", "data_set_id"},
    "scores": {"source", "split", "protocol", "metric", "value", "images", "questions"},
}


def _check_choices(config: EarthGPTConfig) -> None:
    choices = {"fusion": FUSIONS, "token_merge": TOKEN_MERGES, "tuning": (None, *TUNINGS)}
    for field, allowed in choices.items():
        value = getattr(config, field)
        if value not in allowed:
            raise ValueError(f"{field} is {value!r}; set one of {', '.join(map(repr, allowed))}")
    if config.tune_head and config.tuning is None:
        raise ValueError("tune_head is True but tuning is None; set tuning to 'bias' or 'bias-scale'")


def _check_encoders(config: EarthGPTConfig) -> None:
    entries = config.entries
    names = [entry.name for entry in entries]
    if not entries:
        raise ValueError("encoders is empty; give at least one, or take a preset of training.model.preset")
    if len(set(names)) < len(names):
        raise ValueError(f"encoders are named {', '.join(names)}; give each its own name")
    if config.grid % config.token_merge:
        cell = entries[0].image_size // config.grid
        raise ValueError(
            f"token_merge is {config.token_merge} but the grid has {config.grid} cells a side; set token_merge=1 or "
            f"{names[0]}.image_size to a multiple of {cell * config.token_merge}"
        )


def _check_text(config: EarthGPTConfig) -> None:
    text = config.text
    try:
        config.decoder_kind.check(text)
    except ValueError as error:
        raise ValueError(f"text_config.{error}") from error
    special = {name: getattr(text, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    for name, value in special.items():
        if value == config.image_token_id:
            raise ValueError(
                f"image_token_id is {config.image_token_id}, which is also text_config.{name}; set another"
            )
    if config.image_token_id < 0:
        raise ValueError(f"image_token_id is {config.image_token_id}; set the id of the tokenizer's image placeholder")
    if config.image_slots >= text.max_position_embeddings:
        raise ValueError(
            f"one image takes {config.image_slots} positions but text_config.max_position_embeddings is "
            f"{text.max_position_embeddings}; set token_merge=2, a smaller {config.entries[0].name}.image_size or a "
            "longer context"
        )


def _check_origin(origin: object) -> None:
    """What the card and later runs read of a model's past, see `training.model.origin`."""
    if origin is None:
        return
    if not isinstance(origin, Mapping):
        raise ValueError(f"origin is of type {type(origin).__name__}; it must be a mapping")
    for name, fields in _ORIGIN_FIELDS.items():
        listed = origin.get(name, [])
        if not isinstance(listed, list) or not all(
            isinstance(each, Mapping) and fields <= each.keys() for each in listed
        ):
            raise ValueError(f"origin.{name} must be a list of mappings with {', '.join(sorted(fields))}")
