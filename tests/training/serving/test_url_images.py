"""Images at https addresses: from allowed hosts alone, by addresses that were looked at, within bounds."""

import asyncio
import socket
import ssl
import threading
import time

import openai
import pytest
import trustme
from click.testing import CliRunner
from PIL import Image

import cli
from mmrs.errors import UserError
from mmrs.instructions.dialects import dialect
from tests.support.applications import serving
from tests.support.hostile_server import WAYS, serve_hostile
from training.model.inputs.conversation import Conversation
from training.serving.api.app import ApiOptions, make_app
from training.serving.api.intake import MOST_SENT_BYTES, BadImage
from training.serving.api.remote_images import RemoteImages, allowed_hosts, is_public
from training.serving.engine import Sampling

HOST = "images.example.org"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def trust(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def certified(authority, name, seen=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if seen is not None:
        context.sni_callback = lambda connection, sent, used: seen.append(sent)
    return context


@pytest.fixture(scope="module")
def files(tmp_path_factory, scene):
    folder = tmp_path_factory.mktemp("images")
    scene.save(folder / "scene.png")
    with open(folder / "large.bin", "wb") as file:
        file.truncate(MOST_SENT_BYTES + 1)
    with open(folder / "some.bin", "wb") as file:
        file.truncate(MOST_SENT_BYTES - 1)
    return folder


@pytest.fixture(scope="module")
def named():
    """Names that clients sent in TLS."""
    return []


@pytest.fixture(scope="module")
def port(authority, files, named):
    """Of a server with the certificate of HOST; what it cannot deliver it does not do well."""
    attacked = {way: way for way in (*WAYS, "half", "same-host")}
    with serve_hostile(files, attacked, certified(authority, HOST, named)) as url:
        yield int(url.rpartition(":")[2])


@pytest.fixture
def make(port, trust):
    def made(resolve=lambda host, port: ["127.0.0.1"], allow_private=True, seconds=5.0):
        return RemoteImages(frozenset({(HOST, port)}), allow_private, seconds, trust, resolve)

    return made


def fetch(images, *addresses):
    return asyncio.run(images.fetch(addresses))


def refusal(images, *addresses):
    with pytest.raises(BadImage) as told:
        fetch(images, *addresses)
    return str(told.value)


def test_the_file_comes_with_the_name_for_tls(make, port, files, named):
    address = f"https://{HOST.upper()}:{port}/a/scene.png#part"
    found = fetch(make(), address, address)
    assert found == {address: (files / "scene.png").read_bytes()}
    assert set(named) == {HOST}


@pytest.mark.parametrize(
    ("way", "why"),
    {
        **{f"{way}-host": "sends on to another address (302)" for way in ("other", "same")},
        **{"other-scheme": "sends on to another address", "around": "sends on to another address"},
        **{"long": "an image may have 20,971,520 bytes", "large.bin": "an image may have 20,971,520 bytes"},
        **{"endless": "an image may have 20,971,520 bytes", "packed": "sends a compressed file"},
        **{"half": "no image came from", "endless-refusal": "answers 500", "nothing": "answers 404"},
        **{"dripping": "did not come within 0.3 s", "dripping-headers": "did not come within 0.3 s"},
    }.items(),
)
def test_what_is_no_sound_file_is_refused_in_time(make, port, way, why):
    start = time.monotonic()
    assert why in refusal(make(seconds=0.3 if "dripping" in way else 5.0), f"https://{HOST}:{port}/a/{way}")
    assert time.monotonic() - start < 4


def test_images_of_a_request_share_their_bounds(make, port):
    addresses = [f"https://{HOST}:{port}/{number}/some.bin" for number in range(2)]
    assert len(fetch(make(), addresses[0])[addresses[0]]) == MOST_SENT_BYTES - 1
    assert "those of a request together 29,360,128" in refusal(make(), *addresses)


@pytest.mark.parametrize(
    "address",
    [
        *("http://{0}:{1}/scene.png", "ftp://{0}:{1}/x", "https:{0}:{1}/x", "https:///x", "https://", "//{0}:{1}/x"),
        *("https://{0}/scene.png", "https://{0}:80/x", "https://{0}:0/x", "https://{0}:99999/x", "https://{0}:x/x"),
        *("https://user:pass@{0}:{1}/x", "https://user@{0}:{1}/x", "https://:@{0}:{1}/x"),
        *("https://{0}:{1}@127.0.0.1:{1}/x", "https://{0}:{1}\\@127.0.0.1/x", "https://127.0.0.1:{1}#@{0}:{1}/"),
        *("https://127.0.0.1:{1}/x", "https://2130706433:{1}/x", "https://0x7f000001:{1}/x", "https://0177.1:{1}/x"),
        *("https://[::1]:{1}/x", "https://[::ffff:127.0.0.1]:{1}/x", "https://[fe80::1%25lo]:{1}/x", "https://[/x"),
        *("https://localhost:{1}/x", "https://{0}.:{1}/x", "https://a.{0}:{1}/x", "https://{0}.evil.example:{1}/x"),
        *("https://evil.example/?{0}:{1}", "https://{0}:{1}/\nx", "https://{0}:{1}/\0", "https://{0}:{1}\t/x"),
        "https://{0}:{1}/" + "x" * 9000,
    ],
)
def test_other_addresses_are_refused_before_a_name_is_looked_up(make, port, address):
    def asked(host, port):
        raise AssertionError(f"{host}:{port} was looked up")

    assert refusal(make(asked), address.format(HOST, port))


INSIDE = (
    "127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.2.1 198.18.0.1 "
    "224.0.0.1 240.0.0.1 255.255.255.255 :: ::1 fe80::1 fe80::1%lo fc00::1 fd00:ec2::254 fec0::1 ff02::1 2001:db8::1 "
    "::ffff:127.0.0.1 ::ffff:10.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 2002:7f00:1::1 2002:a00:1:: "
    "::127.0.0.1 2001::1"
)


@pytest.mark.parametrize("address", INSIDE.split())
def test_a_name_that_leads_inside_is_refused(make, port, address):
    assert not is_public(address)
    for found in ([address], ["93.184.215.14", address], [address, "2606:2800:21f:cb07:6820:80da:af6b:8b2c"]):
        told = refusal(make(lambda host, port, found=found: found, allow_private=False), f"https://{HOST}:{port}/x")
        assert told == f"{HOST} leads to an address that is not public; nothing is fetched there"


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_public_addresses(address):
    assert is_public(address)


def test_a_name_is_resolved_once_and_that_is_where_it_goes(make, port):
    """Whoever answers for the name says something harmless first and this machine afterwards."""
    answers = iter([["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1"]])
    asked, connected = [], []

    def rebinding(host, port):
        asked.append(host)
        return next(answers)

    images = make(rebinding, allow_private=False, seconds=2.0)

    async def attempt():
        loop = asyncio.get_running_loop()

        async def connect(sock, address):
            connected.append(address[0])
            raise OSError("no way out of here")

        loop.sock_connect = connect
        await images.fetch([f"https://{HOST}:{port}/scene.png"])

    with pytest.raises(BadImage, match="no image came from"):
        asyncio.run(attempt())
    assert asked == [HOST] and connected == ["93.184.215.14"]


def test_the_certificate_must_be_of_the_name(make, authority, trust, files):
    with serve_hostile(files, {}, certified(authority, "other.example")) as url:
        port = int(url.rpartition(":")[2])
        images = RemoteImages(frozenset({(HOST, port)}), True, 5.0, trust, lambda host, port: ["127.0.0.1"])
        assert "Certificate" in refusal(images, f"https://{HOST}:{port}/scene.png")
        untrusting = RemoteImages(frozenset({(HOST, port)}), True, 5.0, None, lambda host, port: ["127.0.0.1"])
        assert "Certificate" in refusal(untrusting, f"https://{HOST}:{port}/scene.png")


def test_names_that_do_not_resolve_and_resolvers_that_sleep(make, port):
    address = f"https://{HOST}:{port}/scene.png"

    def unknown(host, port):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    assert "no image came from" in refusal(make(unknown), address)
    assert "no image came from" in refusal(make(lambda host, port: []), address)
    released = threading.Event()

    def asleep(host, port):
        released.wait(10)
        return ["127.0.0.1"]

    async def timed():
        start = time.monotonic()
        try:
            await make(asleep, seconds=0.2).fetch([address])
        except BadImage as error:
            return str(error), time.monotonic() - start
        finally:
            released.set()

    told, seconds = asyncio.run(timed())
    assert "did not come within 0.2 s" in told and seconds < 2


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("images.example.org", ("images.example.org", 443)),
        ("Images.Example.org:8443", ("images.example.org", 8443)),
        ("bücher.example", ("xn--bcher-kva.example", 443)),
        ("localhost", ("localhost", 443)),
        ("1.example", ("1.example", 443)),
    ],
)
def test_hosts_are_names(text, host):
    assert allowed_hosts([text]) == {host}


@pytest.mark.parametrize(
    "text",
    [
        *("", "*", "*.example.org", "https://example.org", "example.org/", "example.org/x", "a b", "user@example.org"),
        *(
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0x7f000001",
            "[::1]",
            "::1",
            "example.org:0x",
            "example.org:99999",
        ),
        *("example.org?x", "example.org#x", "example..org", "-example.org", ".", "example.org."),
    ],
)
def test_and_nothing_else(text):
    with pytest.raises(UserError, match=r"is no name of a host; give one such as images\.example\.org"):
        allowed_hosts([text])


def test_the_command_says_so_before_it_loads_a_model(tmp_path):
    done = CliRunner().invoke(cli.main, ["serve", str(tmp_path), "--allow-url-host", "*"])
    assert done.exit_code == 2 and "--allow-url-host '*' is no name of a host" in done.output


@pytest.fixture(scope="module")
def client(engine, port, trust):
    images = RemoteImages(frozenset({(HOST, port)}), True, 5.0, trust, lambda host, port: ["127.0.0.1"])
    app = make_app(engine, ApiOptions("tiny", dialect("mmrs"), default_tokens=8, remote_images=images))
    with (
        serving(app) as here,
        openai.OpenAI(base_url=f"http://127.0.0.1:{here}/v1", api_key="-", max_retries=0) as made,
    ):
        yield made


def messages(*addresses):
    parts = [{"type": "image_url", "image_url": {"url": address}} for address in addresses]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "How many ships?"}]}]


def test_an_answer_is_that_to_the_same_image_sent(client, engine, port, files):
    address = f"https://{HOST}:{port}/scene.png"
    said = client.chat.completions.create(model="tiny", messages=messages(address), max_tokens=8)
    with Image.open(files / "scene.png") as picture:
        conversation = Conversation((("human", "How many ships?"),), ((picture.convert("RGB"),),))
    assert said.choices[0].message.content == list(engine.answer(conversation, Sampling(8)))[-1].text
    assert said.model_extra["mmrs"]["width"] == 90


def test_what_is_refused_is_told_as_openai_does(client, server, port):
    for address, why in {
        f"https://{HOST}:{port}/large.bin": "may have 20,971,520 bytes",
        f"https://{HOST}:{port}/half": "no image came from",
        "https://example.org/a.png": "not among the hosts of --allow-url-host",
        f"http://{HOST}:{port}/scene.png": "must be https",
    }.items():
        with pytest.raises(openai.BadRequestError, match=why) as told:
            client.chat.completions.create(model="tiny", messages=messages(address))
        assert (told.value.code, told.value.param) == ("invalid_image", "messages")
    many = [f"https://{HOST}:{port}/{number}" for number in range(9)]
    with pytest.raises(openai.BadRequestError, match="may have 8 images"):
        client.chat.completions.create(model="tiny", messages=messages(*many))
    usual = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)
    with usual, pytest.raises(openai.BadRequestError, match=r"nothing is fetched.*--allow-url-host HOST"):
        usual.chat.completions.create(model="tiny", messages=messages(f"https://{HOST}:{port}/scene.png"))
