"""The server as its clients see it: the `openai` package, plain HTTP, many at once, slow, rude and hostile ones."""

import base64
import concurrent.futures
import contextlib
import http.client
import io
import json
import queue
import random
import select
import socket
import struct
import time
import weakref
import zlib

import openai
import pytest
from PIL import Image

from mmrs.instructions.dialects import dialect
from training.model.inputs.conversation import Conversation
from training.serving.api.app import ApiOptions, _Answer
from training.serving.engine import Finished, Sampling, TextPiece

QUESTION = "Please detect all objects in this image."


def address(picture, form="PNG"):
    file = io.BytesIO()
    picture.save(file, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def chat(*pictures, text=QUESTION):
    parts = [{"type": "image_url", "image_url": {"url": address(each)}} for each in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def direct(server, picture, tokens, text=QUESTION, **sampling):
    conversation = Conversation((("human", text),), ((picture,) if picture else (),))
    return list(server.engine.answer(conversation, Sampling(tokens, **sampling)))[-1]


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as made:
        yield made


def post(server, body, key=None, **headers):
    """Status, headers and content of one request by hand."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Authorization": f"Bearer {server.key if key is None else key}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/chat/completions", content, sent | headers)
    reply = connection.getresponse()
    found = reply.status, dict(reply.getheaders()), reply.read()
    connection.close()
    return found


def wait_idle(server):
    deadline = time.monotonic() + 15
    while (server.engine.running or server.engine.waiting) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.engine.running == server.engine.waiting == 0


def test_the_openai_client_gets_whole_answers(client, server, scene):
    reply = client.chat.completions.create(model="tiny", messages=chat(scene), max_tokens=12, temperature=0)
    expected = direct(server, scene, 12)
    assert reply.choices[0].message.content == expected.text and reply.choices[0].finish_reason == expected.reason
    assert reply.usage.prompt_tokens == expected.prompt_tokens > server.engine.processor.image_slots
    assert reply.usage.completion_tokens == expected.answer_tokens
    assert [model.id for model in client.models.list().data] == ["tiny"] == [client.models.retrieve("tiny").id]
    both = client.chat.completions.create(model="tiny", messages=chat(scene), max_tokens=3, max_completion_tokens=5)
    assert both.usage.completion_tokens <= 5 and both.choices[0].message.content == direct(server, scene, 5).text


def test_a_chunk_holds_what_has_come_by_then():
    """Whoever is slow to send sends longer chunks, and the end with the last of them."""
    answer = _Answer(None, ApiOptions("tiny", dialect("mmrs")), None, [], Sampling())
    end = Finished("abcde", "stop", 1, 5)
    for event in (TextPiece("b"), TextPiece("c")):
        answer._events.put_nowait(event)
    assert answer._joined(TextPiece("a")) == ("abc", None)
    answer._events.put_nowait(end)
    assert answer._joined(TextPiece("de")) == ("de", end) and answer._joined(end) == ("", end)


def test_and_streams(client, server, scene):
    expected = direct(server, scene, 12)
    stream = client.chat.completions.create(
        model="tiny", messages=chat(scene), max_tokens=12, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == expected.text
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == expected.reason
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == expected.answer_tokens
    status, _, content = post(server, {"messages": chat(scene), "stream": True, "max_tokens": 2})
    assert status == 200 and content.rstrip().endswith(b"data: [DONE]")


def test_seed_stop_and_turns(client, server, scene):
    options = {"model": "tiny", "messages": chat(scene), "max_tokens": 10, "temperature": 1.2, "seed": 5}
    first, second = (client.chat.completions.create(**options).choices[0].message.content for _ in range(2))
    assert first == second == direct(server, scene, 10, temperature=1.2, seed=5).text
    whole = direct(server, scene, 30).text
    stop = whole[9:11]
    cut = client.chat.completions.create(model="tiny", messages=chat(scene), max_tokens=30, stop=[stop])
    assert cut.choices[0].message.content == whole[: whole.index(stop)] and cut.choices[0].finish_reason == "stop"
    turns = [*chat(scene), {"role": "assistant", "content": "here"}, {"role": "user", "content": "Sure?"}]
    said = client.chat.completions.create(model="tiny", messages=turns, max_tokens=5).choices[0].message.content
    conversation = Conversation((("human", QUESTION), ("gpt", "here"), ("human", "Sure?")), ((scene,), ()))
    assert said == list(server.engine.answer(conversation, Sampling(5)))[-1].text


def test_boxes_are_pixels_of_the_sent_image(server, scene, monkeypatch):
    text = "There is <p>one ship</p>[0.250,0.300,0.500,0.500] and <p>2 cars</p>[0.1,0.2,0.2,0.2,0.2,0.3,0.1,0.3]."
    ended = Finished(text, "stop", 3, 4)
    monkeypatch.setattr(server.engine, "submit", lambda conversation, sampling, deliver: deliver(ended))
    found = json.loads(post(server, {"messages": chat(Image.new("L", (1000, 500)))})[2])["mmrs"]
    assert (found["width"], found["height"], found["frame"]) == (1000, 500, "pixels of the sent image")
    ship, car = found["boxes"]
    assert (ship["name"], ship["box"], ship["oriented"]) == ("ship", [250, 50, 500, 250], False)
    assert (car["name"], car["oriented"]) == ("car", True)


@pytest.mark.parametrize("key", ["", "wrong", "é"])
def test_a_key_is_asked_for(server, scene, key):
    status, headers, content = post(server, {"messages": chat(scene)}, key=key.encode().decode("latin-1"))
    error = json.loads(content)["error"]
    assert status == 401 and error["code"] == "invalid_api_key" and headers["www-authenticate"] == "Bearer"
    assert server.key not in content.decode()


def test_errors_have_the_form_that_clients_read(client, server, scene):
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        client.chat.completions.create(model="other", messages=chat(scene))
    with pytest.raises(openai.BadRequestError, match="tools is not supported"):
        client.chat.completions.create(
            model="tiny", messages=chat(scene), tools=[{"type": "function", "function": {"name": "a"}}]
        )
    with pytest.raises(openai.BadRequestError, match="no system turn"):
        client.chat.completions.create(model="tiny", messages=[{"role": "system", "content": "a"}, *chat(scene)])
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(model="tiny", messages=chat(scene, text="word " * 4000))
    assert told.value.code == "context_length_exceeded" and told.value.param == "messages"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/nowhere")
    assert "error" in json.loads(connection.getresponse().read())


def test_health_and_metrics(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/health")
    assert json.loads(connection.getresponse().read())["status"] == "ok"
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    values = {line.split()[0]: float(line.split()[1]) for line in lines if not line.startswith("#")}
    assert values["mmrs_requests_total"] == server.engine.counts.requests and "mmrs_requests_running" in values


@pytest.mark.nightly
def test_fifty_clients_at_once(server, scene):
    """Every one is answered rightly, or told when to come again."""
    expected = {tokens: direct(server, scene, tokens).text for tokens in (3, 6, 9)}

    def ask(number):
        tokens = (3, 6, 9)[number % 3]
        status, headers, content = post(server, {"messages": chat(scene), "max_tokens": tokens})
        if status == 429:
            return int(headers["retry-after"]) > 0
        return status == 200 and json.loads(content)["choices"][0]["message"]["content"] == expected[tokens]

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert all(pool.map(ask, range(50)))
    wait_idle(server)


def test_a_full_queue_is_told(server, scene, monkeypatch):
    from training.serving.engine import EngineFull

    def full(*arguments):
        raise EngineFull("64 requests are waiting already", 5)

    monkeypatch.setattr(server.engine, "submit", full)
    for stream in (False, True):
        status, headers, content = post(server, {"messages": chat(scene), "stream": stream})
        assert status == 429 and headers["retry-after"] == "5"
        assert json.loads(content)["error"]["code"] == "queue_full"


def head(length, path="/v1/chat/completions"):
    return (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer loopback-test-key\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_makes_room(server, scene, stream):
    body = json.dumps({"messages": chat(scene), "stream": stream, "max_tokens": 200}).encode()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head(len(body)) + body)
        if stream:
            assert b"200 OK" in connection.recv(200)
        else:
            time.sleep(0.1)
        # A reset, as of a client that was killed.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_idle(server)


def test_slow_and_silent_clients_keep_nobody_waiting(server, client, scene):
    body = json.dumps({"messages": chat(scene), "stream": True, "max_tokens": 20}).encode()
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    try:
        for number, connection in enumerate(idle):
            connection.sendall((head(len(body)) + body)[: number * 40 or None])
        start = time.monotonic()
        reply = client.chat.completions.create(model="tiny", messages=chat(scene), max_tokens=4)
        assert reply.choices[0].message.content == direct(server, scene, 4).text
        assert time.monotonic() - start < 20
    finally:
        for connection in idle:
            connection.close()
    wait_idle(server)


def png_claiming(width, height):
    """A PNG of a hundred bytes whose header states so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n" + content).decode()


def hostile(scene):
    """Bodies that must be refused with a 4xx in OpenAI's form."""

    def image(url):
        return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": url}]}]}

    good = {"messages": chat(scene)}
    addresses = [
        *("http://127.0.0.1:9/a.png", "https://example.org/a.png", "file:///etc/passwd", "/etc/passwd", "ftp://a/b"),
        *("data:image/png;base64,", "data:image/png;base64,!!!!", "data:image/png,abc", "data:text/html;base64,AAAA"),
        *(
            "data:image/svg+xml;base64,PHN2Zy8+",
            "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
            "",
            "data:",
            "x" * 10_000,
        ),
        *(png_claiming(60_000, 60_000), png_claiming(30_000, 5), png_claiming(8_000, 8_000), png_claiming(0, 7)),
    ]
    for place in addresses:
        yield image({"url": place})
        yield image(place)
    file = io.BytesIO()
    Image.new("L", (9, 9)).save(file, "TIFF", save_all=True, append_images=[Image.new("L", (9, 9))])
    yield image({"url": "data:image/tiff;base64," + base64.b64encode(file.getvalue()).decode()})
    yield from (image(value) for value in (None, 3, [], {}, {"url": None}, {"url": 7}, {"url": ["a"]}))
    for field, values in {
        "messages": [None, [], {}, "a", 3, [3], [[]], [{}], [{"role": "user"}], [{"role": 3, "content": "a"}]],
        "max_tokens": [0, -1, 1.5, "many", [], 10**30],
        "temperature": [-1, 3, "hot", [], True and "x"],
        "top_p": [0, -0.1, 1.1, "a"],
        "n": [0, 2, 100, "a"],
        "stop": [["a"] * 5, [""], "", ["a" * 300], 3, [[]]],
        "seed": [2**70, "a", 1.5],
        "stream": ["maybe", [], 7],
        "model": ["other", 3, []],
        "logprobs": [True],
        "response_format": [{"type": "json_object"}],
        "frequency_penalty": [1],
        "unknown_field": [1],
        "stream_options": [3, []],
    }.items():
        yield from (good | {field: value} for value in values)
    contents = [
        *([{"type": "text"}], [{"type": "text", "text": 3}], [{"type": "video"}], [{}], [[]], [3], {"a": 1}, 7),
        [{"type": "input_audio", "input_audio": {}}],
    ]
    yield from ({"messages": [{"role": "user", "content": content}]} for content in contents)
    yield {"messages": [{"role": role, "content": "a"} for role in ("user", "user")]}
    yield {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    yield {"messages": [{"role": "user", "content": "a"}] * 65}
    yield {"messages": chat(*[Image.new("L", (2, 2))] * 9)}


@pytest.mark.nightly
def test_hostile_requests_are_refused_and_others_served(server, client, scene):
    """Five hundred of them, whole, cut and damaged; after each sort the next honest client is answered."""
    bodies = [json.dumps(each).encode() for each in hostile(scene)]
    generator = random.Random(0)
    good = json.dumps({"messages": chat(scene), "max_tokens": 1}).encode()
    raw = [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 20_000, b'{"messages": ' + b"[" * 5_000, b"1e999", b'"a"']
    while len(bodies) + len(raw) < 500:
        damaged = bytearray(good)
        for _ in range(generator.randint(1, 8)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        raw.append(bytes(damaged[: generator.randrange(1, len(damaged))]))
    for body in bodies + raw:
        status, _, content = post(server, body)
        assert 400 <= status < 500, (status, body[:200], content[:200])
        error = json.loads(content)["error"]
        assert error["message"] and error["type"] == "invalid_request_error"
        assert "Traceback" not in error["message"] and len(error["message"]) < 700
    reply = client.chat.completions.create(model="tiny", messages=chat(scene), max_tokens=4)
    assert reply.choices[0].message.content == direct(server, scene, 4).text
    wait_idle(server)


def test_bodies_are_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head(10**12))
        assert b"413" in connection.recv(300)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        connection.sendall(start)
        chunk = b"100000\r\n" + b"a" * 2**20 + b"\r\n"
        connection.settimeout(10)
        sent = 0
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while not select.select([connection], [], [], 0)[0]:
                connection.sendall(chunk)
                sent += 1
                assert sent < 200, "it reads without end"
            assert b"413" in connection.recv(300)


def test_images_of_a_request_share_their_pixels(server, scene, monkeypatch):
    monkeypatch.setattr("training.serving.api.messages.MOST_PIXELS", 2 * scene.width * scene.height - 1)
    assert post(server, {"messages": chat(scene), "max_tokens": 1})[0] == 200
    status, _, content = post(server, {"messages": chat(scene, scene)})
    assert status == 400 and "those of a request may have" in json.loads(content)["error"]["message"]


def test_bodies_share_their_room_and_leave_it(server, scene, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("training.serving.api.app.MOST_HELD_BYTES", 100)
        for _ in range(3):
            status, headers, content = post(server, {"messages": chat(scene)})
            assert status == 429 and headers["retry-after"] == "5" and b"being read already" in content
    monkeypatch.setattr("training.serving.api.app.MOST_HELD_BYTES", len(json.dumps({"messages": chat(scene)})) + 50)
    for _ in range(3):
        assert post(server, {"messages": chat(scene), "max_tokens": 1})[0] == 200


def test_pictures_are_kept_no_longer_than_they_are_read(engine):
    picture = Image.new("L", (50, 40))
    read = weakref.ref(picture)
    prompt = engine.prepare(Conversation((("human", QUESTION),), ((picture,),)))
    again = Conversation((("human", QUESTION),), ((picture.copy(),),))
    del picture
    assert read() is None and len(prompt.squares_NCHW) == 1
    events = queue.SimpleQueue()
    engine.submit(prompt, Sampling(3), events.put)
    while not isinstance(event := events.get(timeout=30), Finished):
        pass
    assert event.text == list(engine.answer(again, Sampling(3)))[-1].text


def test_nothing_in_a_text_is_a_special_token(server, client):
    said = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "<image></s><s> a"}], max_tokens=3
    )
    assert said.usage.prompt_tokens < server.engine.processor.image_slots + 40
    assert said.choices[0].message.content == direct(server, None, 3, text="<image></s><s> a").text
