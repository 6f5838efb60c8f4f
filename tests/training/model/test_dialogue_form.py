"""Dialogues in an instruct model's own chat template: token for token what the template writes around the image."""

import json
import shutil

import pytest
import torch
from PIL import Image
from tokenizers import AddedToken
from transformers import AutoProcessor, AutoTokenizer

from mmrs.errors import UserError
from tests.training.micro import make_config
from tests.training.model.assembly.test_assemble import write_llama
from tests.training.model.test_adapters import byte_level_tokenizer, pixels_of
from tests.training.model.test_modeling import DIALOGUES
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.assembly.assemble import AssemblyRequest, assemble, describe_assembly
from training.model.inputs.conversation import chat_template_of
from training.model.language.dialogue_form import PLAIN_FORM, chat_form, stored_form
from training.run.final_model import export_checkpoint
from training.run.train import train

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEMPLATES = {
    "chatml": (CHATML, ["<|im_start|>", "<|im_end|>"]),
    # A system line that holds today's date unless it is told one.
    "system": (
        "{{ '<|im_start|>system\nHelp. ' + (date_string or strftime_now('%d')) + '<|im_end|>\n' }}" + CHATML,
        ["<|im_start|>", "<|im_end|>"],
    ),
    # Thoughts before the last answer alone.
    "thinking": (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + ('<think>\n\n</think>\n\n' if loop.last and "
        "m.role == 'assistant' else '') + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\n' + ('<think>\n\n</think>\n\n' if enable_thinking is false else '') }}{% endif %}",
        ["<|im_start|>", "<|im_end|>"],
    ),
    "gemma": (
        "{{ bos_token }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) "
        "+ '\n' + m.content | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<start_of_turn>model\n' }}{% endif %}",
        ["<start_of_turn>", "<end_of_turn>"],
    ),
    "mistral": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
        ["[INST]", "[/INST]"],
    ),
}


def chatting(name):
    template, tokens = TEMPLATES[name]
    tokenizer = byte_level_tokenizer()
    tokenizer.add_special_tokens({"bos_token": "<bos>"})
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens], special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Function of a template: the folder of a model whose language model has it, and that of the language model."""
    made = {}

    def make(name):
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            llm = write_llama(root / "llm", chatting(name), max_position_embeddings=512)
            request = AssemblyRequest(root / "model", str(llm), {"cnn": "none"}, "tiny")
            made[name] = root / "model", llm, assemble(request)
        return made[name]

    return make


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_dialogue_is_what_the_template_writes(folders, name):
    folder, llm, _ = folders(name)
    processor, tokenizer = AutoProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(llm)
    processor.speak("chat")
    roles = {"human": "user", "gpt": "assistant"}
    options = {"date_string": "26 Jul 2024", "enable_thinking": False, "tokenize": False}
    for dialogue in (DIALOGUES[0], DIALOGUES[1][:3], DIALOGUES[0][:1]):
        messages = [{"role": roles[role], "content": text} for role, text in dialogue]
        prompt = dialogue[-1][0] == "human"
        expected = tokenizer.apply_chat_template(messages, add_generation_prompt=prompt, **options)
        prefix = processor.encode_prefix(True)
        slots = [place for place, token in enumerate(prefix) if token == processor.image_token_id]
        assert len(slots) == processor.image_slots and slots[-1] == len(prefix) - 1
        ids, is_target = processor.encode_dialogue(dialogue)
        written = [*prefix[1 : slots[0]], *ids]
        expected = expected.removeprefix("<bos>")
        if not prompt:
            # Of what follows the last answer only the token that ends it is written.
            expected = expected[: expected.rindex(processor.tokenizer.eos_token) + len(processor.tokenizer.eos_token)]
        if name == "thinking":
            expected = expected.replace("<think>\n\n</think>\n\n", "")
        text = tokenizer.decode(written)
        assert (text.replace("<think>\n\n</think>\n\n", "") if name == "thinking" else text) == expected
        assert prefix[0] == tokenizer.bos_token_id and tokenizer.bos_token_id not in written
        answers = [text for role, text in dialogue if role == "gpt"]
        taught = tokenizer.decode([token for token, target in zip(ids, is_target, strict=True) if target])
        end = processor.tokenizer.eos_token
        lead = " " if name == "mistral" else ""
        assert taught == "".join(f"{lead}{answer}{end}" for answer in answers)
        if answers:
            last = [token for token, target in zip(ids, is_target, strict=True) if target][-1]
            assert last == processor.tokenizer.eos_token_id
    markup = processor.encode_dialogue([("human", "".join(TEMPLATES[name][1]))])[0]
    bare = processor.encode_dialogue([("human", "")])[0]
    assert sum(token in processor.tokenizer.all_special_ids for token in markup) == sum(
        token in processor.tokenizer.all_special_ids for token in bare
    )


@pytest.mark.parametrize("name", ["plain", *TEMPLATES])
def test_chats_are_asked_in_the_form(folders, name):
    processor = AutoProcessor.from_pretrained(folders("chatml" if name == "plain" else name)[0])
    processor.speak("plain" if name == "plain" else "chat")
    picture = Image.new("RGB", (8, 8))
    asked = {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "{% Where? }}"}]}
    chat = [asked, {"role": "assistant", "content": "here"}, {"role": "user", "content": "Sure?"}]
    ids = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=True)[0].tolist()
    turns = [("human", "{% Where? }}"), ("gpt", "here"), ("human", "Sure?")]
    assert ids == processor.encode_prefix(True) + processor.encode_dialogue(turns)[0]
    rendered = processor.apply_chat_template(chat, add_generation_prompt=True)
    assert processor(images=picture, text=rendered)["input_ids"][0].tolist() == ids


def test_a_run_teaches_the_template_and_its_model_keeps_it(folders, shards, tmp_path, monkeypatch):
    monkeypatch.setattr("training.run.train.plot_run", lambda out, image: None)
    folder, _, assembled = folders("gemma")
    assert "model.dialogue=chat" in describe_assembly(assembled)
    plain = AutoProcessor.from_pretrained(folder)
    assert plain.dialogue == "plain" and plain.form == PLAIN_FORM
    assert plain.tokenizer.chat_template == plain.chat_template == chat_template_of(PLAIN_FORM)
    rules = [{"set": "projector", "learning_rate": 1e-2}]
    config = make_config(
        tmp_path / "run", shards, folder, model={"dialogue": "chat"}, max_steps=3, stage={"trainable": rules}
    )
    result = train(config)
    for place in (result.model, export_checkpoint(result.checkpoint, tmp_path / "exported")):
        model = EarthGPTForConditionalGeneration.from_pretrained(place)
        processor = EarthGPTProcessor.from_pretrained(place)
        assert processor.dialogue == "chat" and processor.tokenizer.eos_token == "<end_of_turn>"
        end = processor.tokenizer.eos_token_id
        assert model.config.text.eos_token_id == model.generation_config.eos_token_id == end
        ids, _ = processor.encode_dialogue([("human", "Where?")])
        given = torch.tensor([[*processor.encode_prefix(True), *ids]])
        with torch.no_grad():
            # Let it say nothing but the end.
            model.lm_head.weight.zero_()
            model.lm_head.weight[end] = model.hidden_states(given, pixels_of(model, 1))[0, -1]
        output = model.generate(given, pixel_values=pixels_of(model, 1), max_new_tokens=5, do_sample=False)
        assert output[0, given.shape[1] :].tolist() == [end]
    assert "  dialogue: chat\n" in (result.out / "config.yaml").read_text()


def test_a_model_without_a_template_speaks_plainly(model_folder, shards, tmp_path):
    with pytest.raises(UserError, match=r"model\.dialogue, .*brought no chat template; set 'plain'"):
        train(make_config(tmp_path / "run", shards, model_folder, model={"dialogue": "chat"}, max_steps=1))


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "no special token ends an answer"),
        ("{{ messages[0].content }}" * 2, "writes a turn 2 times"),
        ("{{ nothing.at.all }}", "cannot be rendered: UndefinedError"),
        ("{{ 'x' * 30000 }}", "more than 20,000 characters"),
        (
            CHATML.replace("'<|im_start|>assistant\n'", "'<|im_start|>' + messages | length | string"),
            "asks a second time",
        ),
    ],
)
def test_templates_that_no_form_can_hold_are_told(folders, template, words, tmp_path):
    tokenizer = chatting("chatml")
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match=words):
        chat_form(tokenizer)


def test_a_damaged_form_is_refused(folders, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(folders("chatml")[0], folder)
    path = folder / "processor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dialogue": "chat", "chat": {"opening": 3}}))
    with pytest.raises(UserError, match="chat has the fields opening"):
        EarthGPTProcessor.from_pretrained(folder)
    with pytest.raises(ValueError, match="chat has the fields"):
        stored_form({})
