"""Items read together are those read one by one, and a bad one costs itself."""

import pytest

import converters
from converters import samples
from mmrs.errors import BadItem
from mmrs.source import BlockReader, read_block

LAYOUTS = {"hit-uav": {}, "dior": {"boxes": "oriented"}, "ssdd": {}, "dota": {}, "nwpu-vhr10": {}, "visdrone": {}}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_block_gives_what_its_items_give(tmp_path, name):
    samples.write(name, tmp_path)
    source = converters.get(name, **LAYOUTS[name])
    assert isinstance(source, BlockReader)
    items = [item for split in source.splits_in(tmp_path) for item in source.discover(tmp_path, split).items]
    lost = items[1].annotations[0]
    if lost.suffix != ".json":
        lost.write_bytes(b"\xff\xfe no label")
    alone = []
    for item in items:
        try:
            alone.append(source.read(item))
        except BadItem as error:
            alone.append(str(error))
    together = [str(one) if isinstance(one, BadItem) else one for one in read_block(source, items)]
    assert together == alone
    assert lost.suffix == ".json" or any(isinstance(one, str) or one.unread for one in together)
