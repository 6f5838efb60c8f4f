"""Arrow streams in the layouts of `datasets` give what the same tables give as Parquet."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

import cli
from converters.mirrors.tables import find_tables
from mmrs.errors import UserError
from mmrs.imaging.row_images import read_row_images
from mmrs.shards.reader import ShardSet
from tests.support.arrow_files import write_dataset_dict, write_stream
from tests.support.hints import commands_in, words_of
from tests.support.mirrors import captions_copy, read_source

WORDS = {"train": "train", "val": "valid", "test": "test"}


def mmrs(*words):
    return CliRunner().invoke(cli.main, ["--quiet", *map(str, words)])


def in_streams(parquet, root, layout):
    """The tables of a copy as `datasets` keeps them."""
    tables = {path.name.partition("-")[0]: pq.read_table(path) for path in (parquet / "data").iterdir()}
    if layout == "save_to_disk":
        return write_dataset_dict(root, tables)
    for split, table in tables.items():
        write_stream(root / f"default/0.0.0/rsicd-{split}.arrow", table)
    (root / "default/0.0.0/dataset_info.json").write_text("{}")
    return root / "default"


@pytest.mark.parametrize("layout", ["save_to_disk", "cache"])
def test_a_known_copy_is_read_from_streams(fake, tmp_path, layout):
    copy = captions_copy("arampacha/rsicd", fake("rsicd"), tmp_path / "copy", WORDS)
    root = in_streams(copy, tmp_path / "streams", layout)
    told = mmrs("scan", "rsicd", root)
    assert told.exit_code == 0, told.output
    for split in WORDS:
        wanted, read = read_source("rsicd", copy, split), read_source("rsicd", root, split)
        assert read.keys() == wanted.keys() and read
        contents = dict(read_row_images([item.image for item, _ in (*wanted.values(), *read.values())]))
        for stem, (item, known) in read.items():
            assert contents[item.image] == contents[wanted[stem][0].image]
            assert (known.captions, known.metadata) == (wanted[stem][1].captions, wanted[stem][1].metadata)


def test_described_streams_are_guessed_and_built_to_the_bytes_of_parquet(fake, tmp_path):
    root = fake("generic", format="parquet")
    tables = {path.name.partition("-")[0]: pq.read_table(path) for path in (root / "data").iterdir()}
    streams = write_dataset_dict(tmp_path / "streams", tables)
    shown = mmrs("scan", "generic", streams, "--guess")
    assert shown.exit_code == 0, shown.output
    own = yaml.safe_load((root / "mmrs.yaml").read_text())
    own["annotations"] = "{split}"
    (streams / "mmrs.yaml").write_text(yaml.safe_dump(own))
    found = {}
    for place in (root, streams):
        option = f"description={place / 'mmrs.yaml'}"
        told = mmrs("scan", "generic", place, "--option", option)
        (command,) = commands_in(told.output)
        out = tmp_path / f"built-{place.name}"
        words = words_of(command.replace("DIR", str(out)))[1:]
        assert mmrs(*words, "--workers", "1").exit_code == 0
        shards = ShardSet(out)
        rows = [row for split in ("train", "val") for row in shards.table(split).to_pylist()]
        found[place] = {row["id"]: shards.image(row) for row in rows}
        shards.close()
    assert found[root] == found[streams] and len(found[root]) > 5


def test_a_table_in_two_formats_is_refused(tmp_path):
    table = pa.table({"a": [1]})
    write_stream(tmp_path / "train.arrow", table)
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"train twice, as train\.arrow and train\.parquet"):
        find_tables(tmp_path)


def test_a_missing_part_of_a_saved_set_is_told(tmp_path):
    write_dataset_dict(tmp_path, {"train": pa.table({"a": [1, 2, 3]})}, parts=3)
    (tmp_path / "train/data-00001-of-00003.arrow").unlink()
    (problem,) = find_tables(tmp_path / "train").problems
    assert problem[1] == "1 of 3 tables data-*-of-00003.arrow are missing"


@pytest.mark.nightly  # datasets takes seconds to load
def test_what_datasets_saves_is_read(fake, tmp_path):
    datasets = pytest.importorskip("datasets")
    copy = captions_copy("arampacha/rsicd", fake("rsicd"), tmp_path / "copy", WORDS)
    files = {path.name.partition("-")[0]: str(path) for path in (copy / "data").iterdir()}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    loaded.save_to_disk(str(tmp_path / "saved"), num_shards={"train": 3, "valid": 1, "test": 2})
    (cached,) = {path.parent for path in (tmp_path / "cache").rglob("parquet-train.arrow")}
    for root in (tmp_path / "saved", cached):
        for split in WORDS:
            wanted, read = read_source("rsicd", copy, split), read_source("rsicd", root, split)
            assert {stem: known.captions for stem, (_, known) in read.items()} == {
                stem: known.captions for stem, (_, known) in wanted.items()
            }
    assert json.loads((tmp_path / "saved/dataset_dict.json").read_text())["splits"]
