"""Code of strangers in model folders: named by a configuration, or packed in a pickle."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.attack_kinds.scene import Attempt, Scene

EVIL = "import os, pathlib\npathlib.Path(os.environ['MARK']).write_text('ran')\nclass T: pass\n"
NAMED = {
    "tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, "evil.T"]}, "tokenizer_class": "T"}),
    "processor": ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.T"}, "processor_class": "T"}),
    "image processor": ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.T"}}),
    "config": ("config.json", {"auto_map": {"AutoConfig": "evil.T", "AutoModelForImageTextToText": "evil.T"}}),
    "unknown type": (
        "config.json",
        {"model_type": "evil", "auto_map": {"AutoConfig": "evil.T", "AutoModelForCausalLM": "evil.T"}},
    ),
    "generation": ("generation_config.json", {"custom_generate": "evil.py"}),
    "code of a repository": ("config.json", {"auto_map": {"AutoConfig": "somebody/else--evil.T"}}),
}
COMMANDS = {
    "eval": "eval {model} {shards} --split train --task classification --limit 1 --out {out}/scores",
    "export-model": "export-model {model} {out}/exported",
    "export-model delta": "export-model {model} {out}/exported --form delta --base {model}",
    "inspect": "inspect {model}",
    "inspect recipe": "inspect tiny --set model.path={model} --set model.preset=null",
    "train": "train tiny --set model.path={model} --set model.preset=null --set data.folders={shards} "
    "--set out={out}/run --set epochs=null --set max_steps=1",
    "init llm": "init {out}/made --llm {model} --size tiny",
    "init encoder": "init {out}/made --encoder vit={model} --size tiny",
}
WEIGHTS = ("pytorch_model.bin", "model.safetensors", "adapter_model.bin", "training_args.bin", "tokenizer.model")


class _Evil:
    """A pickle of this writes the mark when it is loaded."""

    def __reduce__(self) -> Any:
        return Path.write_text, (Path(__import__("os").environ["MARK"]), "ran")


def attempts() -> Iterator[Attempt]:
    """Every place of code, every kind of pickle, with every command that opens a model."""
    for command in COMMANDS:
        for place in NAMED:
            yield Attempt("1 foreign code", f"{command}: {place}", partial(_named, place, command))
        for name in WEIGHTS:
            yield Attempt("1 foreign code", f"{command}: pickle {name}", partial(_pickled, name, command))
    for name in ("vit.pth", "vit.bin", "vit.pt", "cnn.safetensors"):
        yield Attempt("1 foreign code", f"init: checkpoint {name}", partial(_checkpoint, name))


def _type(scene: Scene, model: Path, command: str) -> None:
    places = {"model": model, "shards": scene.base / "shards", "out": scene.folder}
    scene.mmrs(*COMMANDS[command].format(**places).split(), typed="y\n" * 20)


def _named(place: str, command: str, scene: Scene) -> None:
    model = scene.copy("model")
    (model / "evil.py").write_text(EVIL)
    (model / "custom_generate").mkdir()
    (model / "custom_generate" / "generate.py").write_text(EVIL)
    name, entry = NAMED[place]
    path = model / name
    content = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(content | entry))
    _type(scene, model, command)


def _pickled(name: str, command: str, scene: Scene) -> None:
    import torch

    model = scene.copy("model")
    if name == "pytorch_model.bin":
        (model / "model.safetensors").unlink()
    torch.save({"weight": _Evil()}, model / name)
    _type(scene, model, command)


def _checkpoint(name: str, scene: Scene) -> None:
    path = scene.folder / name
    path.write_bytes(pickle.dumps({"weight": _Evil()}))
    scene.mmrs("init", scene.folder / "made", "--encoder", f"{path.stem}={path}", "--size", "tiny", may_pass=False)
    shutil.rmtree(scene.folder / "made", ignore_errors=True)
