"""The sound things that attempts copy and spoil: made once, in a child, so that the parent stays able to fork."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

DESCRIPTION = (
    "name: own\nformat: yolo\nsensor: optical\nlicence: CC0-1.0\nimages: images\nannotations: labels\nclasses: [ship]\n"
)


def make_all(base: Path) -> None:
    """Make everything below `base`, in a child."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _make(base)
            code = 0
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError(f"the sound things could not be made in {base}")


def picture(seed: int = 0) -> bytes:
    """A JPEG of noise."""
    from tests.support.sources import noise_image

    return noise_image(np.random.default_rng(seed))


def write_own_data(root: Path, description: str = DESCRIPTION) -> Path:
    """A YOLO set of three images behind a description."""
    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for number in range(3):
        (root / "images" / f"ok{number}.jpg").write_bytes(picture(number))
        (root / "labels" / f"ok{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "mmrs.yaml").write_text(description)
    return root


def _make(base: Path) -> None:
    from click.testing import CliRunner

    import converters
    from cli import main
    from converters import samples
    from converters.own_data.formats.registry import OWN_FORMATS
    from converters.samples import release
    from tests.support.damaged_data_sets import Damaged
    from tests.support.models import save_tiny_model
    from tests.training.micro import make_model_folder
    from tests.training.shard_folder import make_shard_folder

    write_own_data(base / "own")
    for name in ("samples", "formats"):
        (base / name).mkdir()
    for name in converters.names():
        if name != "generic":
            samples.write(name, base / "samples" / name)
    for name in OWN_FORMATS:
        samples.write("generic", base / "formats" / name, format=name)
    Damaged(make_shard_folder(base / "shards", samples=2, shards=1)).seal()
    recipe = ("--root", f"ssdd={base}/samples/ssdd", "--workers", "1", "--out", str(base / "further"))
    built = CliRunner().invoke(main, ["--quiet", "build", "ssdd", *recipe])
    if built.exit_code:
        raise RuntimeError(built.output)
    make_model_folder(base / "model")
    save_tiny_model(base / "whole-model")
    release.write(base / "archive", parts=2)
    words = (
        f"--set model.path={base}/model --set model.preset=null --set data.folders={base}/shards --set out={base}/run"
    )
    brief = "--set epochs=null --set max_steps=2 --set workers=0 --set checkpoint.every_steps=1"
    trained = CliRunner().invoke(main, ["--quiet", "train", "tiny", *words.split(), *brief.split()])
    if trained.exit_code:
        raise RuntimeError(trained.output)
    answers = [{"id": f"toy/train/{number:05d}#classification", "text": "red"} for number in range(2)]
    (base / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in answers))
