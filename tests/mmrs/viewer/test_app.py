"""The server as a browser and as an enemy see it."""

import http.client
import io
import json
import re
import shutil
import time
from dataclasses import replace
from importlib.resources import files

import pytest
from PIL import Image

from mmrs.builder.exclude import load_exclusions
from mmrs.data_set.data_set import open_data_set
from mmrs.errors import RunFailure, UserError
from mmrs.report.colours import class_colours
from mmrs.report.gallery import choose
from mmrs.report.page import make_page
from mmrs.report.statistics import statistics
from mmrs.viewer.app import make_viewer
from mmrs.viewer.guard import PAGE_POLICY
from mmrs.viewer.serve import load_viewed
from tests.mmrs.report.conftest import HOSTILE
from tests.support.applications import serving


def send(port, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def ask_of(port, path):
    answer, content = send(port, path)
    return answer.status, json.loads(content)


def ask(viewer, path):
    return ask_of(viewer.port, path)


def test_the_page_is_ours_alone(viewer):
    for path in ("/", "/static/view.js", "/static/look.css", "/api/about", "/nowhere", "/api/rows?order=up"):
        answer, _ = send(viewer.port, path)
        assert answer.headers["Content-Security-Policy"] == PAGE_POLICY and "'unsafe" not in PAGE_POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    page = send(viewer.port, "/")[1].decode()
    assert not re.search(r"https?://|style=|<style|\son\w+=", page)
    for name in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/app.py"):
        assert send(viewer.port, name)[0].status == 404


def test_scripts_never_make_markup_of_text():
    """What the policy would stop anyway is not tried either."""
    for path in (files("mmrs.viewer") / "static").iterdir():
        if path.name.endswith(".js"):
            assert not re.search(
                r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\(", path.read_text()
            )


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil", "", "a b", "[::1"])
def test_another_name_is_not_answered(viewer, host):
    answer, content = send(viewer.port, "/api/about", Host=host)
    assert answer.status == 403 and b"data_set" not in content


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost", "[::1]:8000", "LOCALHOST:9"])
def test_addresses_are_answered(viewer, host):
    assert send(viewer.port, "/api/about", Host=host)[0].status == 200


def test_a_name_can_be_allowed(viewed_set, tmp_path):
    app = make_viewer(load_viewed(viewed_set, tmp_path / "x"), ("box.lan",))
    with serving(app) as port:
        assert send(port, "/api/about", Host="box.lan:80")[0].status == 200
        assert send(port, "/api/about", Host="evil.lan:80")[0].status == 403


def test_rows_come_in_parts_with_boxes_in_pixels(viewer):
    data = open_data_set(viewer.location)
    _, first = ask(viewer, "/api/rows?limit=5")
    _, rest = ask(viewer, "/api/rows?offset=5&limit=200")
    assert first["total"] == len(data) and len(first["rows"]) == 5
    rows = first["rows"] + rest["rows"]
    assert [row["id"] for row in rows] == [sample.id for sample in data]
    quads = [[list(point) for point in item.quad] for item in data[8].record.objects]
    assert [box["quad"] for box in rows[8]["boxes"]] == quads
    assert len({box["colour"] for row in rows for box in row["boxes"] if box["name"] == "ship"}) == 1
    assert ask(viewer, "/api/rows?offset=99999")[1]["rows"] == []


def test_a_class_has_the_colour_of_the_report(viewer):
    """Also where a picture of the report shows a class that is ignored, and in no index."""
    pictures = choose(viewer.location, 3, 0)
    (place, shown) = next((n, each) for n, each in enumerate(pictures) if each.record.objects)
    objects = tuple(item.model_copy(update={"category": "aardvark", "ignore": True}) for item in shown.record.objects)
    pictures[place] = replace(shown, record=shown.record.model_copy(update={"objects": objects}))
    page = make_page("toy", statistics(viewer.location), pictures)
    found = {name: colour for colour, name in re.findall(r'<i style="background:(#\w+)"></i>(\w+) \d', page)}
    _, about = ask(viewer, "/api/about")
    assert found.pop("aardvark") == class_colours(())["aardvark"] and len(found) >= 2
    assert found == {name: about["colours"][name] for name in found}


def test_a_sample_says_all_that_is_known_and_nothing_that_is_obeyed(viewer):
    data = open_data_set(viewer.location)
    number = next(n for n, sample in enumerate(data) if sample.record.source == "talk")
    _, told = ask(viewer, f"/api/sample?row={number}")
    assert told["record"]["captions"] == ["many tanks", HOSTILE, "a\\u202egnp"]
    _, leak = ask(viewer, f"/api/sample?id={data[0].id}")
    assert leak["leak"] == f"the same as {HOSTILE}" and leak["group_size"] == 3
    assert [row["id"] for row in leak["group"]] == [data[n].id for n in (0, 5, 7)]
    assert ask(viewer, "/api/sample?row=99999")[0] == 400 and ask(viewer, "/api/sample?id=a/b/c")[0] == 400


def test_images_are_the_stored_bytes_or_small_copies(viewer):
    data, (_, about) = open_data_set(viewer.location), ask(viewer, "/api/about")
    address = f"/image/{about['data_set'][:16]}"
    for row in (0, len(data) - 1):
        answer, content = send(viewer.port, f"{address}/{row}")
        assert content == data[row].image_bytes
        kind = "image/png" if content.startswith(b"\x89PNG") else "image/jpeg"
        assert answer.headers["Content-Type"] == kind and "immutable" in answer.headers["Cache-Control"]
        with Image.open(io.BytesIO(send(viewer.port, f"{address}/{row}?small")[1])) as small:
            assert small.format == "JPEG" and max(small.size) <= 512
    for wrong in (f"{address}/99999", "/image/0000000000000000/0", f"{address}/-1"):
        assert send(viewer.port, wrong)[0].status == 404


def post(viewer, content, **headers):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer, said = send(viewer.port, "/api/exclude", "POST", body, **{"Content_Type": "application/json"} | headers)
    return answer.status, said


def test_exclude_this_writes_lines_that_a_build_takes(viewer):
    data = open_data_set(viewer.location)
    viewer.exclude.write_bytes(b"")
    assert post(viewer, {"id": data[2].id, "reason": "upside down"})[0] == 200
    assert post(viewer, {"id": data[6].id, "reason": " "})[0] == 200
    assert load_exclusions([viewer.exclude]) == {data[2].id: "upside down", data[6].id: "excluded by hand"}
    assert ask(viewer, "/api/rows?excluded=true")[1]["total"] == 2
    assert ask(viewer, f"/api/sample?id={data[2].id}")[1]["reason"] == "upside down"
    assert post(viewer, {"id": data[2].id, "excluded": False})[0] == 200
    assert list(load_exclusions([viewer.exclude])) == [data[6].id]
    post(viewer, {"id": data[6].id, "excluded": False})


def test_nobody_else_writes_to_the_list(viewer):
    line = {"id": open_data_set(viewer.location)[2].id, "reason": "evil"}
    assert post(viewer, line, Origin="http://evil.example")[0] == 403
    assert post(viewer, line, Content_Type="text/plain")[0] == 403
    assert post(viewer, line, Content_Type="application/x-www-form-urlencoded")[0] == 403
    assert post(viewer, line, Host="evil.example")[0] == 403
    for wrong in (b"{", b"[]", {"id": "not/there/1"}, {"id": 1}, {"id": line["id"], "reason": 3}):
        assert post(viewer, wrong)[0] == 400, wrong
    assert post(viewer, b"[" * 100_000)[0] == 413
    assert load_exclusions([viewer.exclude] if viewer.exclude.exists() else []) == {}


def test_lines_of_others_stay_in_the_list(viewed_set, tmp_path):
    path = tmp_path / "exclude.jsonl"
    path.write_text('{"kind":"group","images":[]}\n{"id":"x/train/1","reason":"theirs"}\n')
    exclusions = load_viewed(viewed_set, path).exclusions
    exclusions.add("y/train/1", "ours")
    exclusions.remove("y/train/1")
    assert path.read_text() == '{"kind":"group","images":[]}\n{"id":"x/train/1","reason":"theirs"}\n'
    path.write_text("no json")
    with pytest.raises(UserError, match=r"exclude\.jsonl:1"):
        load_viewed(viewed_set, path)


def test_a_damaged_record_is_named_on_its_card_and_the_others_are_shown(viewed_set, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(viewed_set, copy)
    data = open_data_set(copy)
    row = data.table().to_pylist()[3]
    tar = copy / data._shards.manifest.shards[row["shard"]].path
    content = bytearray(tar.read_bytes())
    content[row["record_offset"]] ^= 255
    content[row["image_offset"] : row["image_offset"] + 20] = bytes(20)
    tar.write_bytes(content)
    app = make_viewer(load_viewed(copy, tmp_path / "x"))
    with serving(app) as port:
        rows = json.loads(send(port, "/api/rows")[1])["rows"]
        assert [row["row"] for row in rows if "error" in row] == [3] and "mmrs verify" in rows[3]["error"]
        told = json.loads(send(port, "/api/sample?row=3")[1])
        assert "mmrs verify" in told["error"] and told["record"] is None
        answer, said = send(port, f"/image/{data.id[:16]}/3?small")
        assert answer.status == 500 and b"mmrs verify" in said
        deadline = time.monotonic() + 60
        while (told := json.loads(send(port, "/api/rows?text=tanks")[1]))["contents"]["read"] < told["contents"]["of"]:
            assert time.monotonic() < deadline and told["contents"]["failure"] == ""
            time.sleep(0.1)
        assert told["total"] > 0


def test_what_cannot_be_shown_is_told_at_the_start(viewed_set, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(viewed_set, copy)
    (copy / "curation.json").write_text('{"data_set": "another"}')
    notes = load_viewed(copy, tmp_path / "x").catalogue.findings.notes
    assert "another state" in notes[0]
    (copy / "curation.json").write_text("[")
    with pytest.raises(UserError, match="mmrs curate"):
        load_viewed(copy, tmp_path / "x")
    next(copy.glob("toy/*.parquet")).write_bytes(b"")
    with pytest.raises(RunFailure, match="mmrs verify"):
        load_viewed(copy, tmp_path / "x")
