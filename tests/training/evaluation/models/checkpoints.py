"""Tiny checkpoints of other families with random weights, from their configurations alone: no download, no code."""

from __future__ import annotations

import json

from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessorPil,
    InternVLConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessorPil,
    set_seed,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.internvl.processing_internvl import InternVLProcessor
from transformers.models.qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen3_vl import Qwen3VLConfig
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from training.model import train_tokenizer

WIDTH = 32
_TEMPLATE = """{%- for m in messages -%}<|im_start|>{{ m['role'] }}
{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
_TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
}
_VISION = {"depth": 2, "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_heads": 2}


def _tokenizer(*special):
    tokenizer = train_tokenizer(["Please detect all objects in this image. There are [12, 34] bbox_2d label"], 320)
    tokenizer.add_special_tokens({"additional_special_tokens": [*special, "<|im_start|>", "<|im_end|>"]})
    return tokenizer


def _save(folder, config, processor):
    set_seed(0)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _save_parts(folder, config, kind, images, tokenizer, template, **more):
    """As released checkpoints lie in their folders, without a part for videos, which needs torchvision."""
    set_seed(0)
    AutoModelForImageTextToText.from_config(config).save_pretrained(folder)
    images.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": kind.__name__} | more))
    return folder


def llava(folder):
    tokenizer = _tokenizer("<image>")
    vision = {
        "model_type": "clip_vision_model",
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = LlavaConfig(
        vision_config=vision,
        text_config=_TEXT | {"model_type": "llama", "vocab_size": len(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE.replace("IMAGE", "<image>"),
    )
    return _save(folder, config, processor)


def _qwen(folder, config_type, processor_type, patch, text, vision):
    names = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    tokenizer = _tokenizer(*names)
    image, video, start, end = tokenizer.convert_tokens_to_ids(list(names))
    config = config_type(
        text_config=_TEXT | {"vocab_size": len(tokenizer)} | text,
        vision_config={
            "depth": 2,
            "hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "num_heads": 2,
            "patch_size": patch,
        }
        | vision,
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
    )
    unit = 2 * patch
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": unit * unit, "longest_edge": 6 * unit * unit}, patch_size=patch, merge_size=2
    )
    template = _TEMPLATE.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    return _save_parts(folder, config, processor_type, images, tokenizer, template)


def qwen3_vl(folder):
    text = {
        "head_dim": 16,
        "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True},
    }
    vision = {"out_hidden_size": WIDTH, "deepstack_visual_indexes": [0], "num_position_embeddings": 64}
    return _qwen(folder, Qwen3VLConfig, Qwen3VLProcessor, 16, text, vision)


def qwen25_vl(folder):
    text = {"rope_scaling": {"type": "mrope", "mrope_section": [4, 2, 2]}}
    vision = {"out_hidden_size": WIDTH, "fullatt_block_indexes": [1], "window_size": 56}
    return _qwen(folder, Qwen2_5_VLConfig, Qwen2_5_VLProcessor, 14, text, vision)


def internvl(folder):
    names = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    plain = _tokenizer(*names.values())
    ids = {name: getattr(plain, name) for name in ("bos_token", "eos_token", "pad_token")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain.backend_tokenizer, extra_special_tokens=names, **ids)
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": [28, 28],
        "patch_size": [7, 7],
    }
    config = InternVLConfig(
        vision_config=vision,
        text_config=_TEXT | {"model_type": "qwen2", "vocab_size": len(tokenizer)},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )
    images = GotOcr2ImageProcessorPil(size={"height": 28, "width": 28})
    template = _TEMPLATE.replace("IMAGE", "<IMG_CONTEXT>")
    return _save_parts(folder, config, InternVLProcessor, images, tokenizer, template, image_seq_length=4)
