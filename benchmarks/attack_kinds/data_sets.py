"""Finished data sets, model folders and runs of strangers, or damaged ones, before every command that opens one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.attack_kinds.scene import Attempt, Scene

DATA_COMMANDS = {
    "stats": "stats {data}",
    "report": "report {data} --out {out}/page.html",
    "curate": "curate {data} --out {out} --workers 1",
    "verify": "verify {data} --workers 1",
    "train": "train tiny --set model.path={model} --set model.preset=null --set data.folders={data} "
    "--set out={out}/run --set epochs=null --set max_steps=1 --set workers=0",
    "eval": "eval {model} {data} --split train --task classification --out {out}/eval --limit 1",
    "score": "score {answers} {data} --split train --out {out}/score",
    "merge": "merge {data} {further} --out {out}/both --workers 1",
    "merge into": "merge {further} --out {data} --workers 1",
    "split": "split {data} --by split --out {out}/parts --workers 1",
    "export": "export {data} --format llava --out {out}/export",
    "push": "push {data} org/toy --dry-run --endpoint http://127.0.0.1:9",
}
MODEL_COMMANDS = {
    "eval": "eval {model} {data} --split train --task classification --limit 1 --out {out}/eval",
    "export": "export-model {model} {out}/export",
    "export delta": "export-model {model} {out}/export --form delta --base {sound}",
    "inspect": "inspect {model}",
    "train": "train tiny --set model.path={model} --set model.preset=null --set data.folders={data} "
    "--set out={out}/run --set epochs=null --set max_steps=1 --set workers=0",
}
RUN_FILES = ("config.yaml", "metrics.jsonl", "checkpoints")


def attempts() -> Iterator[Attempt]:
    """Every damage with every command."""
    from tests.support.damaged_data_sets import BROKEN, SEALED
    from tests.support.damaged_models import DAMAGES

    for damage in [*SEALED, *BROKEN]:
        for command in DATA_COMMANDS:
            yield Attempt("6 data sets", f"{command}: {damage}", partial(_data_set, damage, command))
    for damage in DAMAGES:
        for command in MODEL_COMMANDS:
            yield Attempt("9 damaged folders", f"{command}: model: {damage}", partial(_model, damage, command))
    for damage in CHECKPOINTS:
        for command in ("train", "export-checkpoint"):
            yield Attempt("9 damaged folders", f"{command}: run: {damage}", partial(_run, damage, command))


def _data_set(damage: str, command: str, scene: Scene) -> None:
    from tests.support.damaged_data_sets import BROKEN, SEALED, UNSEEN, Damaged

    data = scene.copy("shards")
    made = Damaged(data)
    (SEALED | BROKEN)[damage](made)
    if damage in SEALED:
        made.seal()
    out = scene.folder / "out"
    out.mkdir()
    places = {"data": data, "out": out, "model": scene.base / "model", "answers": scene.base / "answers.jsonl"}
    places["further"] = scene.base / "further"
    is_found = command == "verify" and damage not in UNSEEN
    scene.mmrs(*DATA_COMMANDS[command].format(**places).split(), may_pass=not is_found)


def _model(damage: str, command: str, scene: Scene) -> None:
    from tests.support.damaged_models import DAMAGES

    model = scene.copy("model")
    DAMAGES[damage](model)
    places = {"model": model, "data": scene.base / "shards", "out": scene.folder, "sound": scene.base / "model"}
    scene.mmrs(*MODEL_COMMANDS[command].format(**places).split())


def _files(run: Path) -> list[Path]:
    return sorted(path for path in (run / "checkpoints").rglob("*") if path.is_file())


def _cut(run: Path) -> None:
    for path in _files(run):
        os.truncate(path, path.stat().st_size // 2)


def _empty(run: Path) -> None:
    for path in _files(run):
        os.truncate(path, 0)


def _flipped(run: Path) -> None:
    for path in _files(run):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)


def _lists(run: Path) -> None:
    for path in _files(run):
        if path.suffix == ".json":
            path.write_text("[]")


def _nested(run: Path) -> None:
    for path in _files(run):
        if path.suffix == ".json":
            path.write_text("[" * 100_000)


def _pickles(run: Path) -> None:
    import torch

    from benchmarks.attack_kinds.foreign_code import _Evil

    for path in _files(run):
        if path.suffix in (".pt", ".bin", ".pth"):
            torch.save({"model": _Evil()}, path)


def _without(run: Path) -> None:
    for path in _files(run)[::2]:
        path.unlink()


def _pipes(run: Path) -> None:
    for path in _files(run):
        path.unlink()
        os.mkfifo(path)


def _configuration(run: Path) -> None:
    (run / "config.yaml").write_text("a: [" * 5_000)


def _metrics(run: Path) -> None:
    (run / "metrics.jsonl").write_bytes(b"\xff\n" + json.dumps({"step": "x\x1b[2J"}).encode() + b"\n{}\n")


CHECKPOINTS: dict[str, Callable[[Path], None]] = {
    "checkpoints cut": _cut,
    "checkpoints of no bytes": _empty,
    "checkpoints with flipped bytes": _flipped,
    "JSON of checkpoints are lists": _lists,
    "JSON of checkpoints nested": _nested,
    "pickles in checkpoints": _pickles,
    "half of the files missing": _without,
    "pipes in checkpoints": _pipes,
    "configuration without end": _configuration,
    "metrics of other kinds": _metrics,
}


def _run(damage: str, command: str, scene: Scene) -> None:
    run = scene.copy("run")
    CHECKPOINTS[damage](run)
    model, data = scene.base / "model", scene.base / "shards"
    words = {
        "train": f"train tiny --set model.path={model} --set model.preset=null --set data.folders={data} "
        f"--set out={run} --set epochs=null --set max_steps=3 --set workers=0 --set checkpoint.every_steps=1",
        "export-checkpoint": f"export-checkpoint {next((run / 'checkpoints').iterdir())} {scene.folder / 'exported'}",
    }
    scene.mmrs(*words[command].split())
