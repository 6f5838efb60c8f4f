"""Beginnings read together give the answers of each prompt read alone, in decoders with windows and caps too."""

import pytest
import torch

from training.evaluation.reading.shared_reading import last_position_alone, read_prefixes, read_prompts
from training.model import initialise, preset
from training.model.configuration import EarthGPTConfig

SPECIAL = {"vocab_size": 300, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
TEXT = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 256, "sliding_window": 9,
}  # fmt: skip
IMAGE, ANSWER = 299, 6


@pytest.mark.parametrize(("kind", "more"), [("gemma2", {"query_pre_attn_scalar": 16}), ("mistral", {})])
def test_prompts_of_windowed_decoders_are_answered_as_alone(kind, more):
    encoders = [entry.fields() for entry in preset("tiny", image_token_id=IMAGE, **SPECIAL).entries]
    text = TEXT | SPECIAL | more | {"model_type": kind}
    config = EarthGPTConfig(encoders=encoders, text_config=text, image_token_id=IMAGE, token_merge=2)
    model = initialise(config, 0).eval()
    # Otherwise an early end would leave little to compare.
    model.generation_config.suppress_tokens = [2]
    chance = torch.Generator().manual_seed(0)

    def ids(count):
        return torch.randint(3, 290, (count,), generator=chance).tolist()

    prefix, shared = [1] + [IMAGE] * config.image_slots, ids(40)
    prompts = [(number % 2, shared + ids(5 + number)) for number in range(8)]
    size = (2, 3, config.image_size, config.image_size)
    pixels = torch.randint(0, 256, size, generator=chance, dtype=torch.uint8)
    with torch.inference_mode():
        with last_position_alone(model):
            reading = read_prompts(model, prefix, read_prefixes(model, prefix, pixels), prompts, 0)
            output = model.generate(**vars(reading), max_new_tokens=ANSWER, do_sample=False)
        alone = [
            model.generate(
                input_ids=torch.tensor([prefix + own]),
                pixel_values=pixels[image : image + 1],
                max_new_tokens=ANSWER,
                do_sample=False,
            )[0, -ANSWER:].tolist()
            for image, own in prompts
        ]
    assert reading.past_key_values.get_seq_length() > len(prefix) + 20
    assert output[:, -ANSWER:].tolist() == alone
    assert len({tuple(each) for each in alone}) == len(alone)
