import json

import pytest

from converters.samples.release import tar_bytes, write_parts
from mmrs.errors import UserError
from mmrs.progress import Progress
from mmrs.release import audit as module
from mmrs.release.audit import audit
from mmrs.release.ingest import ingest


def findings(report):
    return {finding.what: finding.count for finding in report.findings}


def test_counters_and_defects_of_the_generated_archive(ingested):
    report = audit(ingested)
    found = {check.counter: check.found for check in report.checks}
    assert (found["caption files"], found["caption rows"], found["classification files"]) == (5, 20, 7)
    assert (found["rsvg rows"], found["rsvg images"], found["rsvg pairs"]) == (8, 4, 18)
    assert found["visual-grounding pairs"] == found["region-captioning pairs"] == 9
    assert found["visual-grounding boxes without area"] == found["region-captioning boxes without area"] == 2
    assert (found["repeated vqa pairs"], found["repeated references in a caption row"]) == (1, 1)
    assert found["usable caption, vqa and region records"] == 20 + (25 - 1) + (9 - 2)
    assert not report.agrees
    assert findings(report)["rows whose image is a tile"] == 16
    assert findings(report)["misspelt names"] == 6
    assert findings(report)["aggregate files left out"] == 1
    assert "images named by a row but not in the archive" not in findings(report)
    assert report.sources["sea-shipping"] == {"rows": 4, "pairs": 4, "images": 4}


def test_agreement_is_said_where_every_counter_is_known(ingested, monkeypatch):
    found = {check.counter: (check.found, check.evidence) for check in audit(ingested).checks}
    monkeypatch.setattr(module, "KNOWN", found)
    report = audit(ingested)
    assert report.agrees and f"{len(found)} of {len(found)} counters" in report.render(False)
    assert json.loads(report.render(True))["agrees"] is True


def test_a_report_names_expected_found_and_evidence(ingested):
    text = audit(ingested).render(False)
    line = next(line for line in text.splitlines() if line.startswith("repeated vqa pairs "))
    assert line.split()[3:6] == ["9", "1", "NO"] and "HRRSD" in line


def test_what_else_is_wrong_is_found(tmp_path):
    row = {"image": "data/detection/new/images/1.jpg", "conversations": [{"from": "human", "value": "Detect ships."}]}
    row["conversations"].append({"from": "gpt", "value": "There are <p>two ships</p>[0.1,0.1,0.2,0.2;x] in the image."})
    rows = [row, {"image": "data/detection/dior/images/2.jpg"}]
    files = {"data/json/detection/new/new.json": json.dumps(rows).encode(), "data/json/VQA/x.json": b"{}"}
    files["data/detection/dior/images/1.jpg"] = b"x"
    write_parts(tmp_path, tar_bytes(files), 1)
    ingest(tmp_path, tmp_path / "in", Progress(quiet=True))
    counts = findings(audit(tmp_path / "in"))
    assert counts["rows in a folder of no known source"] == 1
    assert counts["counts that are not the number of boxes"] == 1
    assert counts["pieces of an answer that are no box"] == 1
    assert counts["rows with a problem"] == 1
    assert counts["JSON files that are no array"] == 1
    assert counts["images named by a row but not in the archive"] == 2


def test_an_unfinished_ingest_is_refused(tmp_path):
    with pytest.raises(UserError, match="no finished ingest"):
        audit(tmp_path)


def test_a_long_name_is_shown_by_its_beginning(tmp_path):
    rows = [{"image": "data/" + "x" * 100_000}]
    write_parts(tmp_path, tar_bytes({"data/json/VQA/a.json": json.dumps(rows).encode()}), 1)
    ingest(tmp_path, tmp_path / "in", Progress(quiet=True))
    report = audit(tmp_path / "in")
    assert any("xxx" in example for finding in report.findings for example in finding.examples)
    assert len(report.render(False)) < 20_000 and len(report.render(True)) < 20_000
