"""A published model loads where this package is not: from a folder and from a Hub, by the very code of its card."""

import ast
import importlib
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from safetensors.torch import load_file
from transformers.dynamic_module_utils import get_imports, get_relative_import_files

from tests.support.hub_server import TOKEN, serve_hub
from tests.support.models import save_tiny_model
from training.model import EarthGPTForConditionalGeneration, EarthGPTProcessor
from training.model.modeling.pretrained import part_modules
from training.model.published.modelling_code import AUTO_MAP, code_files, flat_name, flattened

# Neither package nor checkout: whatever imports them fails.
WITHOUT_PACKAGE = """
import sys


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mmrs", "training", "converters", "cli"):
            raise ModuleNotFoundError(f"No module named {name!r}")


sys.meta_path.insert(0, Absent())
"""
COMPARED = """
import json, torch
from safetensors.torch import save_file
from transformers import AutoModel

save_file({name: value.contiguous() for name, value in model.state_dict().items()}, "state.safetensors")
with torch.no_grad():
    logits = model(**inputs).logits
    states = AutoModel.from_pretrained("FOLDER", trust_remote_code=True)(**inputs).last_hidden_state
assert torch.equal(model.lm_head(states), logits)
chat = [{"role": "user", "content": [{"type": "image", "path": "IMAGE"}, {"type": "text", "text": "How many?"}]}]
said = ask(text=chat, max_new_tokens=4, return_full_text=False)[0]["generated_text"]
save_file({"logits": logits, "ids": inputs["input_ids"], "pixels": inputs["pixel_values"]}, "outputs.safetensors")
print(json.dumps({"module": type(model).__module__, "said": said}))
"""
SAVED_AGAIN = """
model.save_pretrained("again")
processor.save_pretrained("again")
AutoModelForImageTextToText.from_pretrained("again", trust_remote_code=True)
AutoProcessor.from_pretrained("again", trust_remote_code=True)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("published") / "tiny")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "scene.png"
    Image.radial_gradient("L").resize((90, 60)).convert("RGB").save(path)
    return path


def card_script(folder, place, picture):
    """The code blocks of the folder's card, then what compares. Answers are shorter than the card's, to save time."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    script = "\n".join([*blocks, COMPARED]).replace("FOLDER", str(place)).replace("IMAGE", str(picture))
    return script.replace("max_new_tokens=256", "max_new_tokens=12")


@pytest.fixture(scope="module")
def loaded(folder, picture, tmp_path_factory):
    """What a process without the package made of the folder and of the same model on a Hub; one process, since its
    imports take seconds. Folder by place, and what each printed."""
    where = tmp_path_factory.mktemp("elsewhere")
    lines = [WITHOUT_PACKAGE, "import os"]
    places = {"folder": folder, "hub": "tester/earth"}
    for name, place in places.items():
        (where / name).mkdir()
        script = card_script(folder, place, picture) + (SAVED_AGAIN if name == "folder" else "")
        lines += [f"os.chdir({str(where / name)!r})", f"exec({script!r}, {{}})", "print('----')"]
    with serve_hub() as hub, pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", hub.url)
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        EarthGPTForConditionalGeneration.from_pretrained(folder).push_to_hub("tester/earth", token=TOKEN)
        EarthGPTProcessor.from_pretrained(folder).push_to_hub("tester/earth", token=TOKEN)
        pushed = {name: content for name, (_, content) in hub.repos["tester/earth"].files.items()}
        on_hub = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", "\n".join(lines)],
            env={**os.environ, "HF_HOME": str(where / "cache"), "OMP_NUM_THREADS": "1", **on_hub},
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return where, dict(zip(places, done.stdout.split("----\n"), strict=False)), pushed


@pytest.mark.parametrize(("place", "start"), [("folder", "tiny"), ("hub", "tester.earth")])
def test_the_code_of_the_card_runs_without_the_package(folder, picture, loaded, place, start):
    where, printed, _ = loaded
    told = json.loads(printed[place].splitlines()[-1])
    assert re.fullmatch(rf"transformers_modules\.{start}\.\w+\.modeling_earthgpt", told["module"])
    model = EarthGPTForConditionalGeneration.from_pretrained(folder).eval()
    processor = EarthGPTProcessor.from_pretrained(folder)
    state, expected = load_file(where / place / "state.safetensors"), model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    outputs = load_file(where / place / "outputs.safetensors")
    inputs = processor(images=Image.open(picture), text="Please detect all objects in this image.")
    assert torch.equal(outputs["ids"], inputs["input_ids"]) and torch.equal(outputs["pixels"], inputs["pixel_values"])
    with torch.no_grad():
        torch.testing.assert_close(outputs["logits"], model(**inputs).logits, atol=1e-5, rtol=1e-5)
    output = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    assert processor.decode_answers(output, inputs["input_ids"].shape[1])[0] in printed[place]


def test_pushed_is_what_is_saved(folder, loaded):
    """Model and processor each with their own `push_to_hub`, the card that shows the code included."""
    pushed = loaded[2]
    saved = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert pushed.keys() - {".gitattributes"} == saved.keys()
    assert {name for name in saved if saved[name] != pushed[name]} <= {"config.json", "tokenizer_config.json"}
    config = json.loads(pushed["config.json"])
    assert (config["auto_map"], config["model_type"]) == (AUTO_MAP, "earthgpt")


def test_a_loaded_model_is_saved_with_its_code(folder, loaded):
    again = loaded[0] / "folder" / "again"
    names = {path.name for path in folder.glob("*.py")}
    assert names == {path.name for path in again.glob("*.py")}
    assert all((folder / name).read_text() == (again / name).read_text() for name in names)
    assert json.loads((again / "config.json").read_text())["auto_map"] == AUTO_MAP


def bare(source):
    """The syntax of a source without its imports and what is for types alone."""
    return [
        ast.dump(node)
        for node in ast.parse(source).body
        if not isinstance(node, ast.Import | ast.ImportFrom)
        and not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test))
    ]


def test_nothing_but_imports_is_changed(folder):
    files = code_files()
    assert {path.name for path in folder.glob("*.py")} == set(files)
    for module in (
        "training.model.modeling.generation",
        "training.model.modeling.model",
        "training.model.processing",
        "mmrs.imaging.render",
    ):
        written = (folder / f"{flat_name(module)}.py").read_text()
        assert written == files[f"{flat_name(module)}.py"]
        source = importlib.import_module(module).__loader__.get_source(module)
        assert bare(written) == bare(source)


def test_everything_is_there_and_needs_only_what_transformers_needs(folder):
    needed = {"torch", "transformers", "PIL", "numpy", "huggingface_hub", "safetensors", "tokenizers", "jinja2"}
    reached = {path.rpartition("/")[2] for path in get_relative_import_files(folder / "earthgpt.py")} | {"earthgpt.py"}
    assert reached == {path.name for path in folder.glob("*.py")}
    for path in folder.glob("*.py"):
        assert set(get_imports(path)) - needed <= set(sys.stdlib_module_names), path


def test_parts_of_another_project_come_with_the_model(tmp_path, monkeypatch):
    (tmp_path / "their_vit.py").write_text(
        "import torch\nfrom training.model.vision.patches import PatchEncoder\n\n\nclass TheirViT(PatchEncoder): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    files = code_files(("their_vit", "training.model.language.llama"))
    assert "from .their_vit import" in files["registered_parts.py"]
    assert "from .vision_patches import PatchEncoder" in files["their_vit.py"]
    assert files.keys() - code_files().keys() == {"their_vit.py"}


def test_the_modules_of_a_models_parts(make_config):
    found = {"training.model.vision.dinov2", "training.model.vision.convnext", "training.model.language.llama"}
    assert set(part_modules(make_config())) == found


@pytest.mark.parametrize("line", ["import training.model.masks\n", "from training.model import masks\n"])
def test_a_module_in_the_place_of_names_is_refused(tmp_path, monkeypatch, line):
    name = f"odd_{len(line)}"
    (tmp_path / f"{name}.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="as a module; import the names"):
        flattened(name)
