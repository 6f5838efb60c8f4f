"""Configuration of EarthGPT: two visual encoders, one projector, one LLaMA."""

from __future__ import annotations

from typing import ClassVar

from transformers import ConvNextConfig, Dinov2Config, LlamaConfig, PreTrainedConfig

VIT_FUSIONS = ("mean", "sum", "concat")
FUSIONS = ("concat", "sum", "mean")
TUNINGS = ("bias", "bias-scale")
TOKEN_MERGES = (1, 2)
PART_DEFAULTS = {
    "vit_config": {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 518},
    "cnn_config": {"depths": [3, 3, 27, 3], "hidden_sizes": [192, 384, 768, 1536]},
    "text_config": {"rms_norm_eps": 1e-5, "pad_token_id": 0},
}


class EarthGPTConfig(PreTrainedConfig):
    """Sizes of the whole model. The defaults are our reading of the paper's scale.

    DINOv2 ViT-L/14, CLIP ConvNeXt-L, LLaMA-2 and one linear projection are what is known of the paper. Everything else
    in this list is not published; each default is our choice and each alternative a value of its field:

    - resolution: `vit_image_size`, `cnn_image_size` (224 to 518 px is what the encoders are used with);
    - which of the tapped ViT blocks count, and their "multi-layer feature fusion": `vit_layers`, `vit_fusion`;
    - which of the ConvNeXt's scales count: `cnn_stages`;
    - the circled plus between both encoders: `fusion`;
    - the number of visual tokens: `vit_image_size` and `token_merge`;
    - whether a norm follows the projection, as in the code line that the paper builds on: `projector_norm`;
    - the "shift" of the instruction tuning, and whether the output head takes part: `tuning`, `tune_head`.

    What trains in which run is no property of the model: see `training.config.parameter_sets`.

    Args:
        vit_config, cnn_config, text_config: the three parts, as config objects or dicts of their fields.
        vit_image_size: side in pixels of the square that the ViT sees; a multiple of its patch size.
        cnn_image_size: side in pixels of the square that the ConvNeXt sees; a multiple of its coarsest stride.
        vit_layers: blocks whose output is used, counted from 1, increasing.
        vit_fusion: how the chosen blocks join: "mean" and "sum" keep the width, "concat" multiplies it.
        cnn_stages: ConvNeXt stages whose map is used, counted from 1, increasing.
        fusion: how the two encoders join: "concat" along channels; or their "sum" or "mean", the ConvNeXt's channels
            brought to the ViT's by a learned matrix, since the channels of two networks do not correspond.
        token_merge: side of the square of neighbouring cells whose channels join into one visual token.
        projector_norm: LayerNorm after the projection.
        image_token_id: placeholder in `input_ids` for one visual slot. It is never looked up in the embedding table,
            so it may lie outside the vocabulary.
        tie_word_embeddings: one matrix for embedding and output head.
        tuning: None, or "bias" or "bias-scale" for a language model with `training.model.tuning.vectors`.
        tune_head: tuning vectors on the output head too; only together with `tuning`.
        origin: what the weights were made of, for the model card: `parts` (one mapping with role, origin, licence,
            parameters, digest for each) and `training` (one mapping for each run, oldest first). Nothing reads it but
            the card.

    Raises:
        ValueError: a field is out of range or contradicts another one.
    """

    model_type = "earthgpt"
    sub_configs: ClassVar[dict[str, type[PreTrainedConfig]]] = {
        "vit_config": Dinov2Config,
        "cnn_config": ConvNextConfig,
        "text_config": LlamaConfig,
    }

    vit_config: dict | PreTrainedConfig | None = None
    cnn_config: dict | PreTrainedConfig | None = None
    text_config: dict | PreTrainedConfig | None = None
    vit_image_size: int = 448
    cnn_image_size: int = 512
    vit_layers: list[int] | tuple[int, ...] = (6, 12, 18, 24)
    vit_fusion: str = "mean"
    cnn_stages: list[int] | tuple[int, ...] = (1, 2, 3, 4)
    fusion: str = "concat"
    token_merge: int = 2
    projector_norm: bool = True
    image_token_id: int = 32000
    tie_word_embeddings: bool = False
    tuning: str | None = None
    tune_head: bool = False
    origin: dict | None = None

    def __post_init__(self, **kwargs):
        for name, kind in self.sub_configs.items():
            given = getattr(self, name)
            if not isinstance(given, PreTrainedConfig):
                setattr(self, name, kind(**(PART_DEFAULTS[name] | (given or {}))))
        super().__post_init__(**kwargs)
        self.vit_layers = list(self.vit_layers)
        self.cnn_stages = list(self.cnn_stages)
        # One flag decides: the head is held by the outer model, which knows nothing of the inner flag.
        self.tie_word_embeddings = self.tie_word_embeddings or self.text_config.tie_word_embeddings
        self.text_config.tie_word_embeddings = self.tie_word_embeddings
        _check_choices(self)
        _check_vit(self)
        _check_cnn(self)
        _check_text(self)

    @property
    def image_size(self) -> int:
        """Side in pixels of the padded square that the processor delivers; each encoder gets its own resized copy."""
        return max(self.vit_image_size, self.cnn_image_size)

    @property
    def grid(self) -> int:
        """ViT patches along one side of the image; both encoders' features are brought to grid x grid cells."""
        return self.vit_image_size // self.vit_config.patch_size

    @property
    def visual_tokens(self) -> int:
        """Visual tokens of one image after merging, without the two learned end vectors."""
        return (self.grid // self.token_merge) ** 2

    @property
    def image_slots(self) -> int:
        """Positions that one image takes in the sequence: learned start vector, visual tokens, learned end vector."""
        return self.visual_tokens + 2

    @property
    def vit_channels(self) -> int:
        """Width of the joined ViT features."""
        return self.vit_config.hidden_size * (len(self.vit_layers) if self.vit_fusion == "concat" else 1)

    @property
    def fused_channels(self) -> int:
        """Width of one grid cell once both encoders are joined."""
        return self.vit_channels + (self.cnn_channels if self.fusion == "concat" else 0)

    @property
    def cnn_channels(self) -> int:
        """Width of the joined ConvNeXt features."""
        return sum(self.cnn_config.hidden_sizes[stage - 1] for stage in self.cnn_stages)


def _check_choices(config: EarthGPTConfig) -> None:
    choices = {"vit_fusion": VIT_FUSIONS, "fusion": FUSIONS, "token_merge": TOKEN_MERGES, "tuning": (None, *TUNINGS)}
    for field, allowed in choices.items():
        value = getattr(config, field)
        if value not in allowed:
            raise ValueError(f"{field} is {value!r}; set one of {', '.join(map(repr, allowed))}")
    if config.tune_head and config.tuning is None:
        raise ValueError("tune_head is True but tuning is None; set tuning to 'bias' or 'bias-scale'")


def _check_indices(field: str, indices: list[int], last: int, what: str) -> None:
    if not indices or sorted(set(indices)) != indices or indices[0] < 1 or indices[-1] > last:
        raise ValueError(f"{field} is {indices}; set increasing {what} numbers between 1 and {last}")


def _check_vit(config: EarthGPTConfig) -> None:
    vit = config.vit_config
    if not isinstance(vit.patch_size, int):
        raise ValueError(f"vit_config.patch_size is {vit.patch_size!r}; set one integer, patches must be square")
    if vit.num_channels != 3:
        raise ValueError(f"vit_config.num_channels is {vit.num_channels}; set 3, images are delivered as RGB")
    if config.vit_image_size < vit.patch_size or config.vit_image_size % vit.patch_size:
        raise ValueError(
            f"vit_image_size is {config.vit_image_size}; set a positive multiple of vit_config.patch_size, "
            f"{vit.patch_size}"
        )
    if config.grid % config.token_merge:
        raise ValueError(
            f"token_merge is {config.token_merge} but the grid has {config.grid} patches a side; set token_merge=1 or "
            f"a vit_image_size divisible by {vit.patch_size * config.token_merge}"
        )
    _check_indices("vit_layers", config.vit_layers, vit.num_hidden_layers, "ViT block")


def _check_cnn(config: EarthGPTConfig) -> None:
    cnn = config.cnn_config
    if cnn.num_channels != 3:
        raise ValueError(f"cnn_config.num_channels is {cnn.num_channels}; set 3, images are delivered as RGB")
    if not len(cnn.depths) == len(cnn.hidden_sizes) == cnn.num_stages:
        raise ValueError(
            f"cnn_config.num_stages is {cnn.num_stages} but depths is {list(cnn.depths)} and hidden_sizes is "
            f"{list(cnn.hidden_sizes)}; set lists of {cnn.num_stages}"
        )
    stride = cnn.patch_size * 2 ** (cnn.num_stages - 1)
    if config.cnn_image_size < stride or config.cnn_image_size % stride:
        raise ValueError(
            f"cnn_image_size is {config.cnn_image_size}; set a positive multiple of the ConvNeXt's stride, {stride}"
        )
    _check_indices("cnn_stages", config.cnn_stages, cnn.num_stages, "ConvNeXt stage")


def _check_text(config: EarthGPTConfig) -> None:
    text = config.text_config
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
            f"{text.max_position_embeddings}; set token_merge=2, a smaller vit_image_size or a longer context"
        )
