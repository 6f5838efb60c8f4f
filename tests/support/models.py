"""A tiny model with random weights and a tokenizer of its own, as a folder."""

from transformers import BatchFeature

from training.model import EarthGPTImageProcessor, EarthGPTProcessor, initialise, preset, train_tokenizer
from training.model.inputs.batch import BatchOptions, padded


def save_tiny_model(folder, vocabulary=320):
    """Write model and processor into `folder` and return it."""
    tokenizer = train_tokenizer(["Please detect all objects in this image. There are [0.123,0.456]"], vocabulary)
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = preset("tiny", vocab_size=len(tokenizer), image_token_id=image_token_id, **ids)
    initialise(config, 0).save_pretrained(folder)
    EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots).save_pretrained(folder)
    return folder


def left_padded(processor, rows):
    """Rows of ids as a batch for `generate`."""
    data = padded(rows, processor.tokenizer.pad_token_id, processor.image_token_id, BatchOptions())
    return BatchFeature(data, tensor_type="pt")
