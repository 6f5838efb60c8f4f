"""What `datasets` reads from a published set, with the real clients on both sides and a server on loopback."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial

import orjson
import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.hub import push as hub
from mmrs.hub.viewer import write_viewer_tables
from mmrs.progress import Progress
from mmrs.record import Annotations, AnsweredQuestion, Expression
from mmrs.report.thumbnail import side_by_side
from mmrs.shards.manifest import load_manifest
from mmrs.shards.reader import ShardSet
from tests.support.hub_server import TOKEN, serve_hub
from tests.support.sources import ToySource, toy_build, write_toy

pytest.importorskip("datasets")
QUIET = Progress(quiet=True)
READER = """
import hashlib, json, sys
from datasets import Image, load_dataset
out = {}
for config, split, streaming in json.loads(sys.argv[1]):
    where = ["org/toy-viewer"] if config == "viewer" else ["org/toy", *([config] if config else [])]
    data = load_dataset(*where, split=split, streaming=streaming)
    images = [name for name, kind in data.features.items() if isinstance(kind, Image)]
    for name in images:
        data = data.cast_column(name, Image(decode=False))
    rows = []
    for row in data:
        if config == "viewer":
            rows.append([{name: row[name] for name in row if name != "image"}, row["image"]["path"]])
            continue
        stored = {name: hashlib.sha256(row[name]["bytes"]).hexdigest() for name in images if row[name]}
        rows.append([row["__key__"], stored, row["json"]])
    out[f"{config}/{split}/{streaming}"] = rows
print(json.dumps(out))
"""


@dataclass(frozen=True)
class RareSource(ToySource):
    """All is null or empty in every record but those of `rare`: what the first samples show is no guide."""

    rare: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("classification", "captioning", "vqa", "detection-hbb", "visual-grounding")

    def read(self, item):
        if item.stem not in self.rare:
            return Annotations()
        found = super().read(item).model_dump() | {
            "label": "harbor",
            "captions": ("a harbor",),
            "questions": (AnsweredQuestion(question="is there a ship?", answer="yes", type="presence"),),
            "expressions": (Expression(text="the ship", object=0),),
            "metadata": {"gsd_m": 0.5},
        }
        return Annotations.model_validate(found)


def rare_build(root, recipe):
    """The rare records come after the five samples from which `datasets` would guess the types."""
    source = RareSource(name="rare")
    tasks = [task for task in plan_build([toy_build(root, source)], recipe, 1, QUIET).tasks if task.split == "train"]
    stems = tuple([sample.stem for task in tasks for sample in task.samples][6:9])
    return toy_build(root, RareSource(name="rare", rare=stems))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    write_toy(folder / "toy", images=9)
    write_toy(folder / "rare", images=12, seed=1, suffix="png")
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}, {"name": "rare"}], "shard_bytes": 45_000})
    sources = [toy_build(folder / "toy"), rare_build(folder / "rare", recipe)]
    build(plan_build(sources, recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    (folder / "viewer").mkdir()
    tables = write_viewer_tables(folder / "out", folder / "viewer", 7, partial(side_by_side, side_pixels=32), QUIET)
    with pytest.MonkeyPatch.context() as patch, serve_hub() as server:
        patch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        options = hub.PushOptions(endpoint=server.url, token=TOKEN)
        hub.push(folder / "out", "org/toy", options, QUIET)
        hub.push_viewer(load_manifest(folder / "out"), "org/toy", tables, options, QUIET)
        # The client fixes its endpoint when it is imported, so it reads in a process of its own.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment |= {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"}
        wanted = [[name, "train", True] for name in ("toy", "rare", "detection-hbb", "vqa", "all", None, "viewer")]
        wanted += [["toy", "test", True], ["all", "train", False], ["rare", "train", False], ["viewer", "test", False]]
        command = [sys.executable, "-c", READER, orjson.dumps(wanted).decode()]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stderr
    return folder / "out", orjson.loads(run.stdout.splitlines()[-1])


def expected(out, split, sources=None):
    data = ShardSet(out)
    rows = data.table(split, sources).to_pylist()
    suffixes = {name: source.image_suffix[split] for name, source in data.manifest.sources.items()}
    found = {}
    for row in rows:
        record = orjson.loads(data.record(row).to_json())
        digest = hashlib.sha256(data.image(row)).hexdigest()
        found[row["key"]] = ({suffixes[record["source"]]: digest}, record)
    return found


@pytest.mark.parametrize(
    ("name", "split", "sources"),
    [
        ("toy/train/True", "train", ("toy",)),
        ("toy/test/True", "test", ("toy",)),
        ("rare/train/True", "train", ("rare",)),
        ("rare/train/False", "train", ("rare",)),
        ("vqa/train/True", "train", ("rare",)),
        ("detection-hbb/train/True", "train", None),
        ("all/train/True", "train", None),
        ("all/train/False", "train", None),
        ("None/train/True", "train", None),
    ],
)
def test_every_image_and_every_field_arrives(published, name, split, sources):
    out, read = published
    wanted = expected(out, split, sources)
    found = {key: (image, record) for key, image, record in read[name]}
    assert len(read[name]) == len(found)
    assert found == wanted


@pytest.mark.parametrize(("name", "split"), [("viewer/train/True", "train"), ("viewer/test/False", "test")])
def test_the_viewer_has_the_first_images_of_each_split_with_their_texts(published, name, split):
    out, read = published
    data = ShardSet(out)
    wanted = []
    for source in ("rare", "toy"):
        for row in data.table(split, (source,)).to_pylist()[:7]:
            record = data.record(row)
            turns = [turn.value for turn in record.dialogues[0].turns] if record.dialogues else [None, None]
            wanted.append((record.id, record.label, *record.captions[:1], turns[0], turns[1]))
    found = [
        (texts["id"], texts["label"], *([texts["caption"]] if texts["caption"] else ()), *_dialogue(texts))
        for texts, _ in read[name]
    ]
    assert sorted(found, key=str) == sorted(wanted, key=str) and len(found) == (14 if split == "train" else 7)
    assert {texts["caption"] for texts, _ in read["viewer/train/True"]} >= {None}


def _dialogue(texts):
    return texts["question"], texts["answer"]


def test_the_set_does_what_it_is_for(published):
    """Nulls and empty lists in the first five samples, values later; both image suffixes in one configuration."""
    read = published[1]
    records = [record for _, _, record in read["rare/train/True"]]
    assert [bool(record["questions"]) for record in records[:5]] == [False] * 5
    assert sum(record["label"] == "harbor" for record in records) == 3
    assert orjson.loads(next(r for r in records if r["label"])["metadata"]) == {"gsd_m": 0.5}
    assert {name for _, image, _ in read["all/train/True"] for name in image} == {"jpg", "png"}
