"""A manifest may come from a stranger: nothing in it may name a file outside of its data set or of a reader's cache."""

import hashlib

import orjson
import pytest

from mmrs.errors import UserError
from mmrs.record import canonical_json
from mmrs.shards.manifest import MANIFEST_NAME, load_manifest
from tests.training.shard_folder import make_shard_folder


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    folder = make_shard_folder(tmp_path_factory.mktemp("data"), samples=2, shards=1)
    return orjson.loads((folder / MANIFEST_NAME).read_bytes())


def written(folder, content):
    """The manifest in a folder, with an id that fits."""
    body = {name: value for name, value in content.items() if name != "id"}
    sealed = body | {"id": hashlib.sha256(canonical_json(body)).hexdigest()}
    (folder / MANIFEST_NAME).write_bytes(orjson.dumps(sealed))
    return folder


def test_the_manifest_as_it_is_passes(tmp_path, content):
    assert load_manifest(written(tmp_path, content)).shards[0].records == 2


@pytest.mark.parametrize(
    "field, value",
    [
        ("path", "../../etc/train-00000-of-00001.tar"),
        ("path", "/etc/train-00000-of-00001.tar"),
        ("path", "toy/../../train-00000-of-00001.tar"),
        ("sha256", "../../../.ssh/authorized_keys"),
        ("index_sha256", "/etc/cron.d/x"),
        ("sha256", "A" * 64),
        ("bytes", -1),
        ("index_bytes", -1),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, content, field, value):
    hostile = content | {"shards": [content["shards"][0] | {field: value}]}
    with pytest.raises(UserError, match=field):
        load_manifest(written(tmp_path, hostile))
