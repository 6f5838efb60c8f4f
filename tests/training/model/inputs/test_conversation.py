"""A chat is asked in the very pieces of training, and rendered as the text that they are of."""

import base64

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from training.model import EarthGPTImageProcessor, EarthGPTProcessor, train_tokenizer
from training.model.inputs.conversation import conversation_of

PICTURE = Image.radial_gradient("L").resize((20, 12))


@pytest.fixture(scope="module")
def chatting():
    tokenizer = train_tokenizer(["Human: What is it?\nAssistant: a car"] * 4, 280)
    return EarthGPTProcessor(EarthGPTImageProcessor(16), tokenizer, image_slots=3)


def user(*texts, images=1):
    return {"role": "user", "content": [{"type": "image", "image": PICTURE}] * images + [text(each) for each in texts]}


def text(content):
    return {"type": "text", "text": content}


def assistant(said):
    return {"role": "assistant", "content": said}


CHATS = {
    "one question": [user("What?")],
    "text alone": [{"role": "user", "content": "What?"}],
    "several turns": [user("What?"), assistant("a car"), user("Sure?", images=0)],
    "several images": [user("Compare.", images=2), assistant("equal"), user("And this?")],
    "several texts": [user("One.", "Two.")],
}


@pytest.mark.parametrize("name", CHATS)
def test_the_rendered_text_has_the_tokens_of_the_chat(chatting, name):
    chat = CHATS[name]
    inputs = chatting.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
    rendered = chatting.apply_chat_template(chat, add_generation_prompt=True)
    images = [
        part["image"] for message in chat for part in message["content"] if isinstance(part, dict) and "image" in part
    ]
    again = chatting(images=images or None, text=rendered)
    assert inputs.keys() == again.keys()
    assert all(torch.equal(inputs[key], again[key]) for key in inputs)
    assert chatting.tokenizer.decode(inputs["input_ids"][0]) == rendered.replace("<image>", "<image>" * 3)


def test_it_is_what_training_reads(chatting):
    chat = CHATS["several turns"]
    ids = chatting.apply_chat_template(chat, add_generation_prompt=True, tokenize=True)[0].tolist()
    turns = [("human", "What?"), ("gpt", "a car"), ("human", "Sure?")]
    assert ids == chatting.encode_prefix(True) + chatting.encode_dialogue(turns)[0]
    masks = chatting.apply_chat_template(chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    said = [
        token for token, is_answer in zip(masks["input_ids"][0], masks["assistant_masks"][0], strict=True) if is_answer
    ]
    assert chatting.tokenizer.decode(said) == " a car</s>"


def test_an_answer_is_gone_on_with(chatting):
    chat = [user("What?"), assistant("a ca")]
    rendered = chatting.apply_chat_template(chat, continue_final_message=True)
    assert rendered == "<s><image>Human: What?\nAssistant: a ca"
    ids = chatting.apply_chat_template(chat, continue_final_message=True, tokenize=True)
    assert chatting.tokenizer.decode(ids[0]) == rendered.replace("<image>", "<image>" * 3)
    with pytest.raises(ValueError, match="the last message is the user's"):
        chatting.apply_chat_template(chat[:1], continue_final_message=True, tokenize=True)
    bare = chatting.apply_chat_template(chat[:1], tokenize=True)[0]
    assert chatting.tokenizer.decode(bare) == "<s>" + "<image>" * 3 + "Human: What?"


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=20) | st.sampled_from(["<s>", "</s>", "<image>", "\nAssistant: no", "{{ bos_token }}"]))
def test_nothing_that_a_message_says_is_special(chatting, said):
    chat = [user(said), assistant(said), user(said, images=0)]
    ids = chatting.apply_chat_template(chat, add_generation_prompt=True, tokenize=True)[0].tolist()
    special = [token for token in ids if token in chatting.tokenizer.all_special_ids]
    tokenizer = chatting.tokenizer
    assert special == [tokenizer.bos_token_id] + [chatting.image_token_id] * 3 + [tokenizer.eos_token_id]


def test_batches_are_padded_on_the_left(chatting):
    batch = chatting.apply_chat_template(
        [CHATS["one question"], CHATS["several turns"]], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    assert batch["pixel_values"].shape[0] == 2
    assert batch["attention_mask"][0, 0] == 0 and batch["attention_mask"][:, -1].tolist() == [1, 1]
    whole = batch["input_ids"].shape[1]
    options = {"processor_kwargs": {"padding": "max_length", "max_length": whole + 5, "return_tensors": "np"}}
    padded = chatting.apply_chat_template(
        CHATS["one question"], add_generation_prompt=True, tokenize=True, return_dict=True, **options
    )
    assert isinstance(padded["input_ids"], np.ndarray) and padded["input_ids"].shape[1] == whole + 5


@pytest.mark.parametrize("kind", ["path", "url", "image_url", "address"])
def test_images_of_a_message(chatting, tmp_path, kind):
    path = tmp_path / "scene.png"
    PICTURE.save(path)
    address = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    part = {
        "path": {"type": "image", "path": str(path)},
        "url": {"type": "image", "url": str(path)},
        "image_url": {"type": "image_url", "image_url": {"url": address}},
        "address": {"type": "image", "url": address},
    }[kind]
    chat = [{"role": "user", "content": [part, text("What?")]}]
    found = chatting.apply_chat_template(chat, add_generation_prompt=True, tokenize=True, return_dict=True)
    assert torch.equal(found["pixel_values"], chatting.image_processor(PICTURE)["pixel_values"])


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        ([], "no messages"),
        ([{"role": "system", "content": "Be brief."}], "no system turn"),
        ([user("a"), user("b")], "message 1 has the role 'user'"),
        ([assistant("a")], "expected 'user'"),
        ([user("a"), {"role": "tool", "content": "a"}], "'tool'"),
        ([{"role": "user", "content": [{"type": "video", "video": "a"}]}], "'video'"),
        ([{"role": "user", "content": [{"type": "image"}]}], "an image without data"),
        ([{"role": "user", "content": 3}], "content of int"),
        ([user("a"), {"role": "assistant", "content": [{"type": "image", "image": PICTURE}]}], "images belong to"),
        ([{"role": "user", "content": [{"type": "image", "url": "data:image/png;base64,!"}]}], "no picture"),
        ([{"role": "user", "content": [{"type": "image", "url": "data:text/html,a"}]}], "no address of the form"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(chat, reason):
    with pytest.raises(ValueError, match=reason):
        conversation_of(chat)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n", "no picture"),
        (b"\xff\xd8" + b"\xff\xda\x00\x02" * 101, "more than 100 scans"),
    ],
)
def test_pictures_that_are_programs_or_endless_work_are_refused(data, reason):
    address = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    with pytest.raises(ValueError, match=reason):
        conversation_of([{"role": "user", "content": [{"type": "image", "url": address}]}])


def test_tools_and_addresses_are_refused(chatting):
    for how in ({"tokenize": True}, {}):
        with pytest.raises(ValueError, match="tools are given"):
            chatting.apply_chat_template(CHATS["one question"], tools=[{"name": "a"}], **how)
    remote = [{"role": "user", "content": [{"type": "image", "url": "https://example.org/a.png"}, text("What?")]}]
    with pytest.raises(ValueError, match="is an address, and nothing is fetched"):
        chatting.apply_chat_template(remote, tokenize=True)
