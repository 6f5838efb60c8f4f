"""What the build and the curation wrote is found by row; what is of another state, or no such file, is told."""

from types import SimpleNamespace

import orjson
import polars as pl
import pytest

from mmrs.errors import UserError
from mmrs.viewer.findings import load_findings

IDS = [f"toy/train/{number}" for number in range(6)]


def shards(folder, quarantine=(), curation=(), state="now"):
    lines = b"".join(orjson.dumps(line) + b"\n" for line in quarantine)
    if curation:
        (folder / "curation.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in curation))
        (folder / "curation.json").write_bytes(orjson.dumps({"data_set": state}))
    return SimpleNamespace(location=folder, manifest=SimpleNamespace(id="now"), quarantine=lambda: lines)


def entry(level, image, reason):
    named = {"source": "toy", "split": "train", "level": level, "id": image, "path": "a.xml", "line": 3}
    return named | {"reason": reason, "images": 1}


def test_rows_of_stored_images_and_what_was_not_stored(tmp_path):
    lines = [
        entry("object", IDS[2], "no area"),
        entry("object", IDS[2], "no number"),
        entry("part", IDS[4], "empty caption"),
        entry("item", "toy/train/99", "cannot be decoded"),
        entry("absent", None, "a folder is missing"),
    ]
    found = load_findings(shards(tmp_path, lines), pl.Series(IDS))
    assert {row: [each["reason"] for each in entries] for row, entries in found.quarantine.items()} == {
        2: ["no area", "no number"],
        4: ["empty caption"],
    }
    assert [each["level"] for each in found.not_stored] == ["item", "absent"]


def test_groups_leaks_and_faults(tmp_path):
    lines = [
        {"kind": "removal", "id": IDS[1], "reason": "a copy of x"},
        {"kind": "removal", "id": "toy/train/99", "reason": "gone already", "removed": True},
        {"kind": "group", "images": [IDS[1], IDS[3], "toy/test/7"]},
        {"kind": "finding", "id": IDS[0], "check": "letters", "place": "caption 1", "what": "odd"},
        {"kind": "another", "id": IDS[5]},
    ]
    found = load_findings(shards(tmp_path, curation=lines), pl.Series(IDS))
    assert (found.leaks, found.groups, found.group) == ({1: "a copy of x"}, [[1, 3]], {1: 0, 3: 0})
    assert found.faults == {0: ["letters: caption 1: odd"]} and found.notes == []


def test_a_curation_of_another_state_is_told_and_not_used(tmp_path):
    lines = [{"kind": "removal", "id": IDS[1], "reason": "a copy of x"}]
    found = load_findings(shards(tmp_path, curation=lines, state="before"), pl.Series(IDS))
    assert found.leaks == {} and "another state" in found.notes[0]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"id": 3}', '{"kind": "group", "images": 3}', '{"kind": "group", "images": [3]}']
)
def test_a_line_that_is_none_is_named_with_the_command_that_mends_it(tmp_path, line):
    given = shards(tmp_path, curation=[{"kind": "another"}])
    (tmp_path / "curation.jsonl").write_text('{"kind": "another"}\n' + line)
    with pytest.raises(UserError, match=r"curation\.jsonl:2 cannot be read: .*`mmrs curate` again"):
        load_findings(given, pl.Series(IDS))
