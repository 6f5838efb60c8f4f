"""One data set with hostile texts, a curation and a damaged record, and a viewer of it on loopback."""

from types import SimpleNamespace

import orjson
import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.data_set.data_set import open_data_set
from mmrs.viewer.app import make_viewer
from mmrs.viewer.serve import load_viewed
from tests.mmrs.report.conftest import HOSTILE, QUIET, TalkingSource
from tests.support.applications import serving
from tests.support.sources import toy_build, write_toy

TURNED = "a\u202egnp"
SAID = ("many tanks", HOSTILE, TURNED)


class HostileSource(TalkingSource):
    """A caption that turns the direction of writing, too."""

    def read(self, item):
        found = super().read(item)
        return found.model_copy(update={"captions": SAID})


@pytest.fixture(scope="session")
def viewed_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("viewed")
    write_toy(folder / "toy", images=30)
    write_toy(folder / "talk", images=9, seed=1, suffix="png", size=(300, 200))
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}, {"name": "talk"}], "shard_bytes": 30_000})
    talk = HostileSource(name="talk", sensor="sar", categories=("car", "ship"))
    sources = [toy_build(folder / "toy"), toy_build(folder / "talk", talk)]
    build(plan_build(sources, recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    data = open_data_set(folder / "out")
    ids = data.table(columns=["id"])["id"].to_pylist()
    lines = [
        {"kind": "removal", "id": ids[0], "reason": f"the same as {HOSTILE}"},
        {"kind": "group", "group": ids[0], "images": [ids[0], ids[5], ids[7]], "links": []},
        {"kind": "finding", "id": ids[3], "check": "letters", "place": "captions", "what": HOSTILE, "level": "error"},
    ]
    (folder / "out" / "curation.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    (folder / "out" / "curation.json").write_bytes(orjson.dumps({"data_set": data.id}))
    return folder / "out"


@pytest.fixture(scope="session")
def viewer(viewed_set, tmp_path_factory):
    """Its address, port, and the list that it writes."""
    exclude = tmp_path_factory.mktemp("list") / "exclude.jsonl"
    with serving(make_viewer(load_viewed(viewed_set, exclude))) as port:
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}/", port=port, exclude=exclude, location=viewed_set)
