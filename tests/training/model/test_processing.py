"""Padded squares, the prompt format, and inference prompts made of the pieces that training uses."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.model import EarthGPTImageProcessor, EarthGPTProcessor, pad_and_resize, train_tokenizer

COLOUR = (122, 116, 104)


def grey(width, height, value=200):
    return Image.new("L", (width, height), value)


@pytest.mark.parametrize(
    ("width", "height", "left", "top"), [(7, 4, 0, 1), (4, 7, 1, 0), (6, 4, 0, 1), (5, 5, 0, 0), (1, 6, 2, 0)]
)
def test_padding_is_centred_with_the_offset_rounded_down(width, height, left, top):
    side = max(width, height)
    square = pad_and_resize(grey(width, height), side)
    expected = np.empty((side, side, 3), np.uint8)
    expected[:] = COLOUR
    expected[top : top + height, left : left + width] = 200
    assert square.dtype == np.uint8 and square.shape == (3, side, side)
    assert np.array_equal(square.transpose(1, 2, 0), expected)


def test_pictures_are_turned_upright_before_they_are_padded():
    """The eight orientations of EXIF: where the stored row 0 and column 0 lie in the upright picture."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 64, 3), dtype=np.uint8)
    swapped = pixels.swapaxes(0, 1)
    stored = [
        *(pixels, pixels[:, ::-1], pixels[::-1, ::-1], pixels[::-1]),
        *(swapped, swapped[::-1], swapped[::-1, ::-1], swapped[:, ::-1]),
    ]
    processor = EarthGPTImageProcessor(32)
    expected = processor(Image.fromarray(pixels))["pixel_values"]
    for orientation, turned in enumerate(stored, 1):
        tags = Image.Exif()
        tags[0x0112] = orientation
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(turned)).save(file, "PNG", exif=tags)
        with Image.open(file) as image:
            assert torch.equal(processor(image)["pixel_values"], expected), orientation


def test_resize_averages_over_what_it_drops():
    checks = Image.fromarray((np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8))
    shrunk = pad_and_resize(checks, 32).astype(int)
    assert abs(shrunk - 127).max() <= 2
    half = Image.fromarray(np.repeat([[0, 255]], 256, 0).repeat(128, 1).astype(np.uint8))
    left_right = pad_and_resize(half, 32)[0]
    assert left_right[:, :15].max() <= 12 and left_right[:, 17:].min() >= 243


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("width", "height", "size"), [(64, 48, 20), (64, 1, 63), (33, 32, 80), (119, 50, 20), (120, 50, 20), (300, 90, 20)]
)
def test_wide_images_are_resized_as_if_padded_first(mode, width, height, size):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise if mode == "RGB" else noise[..., 0])
    square = Image.new("RGB", (width, width), COLOUR)
    square.paste(image.convert("RGB"), (0, (width - height) // 2))
    plain = square.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    assert np.array_equal(pad_and_resize(image, size), np.asarray(plain).transpose(2, 0, 1))


def test_channels_of_the_accepted_modes():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    colour = Image.fromarray(pixels[..., :3])
    assert np.array_equal(pad_and_resize(colour, 8), pixels[..., :3].transpose(2, 0, 1))
    assert np.array_equal(pad_and_resize(Image.fromarray(pixels), 8), pad_and_resize(colour, 8))
    single = Image.fromarray(pixels[..., 0])
    assert np.array_equal(pad_and_resize(single, 8), np.stack([pixels[..., 0]] * 3))


@pytest.mark.parametrize("mode", ["I;16", "F", "P", "1", "CMYK", "LA"])
def test_other_modes_are_refused_by_name(mode):
    with pytest.raises(ValueError, match=f"image mode is '{mode}'"):
        pad_and_resize(Image.new(mode, (8, 8)), 8)


def test_image_processor_gives_uint8_batches():
    batch = EarthGPTImageProcessor(16)([grey(20, 10), grey(8, 9)])["pixel_values"]
    assert batch.shape == (2, 3, 16, 16) and batch.dtype == torch.uint8
    assert EarthGPTImageProcessor(16)(grey(8, 9))["pixel_values"].shape == (1, 3, 16, 16)


def test_sequence_reads_as_documented(processor):
    prefix = processor.encode_prefix(True)
    turns = [("human", "What?"), ("gpt", "golf course"), ("human", "Sure?"), ("gpt", "yes")]
    ids, is_target = processor.encode_dialogue(turns)
    assert processor.tokenizer.decode(prefix) == "<s>" + "<image>" * processor.image_slots
    assert processor.encode_prefix(False) == prefix[:1]
    decoded = processor.tokenizer.decode(ids)
    assert decoded == "Human: What?\nAssistant: golf course</s>Human: Sure?\nAssistant: yes</s>"
    targets = [token for token, target in zip(ids, is_target, strict=True) if target]
    assert processor.tokenizer.decode(targets) == " golf course</s> yes</s>"


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.text(max_size=20) | st.sampled_from(["<s>", "</s>", "<pad>", "<image>", "a<image>b", " ", "\n"]),
        min_size=2,
        max_size=6,
    )
)
def test_texts_never_become_special_tokens(shared_processor, texts):
    turns = [(("human", "gpt")[index % 2], text) for index, text in enumerate(texts)]
    ids, is_target = shared_processor.encode_dialogue(turns)
    special = [token for token in ids if token in shared_processor.tokenizer.all_special_ids]
    assert special == [shared_processor.tokenizer.eos_token_id] * (len(texts) // 2)
    spans = shared_processor.tokenizer.decode([token for token, target in zip(ids, is_target, strict=True) if target])
    assert spans == "".join(f" {text}</s>" for role, text in turns if role == "gpt")


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=40) | st.sampled_from(["</s>", "a<image>b", "There are <p>12 cars</p>[0.120,0.500]."]))
def test_text_is_encoded_as_by_the_tokenizer_whatever_it_was_set_to_before(shared_processor, text):
    tokenizer = shared_processor.tokenizer
    tokenizer(["a b c", "a"], padding="max_length", truncation=True, max_length=2)
    ids, _ = shared_processor.encode_dialogue([("human", text)])
    assert ids == tokenizer.encode(f"Human: {text}\nAssistant:", add_special_tokens=False, split_special_tokens=True)


@settings(deadline=None, max_examples=100)
@given(question=st.text(max_size=20), answer=st.text(max_size=20))
def test_prompt_is_the_start_of_what_was_trained(shared_processor, question, answer):
    trained = (
        shared_processor.encode_prefix(False)
        + shared_processor.encode_dialogue([("human", question), ("gpt", answer)])[0]
    )
    prompt = shared_processor(text=[question])["input_ids"][0].tolist()
    assert trained[: len(prompt)] == prompt
    output = torch.tensor([trained])
    assert shared_processor.decode_answers(output, len(prompt)) == [answer]


@pytest.fixture(scope="module")
def shared_processor():
    tokenizer = train_tokenizer(["Human: What is it?\nAssistant: a car"] * 4, 280)
    return EarthGPTProcessor(EarthGPTImageProcessor(16), tokenizer, image_slots=3)


@pytest.mark.parametrize("turns", [[("gpt", "a")], [("human", "a"), ("human", "b")], [("user", "a")]])
def test_roles_must_alternate(shared_processor, turns):
    with pytest.raises(ValueError, match=r"turn \d has role"):
        shared_processor.encode_dialogue(turns)


def test_prompts_are_padded_on_the_left(shared_processor):
    history = [("human", "a"), ("gpt", "b"), ("human", "c")]
    batch = shared_processor(images=[grey(9, 9), None, grey(4, 8)], text=["one", "a longer question", history])
    length = batch["input_ids"].shape[1]
    rows = [
        shared_processor.encode_prefix(True) + shared_processor.encode_dialogue([("human", "one")])[0],
        shared_processor.encode_prefix(False) + shared_processor.encode_dialogue([("human", "a longer question")])[0],
        shared_processor.encode_prefix(True) + shared_processor.encode_dialogue(history)[0],
    ]
    pad = shared_processor.tokenizer.pad_token_id
    assert batch["input_ids"].tolist() == [[pad] * (length - len(row)) + row for row in rows]
    assert batch["attention_mask"].tolist() == [[0] * (length - len(row)) + [1] * len(row) for row in rows]
    expected = np.stack([pad_and_resize(grey(9, 9), 16), pad_and_resize(grey(4, 8), 16)])
    assert np.array_equal(batch["pixel_values"].numpy(), expected)
    assert "pixel_values" not in shared_processor(text="no image")


def test_one_image_and_one_question_need_no_lists(shared_processor):
    single = shared_processor(images=grey(9, 9), text="one")
    listed = shared_processor(images=[grey(9, 9)], text=["one"])
    assert torch.equal(single["input_ids"], listed["input_ids"])
    assert torch.equal(single["pixel_values"], listed["pixel_values"])


def test_images_must_match_the_prompts(shared_processor):
    with pytest.raises(ValueError, match="3 images for 2 prompts"):
        shared_processor(images=[grey(9, 9)] * 3, text=["one", "two"])
    for text in ("", [], None):
        with pytest.raises(ValueError, match="text is empty"):
            shared_processor(text=text)


def test_answers_end_at_the_end_token(shared_processor):
    eos, pad = shared_processor.tokenizer.eos_token_id, shared_processor.tokenizer.pad_token_id
    answer = shared_processor.tokenizer.encode(" 2 cars", add_special_tokens=False)
    rows = torch.tensor([[5, 5, *answer, eos, pad], [5, 5, *answer[:-1], eos, pad, pad]])
    assert shared_processor.decode_answers(rows, 2)[0] == "2 cars"
    assert "2 cars".startswith(shared_processor.decode_answers(rows, 2)[1])


def test_tokenizer_without_padding_is_refused(shared_processor):
    bare = train_tokenizer(["a"], 260)
    bare.pad_token = None
    with pytest.raises(ValueError, match="pad_token_id is None"):
        EarthGPTProcessor(EarthGPTImageProcessor(16), bare)


@pytest.mark.nightly
def test_a_strip_is_padded_in_bounded_memory():
    """The square of 70,000 pixels would have 15 GB."""
    strip = Image.new("RGB", (70_000, 64), (200, 10, 10))
    square = pad_and_resize(strip, 32)
    assert square.shape == (3, 32, 32)
    np.testing.assert_array_equal(square, pad_and_resize(strip.resize((14_000, 13)), 32))
