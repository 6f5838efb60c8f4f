"""Damages of a model folder, each a function of the folder."""

import json
import os

WEIGHTS = "model.safetensors"


def edited(name, **changes):
    def damage(folder):
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changes))

    return damage


DAMAGES = {
    "weights cut": lambda folder: os.truncate(folder / WEIGHTS, 5000),
    "weights of no bytes": lambda folder: os.truncate(folder / WEIGHTS, 0),
    "a header of gigabytes": lambda folder: (folder / WEIGHTS).write_bytes(b"\xff" * 7 + b"\x00" + b"{}"),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "config is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "config is a number": lambda folder: (folder / "config.json").write_text("3"),
    "config is cut": lambda folder: os.truncate(folder / "config.json", 40),
    "config is nested": lambda folder: (folder / "config.json").write_text("[" * 100_000),
    "encoders are none": edited("config.json", encoders=3),
    "decoder is none": edited("config.json", text_config=[]),
    "other sizes": edited("config.json", fusion="nonsense"),
    "notes of another kind": edited("config.json", origin={"parts": [3]}),
    "tokenizer missing": lambda folder: (folder / "tokenizer.json").unlink(),
    "tokenizer cut": lambda folder: os.truncate(folder / "tokenizer.json", 100),
    "processor of other slots": edited("processor_config.json", image_slots=7),
    "processor is a list": lambda folder: (folder / "processor_config.json").write_text("[]"),
}
