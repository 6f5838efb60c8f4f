"""Where we write: files and links of somebody else in the place of every output, under every name that is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.attack_kinds.scene import Attempt, Scene, fingerprint

MINE = b"all that I wrote in three years"


@dataclass(frozen=True)
class Writer:
    """A command that writes; ``{out}`` of its words is a folder or, with `is_file`, a file.

    `names` are files that it writes into the folder.
    """

    words: str
    names: tuple[str, ...] = ()
    is_file: bool = False


ANSWERS = "{base}/answers.jsonl"
WRITERS: Mapping[str, Writer] = {
    "build": Writer(
        "build generic --root own={base}/own --option description={base}/own/mmrs.yaml --workers 1 --out {out}",
        ("manifest.json", "quarantine.jsonl", ".build/lock", "own/train-00000-of-00001.tar"),
    ),
    "sample": Writer("sample ssdd --out {out}", ("JPEGImages/1.jpg",)),
    "curate": Writer("curate {base}/shards --workers 1 --out {out}", ("curation.json", "curation.jsonl")),
    "report": Writer("report {base}/shards --out {out}", is_file=True),
    "stats": Writer("stats {base}/shards --parquet {out}", ("split.parquet", "class.parquet")),
    "score": Writer(
        f"score {ANSWERS} {{base}}/shards --split train --task classification --out {{out}}",
        ("scores.json", "evaluation.html", "predictions.png"),
    ),
    "eval": Writer(
        "eval {base}/model {base}/shards --split train --task classification --limit 1 --out {out}",
        ("answers.jsonl", "scores.json", "evaluation.html", "predictions.png"),
    ),
    "init": Writer("init {out} --size tiny", ("config.json", "model.safetensors", "tokenizer.json")),
    "export-model": Writer("export-model {base}/model {out}", ("config.json", "model.safetensors")),
    "train": Writer(
        "train tiny --set model.path={base}/model --set model.preset=null --set data.folders={base}/shards "
        "--set epochs=null --set max_steps=1 --set workers=0 --set out={out}",
        ("config.yaml", "metrics.jsonl", "checkpoints/step-00000001/x", "model/config.json"),
    ),
    "merge": Writer("merge {base}/shards {base}/further --workers 1 --out {out}", ("manifest.json", "toy/x.tar")),
    "split": Writer(
        "split {base}/further --by split --workers 1 --out {out}", ("train/manifest.json", "test/ssdd/x.tar")
    ),
    "export": Writer("export {base}/further --format coco --out {out}", ("README.md", "train.json", "images/x.png")),
    "predict": Writer(
        "predict {base}/whole-model {base}/own/images --max-tokens 4 --out {out}", ("predictions.json", "coco.json")
    ),
    "release ingest": Writer("release ingest {base}/archive --out {out}", ("archive.json", "rows.parquet")),
    "demo": Writer("demo --workers 1 --out {out}", ("raw/hit-uav/thesis.tex",)),
}


def attempts() -> Iterator[Attempt]:
    """Every way to be in the way, for every command that writes."""
    for command, writer in WRITERS.items():
        ways: dict[str, Callable[[Scene, Path], None]] = {
            "a file of mine in its place": _file,
            "a link to my file in its place": _link_to_file,
            "a pipe in its place": _pipe,
        }
        if not writer.is_file:
            ways["a folder of mine in its place"] = _folder
            for name in writer.names:
                ways[f"my {name}"] = partial(_named, name)
                ways[f"a link for {name}"] = partial(_link, name)
        if command == "demo":
            # It refuses nothing but what is in its way; all else takes the minutes of a demo.
            del ways["a folder of mine in its place"]
        else:
            ways["a link to my folder in its place"] = _link_to_folder
        for way, occupy in ways.items():
            yield Attempt("2 ownership", f"{command}: {way}", partial(_act, writer, occupy))


def _act(writer: Writer, occupy: Callable[[Scene, Path], None], scene: Scene) -> None:
    out = scene.folder / "out"
    occupy(scene, out)
    mine, was_pipe = fingerprint(scene.folder), out.is_fifo()
    scene.mmrs(*writer.words.format(base=scene.base, out=out).split())
    left = fingerprint(scene.folder)
    lost = [name for name, content in mine.items() if left.get(name) != content]
    # A link of mine may be replaced by what it stood in the way of; what it leads to may not change.
    lost = [name for name in lost if not mine[name].startswith("link to")]
    scene.claim(not lost, f"changed or removed {', '.join(lost)}")
    scene.claim(not was_pipe or out.is_fifo(), "removed a pipe")


def _file(scene: Scene, out: Path) -> None:
    out.write_bytes(MINE)


def _folder(scene: Scene, out: Path) -> None:
    (out / "notes.tmp-backup").mkdir(parents=True)
    for name in ("thesis.tex", "notes.tmp-backup/thesis.tex", "train-00000-of-00001.tar"):
        (out / name).write_bytes(MINE)


def _link_to_file(scene: Scene, out: Path) -> None:
    out.symlink_to(scene.outside / "secret.txt")


def _link_to_folder(scene: Scene, out: Path) -> None:
    # The user typed the link: what is made there is asked for, what lies there stays.
    (scene.folder / "mine").mkdir()
    (scene.folder / "mine" / "thesis.tex").write_bytes(MINE)
    out.symlink_to(scene.folder / "mine")


def _pipe(scene: Scene, out: Path) -> None:
    os.mkfifo(out)


def _named(name: str, scene: Scene, out: Path) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_bytes(MINE)


def _link(name: str, scene: Scene, out: Path) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).symlink_to(scene.outside / "secret.txt")
