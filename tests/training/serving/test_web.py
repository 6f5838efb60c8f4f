"""The page of a model: what it is told over HTTP, and a user's session in Chromium, from an upload to a download."""

import base64
import http.client
import io
import json
import re
import time

import numpy as np
import pytest
import rasterio
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from rasterio.io import MemoryFile

from mmrs.geometry import SquareFrame
from mmrs.instructions import prompts
from mmrs.instructions.dialects import dialect
from mmrs.text import harmless
from tests.support.applications import serving
from tests.support.browser import BROWSER, open_page
from training.model.inputs.conversation import Conversation
from training.serving.api.intake import decode_picture
from training.serving.engine import EngineFull, Finished, Sampling, TextPiece
from training.serving.pictures import ground_place_of
from training.serving.web.album import Album, ShownPicture
from training.serving.web.app import DemoOptions, make_demo
from training.serving.web.questions import ASKABLE, filled_prompt

MMRS = dialect("mmrs")
HOSTILE = "<img src=x onerror=alert(1)> </script>"
# In the padded square of a 90 x 60 picture: one ship upright, one turned, and a word that would be markup.
SHIPS = (
    "There is <p>one ship</p>[0.100,0.300,0.300,0.500] and "
    "<p>one ship</p>[0.500,0.400,0.700,0.500,0.600,0.700,0.400,0.600] in the image."
)
SAID = f"{SHIPS} {HOSTILE}"


class ScriptedEngine:
    """Says one thing, in two pieces; what it was asked is kept."""

    def __init__(self, said=SAID):
        self.said, self.asked, self.tickets = said, [], []

    def submit(self, conversation, sampling, deliver):
        if self.said is None:
            raise EngineFull("64 requests are waiting already", 5)
        self.asked.append((conversation, sampling))
        deliver(TextPiece(self.said[:20]))
        deliver(TextPiece(self.said[20:]))
        deliver(Finished(self.said, "stop", 10, 20))
        self.tickets.append(ScriptedTicket())
        return self.tickets[-1]

    def close(self, patience_seconds=30.0):
        """Nothing runs."""


class ScriptedTicket:
    was_cancelled = False

    def cancel(self):
        self.was_cancelled = True


@pytest.fixture(scope="module")
def upload(scene):
    """A picture that a camera stored on its side: 60 x 90 in the file, 90 x 60 upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    scene.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", exif=exif, quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def geotiff(scene):
    """90 x 60 pixels of 2 m, north up."""
    with MemoryFile() as file:
        place = {"crs": "EPSG:32631", "transform": rasterio.Affine(2, 0, 500_000, 0, -2, 5_000_000)}
        with file.open(driver="GTiff", width=90, height=60, count=3, dtype="uint8", **place) as out:
            out.write(np.asarray(scene).transpose(2, 0, 1))
        return bytes(file.getbuffer())


@pytest.fixture
def scripted():
    engine = ScriptedEngine()
    with serving(make_demo(engine, DemoOptions("tiny", MMRS))) as port:
        engine.port = port
        yield engine


def send(port, path, value=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = None if value is None else value if isinstance(value, bytes) else json.dumps(value).encode()
    sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
    connection.request("GET" if value is None else "POST", path, body, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def address(content, kind="jpeg"):
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def ask(port, path, value=None):
    status, content = send(port, path, value)
    return status, json.loads(content)


def chosen(port, upload):
    return ask(port, "/api/picture", {"image": address(upload)})[1]["picture"]


def test_an_upload_is_upright_and_boxes_are_in_its_pixels(scripted, upload):
    status, found = ask(scripted.port, "/api/picture", {"image": address(upload)})
    assert status == 200 and (found["width"], found["height"]) == (90, 60)
    with Image.open(io.BytesIO(send(scripted.port, f"/picture/{found['picture']}")[1])) as shown:
        assert shown.size == (90, 60)
    _, content = send(scripted.port, "/api/ask", {"picture": found["picture"], "prompt": "Detect ships."})
    lines = [json.loads(line) for line in content.splitlines()]
    assert "".join(line["piece"] for line in lines[:-1]) == lines[-1]["text"] == SAID
    upright, turned = lines[-1]["boxes"]
    assert upright["name"] == turned["name"] == "ship" and upright["colour"] == turned["colour"]
    assert upright["quad"] == [[9, 12], [27, 12], [27, 30], [9, 30]] and not upright["oriented"]
    assert turned["quad"] == [[45, 21], [63, 30], [54, 48], [36, 39]] and turned["oriented"]
    ((conversation, _),) = scripted.asked
    assert conversation.images[0][0].size == (90, 60)


def test_the_answer_is_the_engine_s(engine, upload):
    with serving(make_demo(engine, DemoOptions("tiny", MMRS))) as port:
        prompt = prompts.DETECTION_ALL["detection-hbb"]
        _, content = send(port, "/api/ask", {"picture": chosen(port, upload), "prompt": prompt, "max_tokens": 16})
    conversation = Conversation((("human", prompt),), ((decode_picture(upload),),))
    (expected,) = [e for e in engine.answer(conversation, Sampling(max_new_tokens=16)) if isinstance(e, Finished)]
    last = json.loads(content.splitlines()[-1])
    assert (last["text"], last["reason"]) == (harmless(expected.text), expected.reason)


@pytest.mark.parametrize("task", ASKABLE, ids=lambda task: task.name)
def test_every_button_asks_a_released_prompt(task, scripted, upload):
    box = [9, 12, 27, 30]
    sent = {"picture": chosen(scripted.port, upload), "task": task.name, "words": " ship ", "box": box}
    status, found = ask(scripted.port, "/api/prompt", sent)
    frame = SquareFrame(90, 60)
    written = MMRS.format_hbb([box], frame)
    filled = {"plural": "ships", "text": "ship", "question": "ship", "box": written}
    assert status == 200 and found["prompt"] == task.template.format(**filled) == filled_prompt(
        task, "ship", box, frame, MMRS
    )
    assert ("box" in task.needs) == (written in found["prompt"]) and "{" not in found["prompt"]
    for need, empty in (
        ("class", {"words": " "}),
        ("words", {"words": ""}),
        ("box", {"box": None}),
        ("box", {"box": [3, 3, 3, 9]}),
    ):
        if need in task.needs:
            status, told = ask(scripted.port, "/api/prompt", sent | empty)
            assert status == 400 and told["error"].startswith(("type ", "drag a box"))


def test_what_is_wrong_is_told(scripted, upload, scene):
    port, picture = scripted.port, chosen(scripted.port, upload)
    buffer = io.BytesIO()
    scene.save(buffer, "GIF")
    for wrong in (
        address(b"no image"),
        address(buffer.getvalue(), "gif"),
        "http://127.0.0.1/x.png",
        "/etc/passwd",
        3,
        None,
    ):
        status, told = ask(port, "/api/picture", {"image": wrong})
        assert status == 400 and told["error"], wrong
    assert ask(port, "/api/picture", {"row": 0})[0] == 400
    right = {"picture": picture, "prompt": "?"}
    for change in ({"prompt": " "}, {"prompt": "x" * 5000}, {"prompt": 3}, {"max_tokens": 0}, {"max_tokens": "9"}):
        assert ask(port, "/api/ask", right | change)[0] == 400, change
    for other in ("", picture[:-1], 7, None):
        assert ask(port, "/api/ask", right | {"picture": other})[0] == 404
    assert ask(port, "/api/prompt", {"picture": picture, "task": "x"})[0] == 400
    assert ask(port, "/api/prompt", {"picture": picture, "task": "vqa", "box": [1, 2, 3, "x"]})[0] == 400
    for body in (b"{", b"[]"):
        assert send(port, "/api/ask", body)[0] == 400
    scripted.said = None
    assert ask(port, "/api/ask", right)[0] == 429
    assert scripted.asked == []


def test_a_geotiff_s_boxes_are_on_the_ground_too(scripted, geotiff):
    status, found = ask(scripted.port, "/api/picture", {"image": address(geotiff, "tiff")})
    assert status == 200 and found["ground"] is True
    _, content = send(scripted.port, "/api/ask", {"picture": found["picture"], "prompt": "Detect ships."})
    ground = json.loads(content.splitlines()[-1])["geojson"]
    assert ground["crs"]["properties"]["name"] == "EPSG:32631"
    first, second = ground["features"]
    # Corners in pixels are (9, 12), (27, 12), ...; a pixel is 2 m wide, and north is up.
    corners = [[500018, 4999976], [500054, 4999976], [500054, 4999940], [500018, 4999940], [500018, 4999976]]
    assert first["geometry"] == {"type": "Polygon", "coordinates": [corners]} and first["properties"] == {
        "name": "ship"
    }
    assert second["geometry"]["coordinates"][0][0] == [500090, 4999958]


@pytest.mark.parametrize("damage", ["no ground", "turned", "cut", "no tiff", "half a header"])
def test_what_states_no_ground_has_none(geotiff, scene, damage):
    buffer = io.BytesIO()
    if damage == "turned":
        with Image.open(io.BytesIO(geotiff)) as image:
            tags = ImageFileDirectory_v2()
            for number in (33550, 33922, 34735, 34737):
                tags[number], tags.tagtype[number] = image.tag_v2[number], image.tag_v2.tagtype[number]
        tags[0x0112] = 6
        scene.save(buffer, "TIFF", tiffinfo=tags)
        assert b"WGS 84" in buffer.getvalue()
    else:
        scene.save(buffer, "TIFF")
    content = {"cut": geotiff[:200], "no tiff": b"II", "half a header": b"II*\0\xff\xff\xff\xff"}.get(damage)
    assert ground_place_of(buffer.getvalue() if content is None else content) is None


def test_a_conversation_goes_on_about_the_same_image(scripted, upload):
    picture = chosen(scripted.port, upload)
    turns = ["Detect ships.", f"There is one.\x1b {HOSTILE}"]
    _, content = send(scripted.port, "/api/ask", {"picture": picture, "prompt": "Where?", "turns": turns})
    last = json.loads(content.splitlines()[-1])
    assert last["said"] == SAID
    ((conversation, _),) = scripted.asked
    assert conversation.turns == (("human", turns[0]), ("gpt", turns[1]), ("human", "Where?"))
    assert [len(own) for own in conversation.images] == [1, 0]
    right = {"picture": picture, "prompt": "Where?"}
    for wrong in (["a"], ["a", 3], [["a", "b"]], "ab", {"a": "b"}, ["a", "x" * 20_000], ["a", "b"] * 20, None):
        status, told = ask(scripted.port, "/api/ask", right | {"turns": wrong})
        assert status == 400 and "a question and its answer in turn" in told["error"], wrong


def test_a_conversation_that_is_too_long_says_what_to_do(engine, upload):
    with serving(make_demo(engine, DemoOptions("tiny", MMRS))) as port:
        picture = chosen(port, upload)
        sent = {"picture": picture, "prompt": "?", "turns": ["word " * 700, "b"] * 4}
        status, told = ask(port, "/api/ask", sent)
    assert status == 400 and "the model reads" in told["error"] and told["error"].endswith("without the earlier turns")


def test_strangers_are_refused(scripted, upload):
    value = {"image": address(upload)}
    assert send(scripted.port, "/api/picture", value, Origin="http://evil.example")[0] == 403
    assert send(scripted.port, "/api/picture", value, Content_Type="text/plain")[0] == 403
    assert send(scripted.port, "/api/about", Host="evil.example")[0] == 403


def test_who_leaves_is_not_answered_further(upload):
    class Slow(ScriptedEngine):
        def submit(self, conversation, sampling, deliver):
            self.tickets.append(ScriptedTicket())
            deliver(TextPiece("one"))
            return self.tickets[-1]

    engine = Slow()
    with serving(make_demo(engine, DemoOptions("tiny", MMRS))) as port:
        picture = chosen(port, upload)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        body = json.dumps({"picture": picture, "prompt": "?"})
        connection.request("POST", "/api/ask", body, {"Content-Type": "application/json"})
        connection.getresponse().readline()
        connection.sock.close()
        connection.close()
        deadline = time.monotonic() + 10
        while not engine.tickets[0].was_cancelled and time.monotonic() < deadline:
            time.sleep(0.02)
    assert engine.tickets[0].was_cancelled


def test_the_oldest_pictures_go_first():
    album = Album()
    names = [album.add(ShownPicture(Image.new("L", (8, 8)))) for _ in range(70)]
    assert album.find(names[0]) is None and album.find(names[-1]) is not None
    assert len({len(name) for name in names}) == 1 and len(set(names)) == 70
    large = [album.add(ShownPicture(Image.new("L", (10_000, 9_000)))) for _ in range(2)]
    assert album.find(large[0]) is None and album.find(large[1]) is not None and album.find(names[-1]) is None


@pytest.mark.nightly
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_session_from_upload_to_download(scripted, upload, tmp_path):
    expect = pytest.importorskip("playwright.sync_api").expect
    (tmp_path / "port.jpg").write_bytes(upload)
    with open_page(f"http://127.0.0.1:{scripted.port}/", width=390, height=800, scheme="dark") as page:
        page.set_input_files("#file", tmp_path / "port.jpg")
        page.locator("#size", has_text="port.jpg: 90 × 60 px").wait_for()
        page.get_by_role("button", name="find all objects").click()
        page.locator("#ended", has_text="2 boxes").wait_for()
        assert page.locator("#answer").inner_text() == SAID
        points = [shape.get_attribute("points") for shape in page.locator(".picture .box").all()]
        assert points == ["9,12 27,12 27,30 9,30", "45,21 63,30 54,48 36,39"]
        assert page.evaluate("document.images.length + document.scripts.length") == 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        for button, name in (
            ("boxes as JSON", "boxes.json"),
            ("as DOTA", "boxes.txt"),
            ("the picture with boxes", "boxes.png"),
        ):
            with page.expect_download() as download:
                page.get_by_role("button", name=button).click()
            assert download.value.suggested_filename == name
            download.value.save_as(tmp_path / name)

        page.get_by_role("button", name="describe a box").click()
        page.locator(".picture").scroll_into_view_if_needed()
        place = page.locator(".picture").bounding_box()
        scale = min(place["width"] / 90, place["height"] / 60)
        left, top = place["x"] + (place["width"] - 90 * scale) / 2, place["y"] + (place["height"] - 60 * scale) / 2
        page.mouse.move(left + 9 * scale, top + 12 * scale)
        page.mouse.down()
        page.mouse.move(left + 20 * scale, top + 20 * scale)
        page.mouse.move(left + 27 * scale, top + 30 * scale)
        page.mouse.up()
        expect(page.locator("#prompt")).to_have_value(re.compile("^Please provide a short description for this region"))
        page.locator("#ended", has_text="2 boxes").wait_for()
        asked = page.locator("#prompt").input_value()
        assert page.faults == []
    saved = json.loads((tmp_path / "boxes.json").read_text())
    assert saved["boxes"][0]["quad"] == [[9, 12], [27, 12], [27, 30], [9, 30]] and saved["text"] == SAID
    lines = (tmp_path / "boxes.txt").read_text().splitlines()
    assert lines[1] == "45.0 21.0 63.0 30.0 54.0 48.0 36.0 39.0 ship 0"
    with Image.open(tmp_path / "boxes.png") as drawn:
        assert drawn.size == (90, 60)
        red, _, blue = drawn.convert("RGB").getpixel((18, 12))
        assert blue > red + 40, "the grey picture has the blue outline"
    (box,) = MMRS.parse(asked.rpartition("[")[2].removesuffix("]"), SquareFrame(90, 60)).hbb
    assert np.abs(box - [9, 12, 27, 30]).max() < 1.5


@pytest.mark.nightly
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_conversation_about_a_geotiff(scripted, geotiff, tmp_path):
    pytest.importorskip("playwright.sync_api")
    (tmp_path / "port.tif").write_bytes(geotiff)
    with open_page(f"http://127.0.0.1:{scripted.port}/", width=390, height=800) as page:
        page.set_input_files("#file", tmp_path / "port.tif")
        page.locator("#size", has_text="port.tif: 90 × 60 px").wait_for()
        further = page.get_by_role("button", name="Ask further")
        assert further.is_hidden()
        page.get_by_role("button", name="find all objects").click()
        page.locator("#ended", has_text="2 boxes").wait_for()
        first = page.locator("#prompt").input_value()
        for number, prompt in enumerate(("Where?", "Why?"), 1):
            page.locator("#prompt").fill(prompt)
            further.click()
            page.locator("#ended", has_text="2 boxes").wait_for()
            assert page.locator("#earlier li").count() == number
        assert page.locator("#earlier li").all_inner_texts()[0].split("\n")[0] == first
        assert HOSTILE in page.locator("#earlier").inner_text() and page.evaluate("document.scripts.length") == 1
        with page.expect_download() as download:
            page.get_by_role("button", name="as GeoJSON").click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
        page.get_by_role("button", name="Ask", exact=True).click()
        page.locator("#ended", has_text="2 boxes").wait_for()
        assert page.locator("#earlier li").count() == 0 and page.faults == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    turns = [[text for _, text in conversation.turns] for conversation, _ in scripted.asked]
    assert turns == [[first], [first, SAID, "Where?"], [first, SAID, "Where?", SAID, "Why?"], ["Why?"]]
    saved = json.loads((tmp_path / "boxes.geojson").read_text())
    assert len(saved["features"]) == 2 and saved["crs"]["properties"]["name"] == "EPSG:32631"
