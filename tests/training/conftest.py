import pytest

from tests.training.micro import make_model_folder
from tests.training.shard_folder import make_shard_folder


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    return make_shard_folder(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("model"))
