"""Padding, truncation and tensors as transformers names them; images find their prompts."""

import numpy as np
import pytest
import torch
from PIL import Image

from training.model import EarthGPTImageProcessor, EarthGPTProcessor, train_tokenizer

PICTURE, OTHER = Image.new("L", (9, 9), 3), Image.new("L", (9, 9), 200)


@pytest.fixture(scope="module")
def asking():
    tokenizer = train_tokenizer(["Human: What is it?\nAssistant: a car"] * 4, 280)
    return EarthGPTProcessor(EarthGPTImageProcessor(16), tokenizer, image_slots=3)


def test_padding_as_it_is_asked_for(asking):
    texts = ["What is it?", "What?"]
    longest = asking(text=texts)
    assert longest["attention_mask"][1, 0] == 0 and longest["attention_mask"][:, -1].tolist() == [1, 1]
    right = asking(text=texts, padding_side="right")
    assert right["attention_mask"][1, -1] == 0 and right["attention_mask"][:, 0].tolist() == [1, 1]
    assert asking(text=texts, padding="max_length", max_length=99)["input_ids"].shape == (2, 99)
    assert asking(text=texts, pad_to_multiple_of=16)["input_ids"].shape[1] % 16 == 0
    rows = asking(text=texts, padding=False, return_tensors=None)["input_ids"]
    assert isinstance(rows, list) and len({len(row) for row in rows}) == 2
    assert isinstance(asking(text=texts, return_tensors="np")["input_ids"], np.ndarray)
    assert torch.equal(asking(text=texts, text_kwargs={"padding_side": "right"})["input_ids"], right["input_ids"])
    with pytest.raises(ValueError):
        asking(text=texts, padding=False)


def test_truncation_never_cuts_an_image(asking):
    cut = asking(images=PICTURE, text="What is it?", truncation=True, max_length=6)
    assert cut["input_ids"].shape == (1, 6) and asking.tokenizer.decode(cut["input_ids"][0, :4]).endswith("<image>" * 3)
    with pytest.raises(ValueError, match="the images of prompt 0 end at token 4"):
        asking(images=PICTURE, text="What is it?", truncation=True, max_length=3)
    with pytest.raises(ValueError, match="max_length is None"):
        asking(text="a", truncation=True)


def test_images_find_their_prompts(asking):
    def slots(**inputs):
        batch = asking(**inputs)
        counts = (batch["input_ids"] == asking.image_token_id).sum(1) // 3
        return counts.tolist(), len(batch.get("pixel_values", []))

    assert slots(images=[PICTURE, None], text=["a", "b"]) == ([1, 0], 1)
    assert slots(images=[[PICTURE, OTHER], []], text=["a", "b"]) == ([2, 0], 2)
    assert slots(images=[PICTURE, OTHER], text="a") == ([2], 2)
    assert slots(images=[PICTURE, OTHER, OTHER], text=["<s><image>a", "<s><image><image>b"]) == ([1, 2], 3)
    assert slots(images=[PICTURE, OTHER], text=["<s><image><image>b", "<s>a"]) == ([2, 0], 2)
    pixels = asking(images=[[PICTURE], [OTHER]], text=["a", "b"])["pixel_values"]
    assert pixels[0].max() == 3 and pixels[1].max() == 200
    batch = np.zeros((2, 9, 9, 3), np.uint8)
    assert asking(images=batch)["pixel_values"].shape == (2, 3, 16, 16)
    for inputs in (
        {"images": [PICTURE] * 3, "text": ["a", "b"]},
        {"images": [PICTURE, OTHER], "text": ["<s><image>a", "<s>a", "<s>b"]},
        {"images": [PICTURE], "text": "<s>a"},
    ):
        with pytest.raises(ValueError, match="images"):
            asking(**inputs)


def test_what_servers_ask_of_a_processor(asking):
    assert asking.image_token == "<image>" and asking.image_processor.size == {"height": 16, "width": 16}
    planned = asking._get_num_multimodal_tokens(image_sizes=[(10, 20), (30, 30)])
    assert planned["num_image_tokens"] == [3, 3] and planned["num_image_patches"] == [1, 1]
    prompt = asking.apply_chat_template(
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}],
        add_generation_prompt=True,
    )
    batch = asking(
        images=PICTURE, text=prompt, return_mm_token_type_ids=True, return_text_replacement_offsets=True, padding=False
    )
    assert (batch["mm_token_type_ids"] == (batch["input_ids"] == asking.image_token_id)).all()
    ((place,),) = batch["text_replacement_offsets"]
    assert place["span"] == (3, 10) and place["replacement"] == "<image>" * 3
    # They tokenise a prompt without its images, whose placeholders then stand alone.
    alone = asking(text=prompt)["input_ids"][0].tolist()
    assert alone.count(asking.image_token_id) == 1
    assert asking(images=PICTURE)["pixel_values"].shape == (1, 3, 16, 16)


def test_offsets_are_those_of_a_rendered_prompt(asking):
    with pytest.raises(ValueError, match="rendered alone"):
        asking(images=PICTURE, text="What?", return_text_replacement_offsets=True)


def test_a_keyword_with_two_values_is_refused(asking):
    with pytest.raises(ValueError, match="max_length is 9, and 8 in text_kwargs"):
        asking(text="a", max_length=9, text_kwargs={"max_length": 8})
    assert asking(text="a", padding=True, text_kwargs={"padding": True})["input_ids"].shape[0] == 1


def test_misspelt_keywords_are_refused(asking):
    for name in ("paddings", "do_resize"):
        with pytest.raises(TypeError, match=f"'{name}' is no argument of EarthGPTProcessor"):
            asking(text="a", **{name: True})
    with pytest.raises(TypeError, match="no argument of EarthGPTImageProcessor"):
        asking.image_processor(PICTURE, do_resize=True)
    for name, value in (("padding", "all"), ("padding_side", "middle")):
        with pytest.raises(ValueError, match=f"{name} is '{value}'"):
            asking(text="a", **{name: value})
