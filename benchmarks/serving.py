"""Many clients of `mmrs serve` against one, the time to the first token, equal answers, and a scene of `mmrs predict`.

    python -m benchmarks.serving --out RESULT.json
    python -m benchmarks.serving --scene --out RESULT.json

The server is the process that a user starts, on a CPU with a `tiny` model of random weights that never ends an answer
itself, so all answers have the same number of tokens. Clients are in a process of their own, over real HTTP;
every request sends an image that nobody sent before, as data:. One client and sixteen take turns, so that what else
runs on the machine meets both. `tokens_per_processor_second` counts the server's own processor time, and is what a
busy machine leaves comparable. `equal` compares the answers to the same images and prompts of `mmrs chat`,
`mmrs predict`, `mmrs serve` (whole, and as a stream, alone and among sixteen) and `mmrs eval`'s generation.

`--scene` asks about a generated scene of 20,000 x 20,000 pixels by windows, which takes minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import torch
from PIL import Image

from benchmarks.large_scene import CASES, make, scene_path
from benchmarks.machine import describe
from mmrs.instructions.prompts import DETECTION_ALL
from mmrs.text import harmless
from training.model import EarthGPTImageProcessor, EarthGPTProcessor, initialise, preset, train_tokenizer

PROMPT = DETECTION_ALL["detection-hbb"]
TOKENS, VOCABULARY = 64, 1024
GOAL_RATIO, GOAL_FIRST_TOKEN_MS, GOAL_SCENE_BYTES = 4.0, 300.0, 2 * 10**9
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=3, help="of each client, in each round")
    parser.add_argument("--scene", action="store_true", help="also a scene of 20,000 x 20,000 pixels; takes minutes")
    parser.add_argument("--side", type=int, default=20_000, help="of the scene")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    result: dict[str, Any] = {"date": date.today().isoformat(), "machine": describe(), "load_before": load}
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder) / "tiny")
        with served(model) as server:
            result |= asyncio.run(asked(server, given.rounds, given.requests))
        result["equal"] = compared(model, Path(folder))
        if given.scene:
            result["scene"] = predicted_scene(model, Path(folder), given.side)
    given.out.write_text(json.dumps(result, indent=1) + "\n")
    for line in told(result):
        print(line)


def told(result: dict[str, Any]) -> Iterator[str]:
    """What a person wants to know of a result."""
    for name, rows in result["throughput"].items():
        yield (
            f"{name}: 16 clients {rows['ratio']:.1f} x one (least {min(rows['ratios']):.1f}; goal {GOAL_RATIO:g}), by "
            f"processor time {rows['processor_ratio']:.1f} x; "
            + ", ".join(f"{clients}: {rate:.0f} tokens/s" for clients, rate in rows["tokens_per_second"].items())
        )
    first = result["first_token_ms"]
    yield f"first token: median {first['median']:.0f} ms, worst {first['worst']:.0f} ms (goal {GOAL_FIRST_TOKEN_MS:g})"
    yield f"{result['crowd']['clients']} clients at once: {result['crowd']['answered']} answered"
    yield f"answers equal: {result['equal']['equal']} ({', '.join(result['equal']['equal_to_eval'])})"
    if "scene" in result:
        scene = result["scene"]
        yield (
            f"scene: {scene['windows']} windows, {scene['seconds']:.0f} s, {scene['processor_seconds']:.0f} s of "
            f"processor time, {scene['peak_rss_bytes'] / 1e9:.2f} GB (goal {GOAL_SCENE_BYTES / 1e9:g})"
        )


def save_model(folder: Path) -> Path:
    """A tiny model that never ends an answer: its end token has no weight, and some other token always has more."""
    tokenizer = train_tokenizer(
        [PROMPT, "There are <p>two ships</p>[0.123,0.456,0.789,0.012] in the image."], VOCABULARY
    )
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    image_token_id = tokenizer.convert_tokens_to_ids("<image>")
    config = preset("tiny", vocab_size=len(tokenizer), image_token_id=image_token_id, **ids)
    model = initialise(config, 0)
    with torch.no_grad():
        model.lm_head.weight[ids["eos_token_id"]] = 0
    model.save_pretrained(folder)
    EarthGPTProcessor(EarthGPTImageProcessor(config.image_size), tokenizer, config.image_slots).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Server:
    """A running `mmrs serve`."""

    url: str
    pid: int

    def processor_seconds(self) -> float:
        """Of all its threads since its start."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def served(model: Path) -> Iterator[Server]:
    """The server of a model, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "mmrs", "serve", str(model), "--port", str(port), "--device", "cpu"]
    process = subprocess.Popen(words, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield Server(f"http://127.0.0.1:{port}", process.pid)
    finally:
        process.terminate()
        process.wait(60)


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until something listens at the port, or the process ends."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"the server ended with {process.returncode}")


@dataclass
class Pictures:
    """Images of which no two are alike."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def file(self, side: int = 256) -> bytes:
        """A JPEG of smooth noise."""
        small = Image.fromarray(self.rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        small.resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()


def body_of(file: bytes, stream: bool, tokens: int = TOKENS) -> dict[str, Any]:
    """The request about an image."""
    address = f"data:image/jpeg;base64,{base64.b64encode(file).decode()}"
    content = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": PROMPT}]
    options = {"stream_options": {"include_usage": True}} if stream else {}
    return {"messages": [{"role": "user", "content": content}], "max_tokens": tokens, "stream": stream} | options


@dataclass(frozen=True)
class Reply:
    """What came: the text, how many tokens it has, and the milliseconds to its first piece (a stream's)."""

    text: str
    tokens: int
    first_ms: float


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Reply:
    """One request. Raises RuntimeError for whatever is no answer."""
    started = time.perf_counter()
    async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {await reply.text()}")
        if not body["stream"]:
            content = await reply.json()
            return Reply(content["choices"][0]["message"]["content"], content["usage"]["completion_tokens"], 0.0)
        text, tokens, first = "", 0, 0.0
        async for line in reply.content:
            if not line.startswith(b"data: {"):
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                raise RuntimeError(chunk["error"]["message"])
            if chunk.get("usage"):
                tokens = chunk["usage"]["completion_tokens"]
            for choice in chunk["choices"]:
                piece = choice["delta"].get("content") or ""
                if piece and not first:
                    first = (time.perf_counter() - started) * 1e3
                text += piece
        return Reply(text, tokens, first)


async def asked(server: Server, rounds: int, requests: int) -> dict[str, Any]:
    """Everything that is asked of a running server."""
    pictures = Pictures()
    await burst(server, pictures, 2, 1, True)
    throughput = {}
    for name, stream in (("streams", True), ("whole replies", False)):
        turns: dict[int, list[dict[str, float]]] = {1: [], 16: []}
        for _ in range(rounds):
            for clients in turns:
                turns[clients].append(await burst(server, pictures, clients, requests, stream))
        throughput[name] = summed(turns)
    singles = [body_of(pictures.file(), True, 4) for _ in range(20)]
    crowd = [body_of(pictures.file(), number % 2 == 0, 16) for number in range(50)]
    async with connected() as session:
        first = sorted([(await ask(session, server.url, body)).first_ms for body in singles])
        replies = await asyncio.gather(*(ask(session, server.url, body) for body in crowd), return_exceptions=True)
    answered = sum(isinstance(reply, Reply) and reply.tokens == 16 for reply in replies)
    return {
        "tokens_of_an_answer": TOKENS,
        "throughput": throughput,
        "first_token_ms": {"median": statistics.median(first), "worst": first[-1], "all": first},
        "crowd": {"clients": len(crowd), "answered": answered},
    }


def connected() -> aiohttp.ClientSession:
    """As many connections as there are requests at a time; a server closes those that are idle for 5 s."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def burst(server: Server, pictures: Pictures, clients: int, requests: int, stream: bool) -> dict[str, float]:
    """So many clients that ask one question after the other; one alone asks four times as many, to last as long."""
    each = requests * 4 if clients == 1 else requests
    bodies = [[body_of(pictures.file(), stream) for _ in range(each)] for _ in range(clients)]

    async with connected() as session:

        async def client(own: list[dict[str, Any]]) -> int:
            return sum([(await ask(session, server.url, body)).tokens for body in own])

        before, started = server.processor_seconds(), time.perf_counter()
        tokens = sum(await asyncio.gather(*map(client, bodies)))
        seconds, used = time.perf_counter() - started, server.processor_seconds() - before
    if tokens != TOKENS * clients * each:
        raise RuntimeError(f"{tokens} tokens came, of {TOKENS * clients * each}")
    return {"tokens": tokens, "seconds": seconds, "processor_seconds": used}


def summed(turns: dict[int, list[dict[str, float]]]) -> dict[str, Any]:
    """Rates by number of clients, and what sixteen have of one: median over rounds."""

    def rates(clients: int, by: str) -> list[float]:
        return [turn["tokens"] / turn[by] for turn in turns[clients]]

    ratios = {by: [many / one for one, many in zip(rates(1, by), rates(16, by), strict=True)] for by in _CLOCKS}
    return {
        "ratio": statistics.median(ratios["seconds"]),
        "ratios": ratios["seconds"],
        "processor_ratio": statistics.median(ratios["processor_seconds"]),
        "tokens_per_second": {clients: statistics.median(rates(clients, "seconds")) for clients in turns},
        "tokens_per_processor_second": {
            clients: statistics.median(rates(clients, "processor_seconds")) for clients in turns
        },
        "rounds": turns,
    }


_CLOCKS = ("seconds", "processor_seconds")


def compared(model: Path, folder: Path) -> dict[str, Any]:
    """The same images and prompts by every way of asking; `equal` says whether all texts are equal."""
    pictures, count, tokens = Pictures(np.random.default_rng(1)), 8, 24
    paths = []
    for number in range(count):
        paths.append(folder / f"picture-{number}.jpg")
        paths[-1].write_bytes(pictures.file(120 + 30 * number))
    texts = {"eval": evaluated(model, paths, tokens), "chat": chatted(model, paths, tokens)}
    out = folder / "predicted"
    words = ["predict", str(model), *map(str, paths), "--out", str(out), "--max-tokens", str(tokens), "--device", "cpu"]
    run(words)
    found = json.loads((out / "predictions.json").read_text())["images"]
    by_name = {each["file"]: each["texts"][0] for each in found}
    texts["predict"] = [by_name[path.name] for path in paths]
    with served(model) as server:
        texts |= asyncio.run(served_texts(server, paths, tokens))
    # A terminal is written nothing that it would obey.
    shown = ["\n".join(map(harmless, text.split("\n"))).strip("\n") for text in texts["eval"]]
    equal = {
        way: sum(a == b for a, b in zip(own, shown if way == "chat" else texts["eval"], strict=True))
        for way, own in texts.items()
    }
    different = len(set(texts["eval"]))
    return {"equal": set(equal.values()) == {count}, "images": count, "different": different, "equal_to_eval": equal}


async def served_texts(server: Server, paths: list[Path], tokens: int) -> dict[str, list[str]]:
    """Whole, as a stream, and all twice at the same time."""
    files = [path.read_bytes() for path in paths]
    async with connected() as session:
        alone = {
            f"serve, {name}": [(await ask(session, server.url, body_of(file, stream, tokens))).text for file in files]
            for name, stream in (("whole", False), ("stream", True))
        }
        bodies = [body_of(file, stream, tokens) for stream in (False, True) for file in files]
        together = [reply.text for reply in await asyncio.gather(*(ask(session, server.url, body) for body in bodies))]
    return alone | {"serve, among sixteen": together[: len(files)], "streams among sixteen": together[len(files) :]}


def evaluated(model_folder: Path, paths: list[Path], tokens: int) -> list[str]:
    """As `mmrs eval` asks its model, all images in one batch."""
    from training.model import EarthGPTForConditionalGeneration

    model = EarthGPTForConditionalGeneration.from_pretrained(model_folder).eval()
    processor = EarthGPTProcessor.from_pretrained(model_folder)
    images = [Image.open(path).convert("RGB") for path in paths]
    inputs = processor(images=images, text=[PROMPT] * len(images))
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return processor.decode_answers(output, inputs["input_ids"].shape[1])


def chatted(model: Path, paths: list[Path], tokens: int) -> list[str]:
    """As a person types it: each image, then the question."""
    typed = "".join(f"/image {path}\n{PROMPT}\n" for path in paths)
    said = run(["chat", str(model), "--max-tokens", str(tokens), "--device", "cpu"], typed)
    # What is said of each image stands before its answer.
    return [part.strip("\n") for part in re.split(r"^.*\d+ x \d+.*\n", said, flags=re.MULTILINE)[1:]]


def run(words: list[str], typed: str = "") -> str:
    """A command of `mmrs` to its end; its output."""
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "mmrs", *words]
    done = subprocess.run(command, cwd=root, input=typed, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def predicted_scene(model: Path, folder: Path, side: int) -> dict[str, Any]:
    """A large scene by windows: seconds, processor time and the peak of the process's memory."""
    case = "optical-uint16-rgb-tiff"
    path = scene_path(folder, case)
    make(CASES[case], path, side)
    out = folder / "scene"
    words = [sys.executable, "-m", "mmrs", "--quiet", "predict", str(model), str(path), "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen([*words, "--device", "cpu", "--max-tokens", "16"], cwd=Path(__file__).parents[1])
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise RuntimeError(f"mmrs predict ended with {os.waitstatus_to_exitcode(status)}")
    texts = json.loads((out / "predictions.json").read_text())["images"][0]["texts"]
    return {
        "side_pixels": side,
        "windows": len(texts),
        "seconds": seconds,
        "processor_seconds": used.ru_utime + used.ru_stime,
        "peak_rss_bytes": used.ru_maxrss * 1024,
    }


if __name__ == "__main__":
    main()
