"""One odd file never ends a build: it is named in the quarantine, all else is built, and no name is obeyed."""

import io
import json
import os
import struct
import zlib

import numpy as np
import orjson
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.errors import RunFailure
from mmrs.progress import Progress
from mmrs.shards.quarantine import QUARANTINE_NAME
from mmrs.verify.dataset import verify_dataset
from tests.support.sources import noise_image, toy_build, write_toy

QUIET = Progress(quiet=True)
RECIPE = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "quarantine_ceiling": 1.0})
JPEG = noise_image(np.random.default_rng(0))
NAMES = (b"a\nb", b"caf\xe9", b"\x1b[31mred", "\u202egpj".encode(), b"tab\there")


def quarantined(out) -> list[dict]:
    return [orjson.loads(line) for line in (out / QUARANTINE_NAME).read_bytes().splitlines()]


def png_strip(width: int, height: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def scan_bomb() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * 5000 + data[-2:]


@pytest.fixture
def own_data(tmp_path):
    """A sound YOLO set of three images; more may be put beside them."""
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "labels").mkdir()
    for number in range(3):
        (root / "images" / f"ok{number}.jpg").write_bytes(JPEG)
    (root / "mmrs.yaml").write_text(
        "name: odd\nformat: yolo\nsensor: optical\nlicence: CC0-1.0\nimages: images\nannotations: labels\n"
        "classes: [ship]\n"
    )
    return root


def run_build(root, out, ceiling=1.0):
    content = {"sources": [{"name": "generic", "options": {"description": str(root / "mmrs.yaml")}}]}
    recipe = root.parent / "recipe.json"
    recipe.write_text(json.dumps(content | {"quarantine_ceiling": ceiling}))
    words = ["build", str(recipe), "--root", f"odd={root}", "--out", str(out), "--workers", "1"]
    return CliRunner().invoke(main, words)


def test_odd_files_are_quarantined_and_the_rest_is_built(own_data, tmp_path):
    for name in NAMES:
        (own_data / "images" / os.fsdecode(name + b".jpg")).write_bytes(JPEG)
    (own_data / "images" / "strip.png").write_bytes(png_strip(70_000, 64))
    (own_data / "images" / "scans.jpg").write_bytes(scan_bomb())
    (own_data / "images" / "empty.jpg").touch()
    out = tmp_path / "out"
    result = run_build(own_data, out)
    assert result.exit_code == 0, result.output
    lost = {entry["path"] for entry in quarantined(out)}
    assert lost == {
        "images/a\\u000ab.jpg", "images/caf\\udce9.jpg", "images/\\u001b[31mred.jpg", "images/\\u202egpj.jpg",
        "images/tab\\u0009here.jpg", "images/strip.png", "images/scans.jpg", "images/empty.jpg",
    }  # fmt: skip
    checked = verify_dataset(out, 1, QUIET)
    assert (checked.samples, checked.findings) == (3, ())
    words = ["scan", "generic", str(own_data), "--option", f"description={own_data}/mmrs.yaml"]
    scanned, listed = CliRunner().invoke(main, words), CliRunner().invoke(main, [*words, "--json"])
    for shown in (result.output, scanned.output, listed.output):
        assert "\x1b" not in shown and "\u202e" not in shown
    assert "\\u001b[31mred" in listed.output and "problem: " in scanned.output
    assert len(json.loads(listed.stdout)["splits"][0]["problems"]) == len(NAMES)
    refused = run_build(own_data, tmp_path / "again", ceiling=0.005)
    assert (
        refused.exit_code == 1 and "images are bad" in refused.output and "could not be written" not in refused.output
    )


def test_the_names_of_a_command_s_own_paths_are_printed_harmlessly(tmp_path):
    result = CliRunner().invoke(main, ["stats", str(tmp_path / "a\x1b[2Jb\u202e")])
    assert result.exit_code == 2 and "\x1b" not in result.output and "\u202e" not in result.output


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_an_image_or_annotation_that_vanishes_costs_itself(tmp_path, suffix):
    """Between the survey and its shard."""
    write_toy(tmp_path / "toy", images=6, suffix="jpg" if suffix == "jpg" else "tiff")
    plan = plan_build([toy_build(tmp_path / "toy")], RECIPE, 1, QUIET)
    images = sorted(path for path in (tmp_path / "toy" / "train").iterdir() if path.suffix != ".json")
    images[0].unlink()
    images[1].with_suffix(".json").unlink()
    result = build(plan, RECIPE, tmp_path / "out", 1, QUIET)
    assert sum(shard.records for shard in result.manifest.shards) == 6
    assert sorted(entry.path for entry in result.quarantine) == [
        f"train/{images[0].name}", f"train/{images[1].stem}.json"]  # fmt: skip
    strict = RECIPE.model_copy(update={"quarantine_ceiling": 0.005})
    with pytest.raises(RunFailure, match="images are bad"):
        build(plan, strict, tmp_path / "strict", 1, QUIET)


def test_an_image_that_may_not_be_read_is_no_failure_of_the_output(tmp_path, monkeypatch):
    write_toy(tmp_path / "toy", images=3)
    plan = plan_build([toy_build(tmp_path / "toy")], RECIPE, 1, QUIET)

    def forbidden(*arguments):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("mmrs.builder.shard.store_file", forbidden)
    with pytest.raises(RunFailure, match="no image can be stored"):
        build(plan, RECIPE, tmp_path / "out", 1, QUIET)
    assert {entry["reason"] for entry in quarantined(tmp_path / "out")} == {"image cannot be read: Input/output error"}
