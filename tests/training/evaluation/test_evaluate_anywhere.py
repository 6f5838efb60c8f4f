"""`mmrs eval` on a data set in a folder, over http and in S3: the same files, whatever the network does."""

import pytest

pytest.importorskip("s3fs", reason="S3 needs the extra s3")
pytest.importorskip("moto.server", reason="the S3 server of the tests (moto, flask) is not installed")

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from tests.support.places import EVERY_FAULT, needs_servers, quick_patience, served
from tests.support.sources import toy_build, write_toy
from training.evaluation.generate import Decoding
from training.evaluation.run import EvaluationConfig, evaluate

QUIET = Progress(quiet=True)


@pytest.mark.nightly
@needs_servers
def test_scores_do_not_depend_on_where_the_data_lies(tmp_path, model_folder, monkeypatch):
    write_toy(tmp_path / "toy", images=9)
    recipe = BuildRecipe.model_validate({"sources": [{"name": "toy"}], "shard_bytes": 20_000})
    build(plan_build([toy_build(tmp_path / "toy")], recipe, 1, QUIET), recipe, tmp_path / "set", 1, QUIET)

    def scored(location, kind):
        # Each kind of place fills a cache of its own.
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"cache-{kind}"))
        out = tmp_path / kind
        evaluate(EvaluationConfig(model_folder, location, out, decoding=Decoding(3, 8)), QUIET)
        return {path.name: path.read_bytes().replace(bytes(out), b"OUT") for path in out.iterdir()}

    expected = scored(tmp_path / "set", "folder")
    assert len(expected) >= 3
    with served(tmp_path / "set", tmp_path / "nginx") as places, quick_patience():
        for kind in ("http", "s3"):
            with places.at(kind, monkeypatch, EVERY_FAULT) as location:
                assert scored(location, kind) == expected
