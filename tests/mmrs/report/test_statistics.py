"""Statistics agree with the records themselves, counted one by one."""

from collections import Counter

import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.errors import RunFailure, UserError
from mmrs.report.statistics import (
    CHARS_LIMITS,
    SIDE_LIMITS_PX,
    _tasks,
    describe_statistics,
    statistics,
    to_json,
    write_parquet,
)
from mmrs.shards.reader import ShardSet


def records(out):
    data = ShardSet(out)
    for split in ("train", "test"):
        for row in data.table(split).to_pylist():
            yield data.record(row), row["image_size"]


def up_to(value, limits):
    return next((limit for limit in limits if value <= limit), None)


@pytest.fixture(scope="module")
def found(report_set):
    return statistics(report_set)


def test_splits_and_sensors(report_set, found):
    counts: dict[tuple, Counter] = {}
    for record, size in records(report_set):
        for key in ((record.source, record.sensor, record.split), (record.sensor,)):
            counts.setdefault(key, Counter()).update(
                images=1,
                objects=sum(not item.ignore for item in record.objects),
                captions=len(record.captions),
                dialogues=len(record.dialogues),
                bytes=size,
            )
    rows = {(row["source"], row["sensor"], row["split"]): row for row in found.tables["split"].to_dicts()}
    rows |= {(row["sensor"],): row for row in found.tables["sensor"].to_dicts()}
    assert set(rows) == set(counts)
    for key, wanted in counts.items():
        assert {name: rows[key][name] for name in wanted} == dict(wanted)


def test_tasks_classes_sizes_and_text_lengths(report_set, found):
    tasks, chars, classes, sizes, lengths = Counter(), Counter(), Counter(), Counter(), Counter()
    for record, _ in records(report_set):
        for dialogue in record.dialogues:
            size = sum(len(turn.value) for turn in dialogue.turns)
            tasks[dialogue.task] += 1
            chars[dialogue.task] += size
            lengths[dialogue.task, up_to(size, CHARS_LIMITS)] += 1
        classes.update({(record.source, "object", item.category) for item in record.objects if not item.ignore})
        if record.label:
            classes[record.source, "label", record.label] += 1
        sizes[record.sensor, up_to(max(record.image.width, record.image.height), SIDE_LIMITS_PX)] += 1
    tables = {name: frame.to_dicts() for name, frame in found.tables.items()}
    assert {row["task"]: row["dialogues"] for row in tables["task"]} == tasks
    assert {row["task"]: row["characters"] for row in tables["task"]} == chars
    assert {(row["source"], row["kind"], row["name"]): row["images"] for row in tables["class"]} == classes
    assert {(row["sensor"], row["up_to"]): row["images"] for row in tables["size"]} == sizes
    assert {(row["task"], row["up_to"]): row["dialogues"] for row in tables["text_length"]} == lengths


def test_images_of_a_task_are_counted_once(report_set, found):
    with_boxes = sum(any(d.task == "detection-hbb" for d in record.dialogues) for record, _ in records(report_set))
    rows = {row["task"]: row for row in found.tables["task"].to_dicts()}
    assert rows["detection-hbb"]["images"] == with_boxes < rows["detection-hbb"]["dialogues"]


def test_counts_of_one_shard_at_a_time_are_those_of_all(report_set, found, monkeypatch):
    monkeypatch.setattr("mmrs.report.statistics._SHARDS_TOGETHER", 1)
    assert len(ShardSet(report_set).manifest.shards) > 1
    again = statistics(report_set)
    for name, frame in found.tables.items():
        assert again.tables[name].equals(frame) and again.tables[name].schema == frame.schema, name


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 9)), min_size=1, max_size=40))
def test_a_median_of_counted_lengths_is_that_of_all(rows):
    every = pl.DataFrame(rows, schema={"task": pl.String, "characters": pl.Int32}, orient="row")
    lengths = every.group_by("task", "characters").agg(dialogues=pl.len())
    images = every.group_by("task").agg(images=pl.len())
    expected = every.group_by("task").agg(median=pl.col("characters").median()).sort("task")
    assert _tasks(lengths, images)["median_characters"].equals(expected["median"])


def test_json_and_parquet_say_the_same(found, tmp_path):
    write_parquet(found, tmp_path / "tables")
    content = orjson.loads(to_json(found))
    assert set(content["tables"]) == {path.stem for path in (tmp_path / "tables").glob("*.parquet")}
    for name, rows in content["tables"].items():
        assert pl.read_parquet(tmp_path / "tables" / f"{name}.parquet").to_dicts() == rows


def test_tables_replace_tables_alone(found, tmp_path):
    for _ in range(2):
        write_parquet(found, tmp_path / "tables")
    (tmp_path / "tables" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="name a new folder"):
        write_parquet(found, tmp_path / "tables")
    assert (tmp_path / "tables" / "thesis.tex").is_file()


def test_text(found):
    said = describe_statistics(found)
    for word in ("by split", "by text length", "storage tanks", "detection-hbb", "KiB"):
        assert word in said


def test_errors_name_the_next_step(report_set, tmp_path):
    with pytest.raises(UserError, match="mmrs build"):
        statistics(tmp_path)
    (tmp_path / "manifest.json").write_bytes((report_set / "manifest.json").read_bytes())
    with pytest.raises(RunFailure, match="mmrs verify"):
        statistics(tmp_path)


def test_sources_say_licence_and_what_was_not_stored(report_set):
    rows = statistics(report_set).tables["source"].to_dicts()
    common = {"licence": "CC0-1.0", "trained_on": "train"}
    common |= {"quarantined_items": 0, "quarantined_objects": 0, "absent": 0, "excluded": 0}
    assert rows == [
        {"source": "talk", "sensor": "sar"} | common,
        {"source": "toy", "sensor": "optical"} | common,
    ]
