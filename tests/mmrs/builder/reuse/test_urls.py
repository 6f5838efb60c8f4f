"""Data sets joined over URLs: read from http, written to S3, and the bytes of a folder, whatever the network does."""

import pytest

pytest.importorskip("s3fs", reason="output to S3 needs the extra s3")
pytest.importorskip("moto.server", reason="the S3 server of the tests (moto, flask) is not installed")

from mmrs.builder.reuse.merge import MergeConfig, merge_data_sets
from mmrs.builder.reuse.split import split_data_set
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.storage.open import open_place
from mmrs.storage.place import LOCK_NAME
from mmrs.verify.dataset import verify_dataset
from tests.support.places import EVERY_FAULT, needs_servers, quick_patience, reach_s3, served

QUIET = Progress(quiet=True)


def merge(*locations, out):
    return merge_data_sets(MergeConfig(tuple(locations), out), QUIET, 2)


def published(out):
    place = open_place(out)
    return place.read_many([name for name in place.sizes() if not name.startswith(".build")])


@pytest.mark.nightly
@needs_servers
def test_urls_give_the_bytes_of_folders(make, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    one, two = make("one", images=4), make("two", images=4, pictures=1)
    merge(one, two, out=tmp_path / "both")
    with served(one, tmp_path / "servers") as places:
        with places.at("http", monkeypatch, EVERY_FAULT) as http, quick_patience():
            merge(http, two, out=tmp_path / "from-http")
        assert published(tmp_path / "from-http") == published(tmp_path / "both")
        reach_s3(places.s3_endpoint, monkeypatch)
        sent = merge(f"s3://bucket/{one.name}", two, out="s3://bucket/both")
        assert sent.shards["linked"] == 0
        assert published("s3://bucket/both") == published(tmp_path / "both")
        assert verify_dataset("s3://bucket/both", 1, QUIET).findings == ()
        assert merge(one, two, out="s3://bucket/both").shards["copied"] == 0
        # The lock of the folder was copied with it.
        open_place(f"s3://bucket/{one.name}").remove([LOCK_NAME])
        with pytest.raises(UserError, match="is another data set"):
            merge(two, out=f"s3://bucket/{one.name}")
        split_data_set("s3://bucket/both", "s3://bucket/parts", "source", QUIET, 2)
        merge(one, out=tmp_path / "alone")
        assert published("s3://bucket/parts/one") == published(tmp_path / "alone")
