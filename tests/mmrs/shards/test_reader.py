"""Random access to a data set: how many files it keeps open."""

import os

from mmrs.shards.reader import ShardSet
from tests.training.shard_folder import make_shard_folder


def test_open_files_stay_within_their_limit(tmp_path):
    folder = make_shard_folder(tmp_path / "data", samples=20, shards=5)
    shards = ShardSet(folder)
    shards.max_open_files = 2

    def open_tars():
        targets = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
        return sum(target.startswith(str(folder)) for target in targets)

    rows = shards.table("train").to_pylist()
    for row in rows * 2:
        assert shards.record(row).id == row["id"]
        assert open_tars() <= 2
    assert open_tars() == 2
    shards.close()
    assert open_tars() == 0
