"""How fast a file comes and is unpacked: `python -m benchmarks.fetch --out RESULT.json`.

A server of this machine sends a file from memory with the kernel's own call (`sendfile`), so that what is measured is
the receiver. *floor* reads the bytes and drops them; *floor with sha256* sums them too; httpx2 (which huggingface_hub
brings) and requests write and sum in one thread, as their users do. Both the time on the clock and the processor time
of this process are told: the machine may be busy with other work. Files lie in memory (`/dev/shm`) where there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median

from benchmarks.machine import describe
from mmrs.fetch.archives.volumes import ArchiveVolumes
from mmrs.fetch.http_client import Address
from mmrs.fetch.placing import Placing
from mmrs.fetch.remote_file import RemoteFile
from mmrs.fetch.transfer import Transfer
from tests.support.servers import free_port, wait_for

_SERVER = """
import os, socket, sys, threading
path, port = sys.argv[1], int(sys.argv[2])
listening = socket.socket()
listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listening.bind(("127.0.0.1", port))
listening.listen(32)
def answer(peer):
    with peer, open(path, "rb") as file:
        if not peer.recv(65536):
            return
        size = os.fstat(file.fileno()).st_size
        head = b'HTTP/1.1 200 OK\\r\\nETag: "x"\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n'
        peer.sendall(head % size)
        peer.sendfile(file)
while True:
    threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        results = measure(Path(folder), asked.mib, asked.rounds)
    for name, row in results.items():
        print(f"{name:28} {row['mb_per_second']:8.0f} MB/s  {row['mb_per_processor_second']:8.0f} MB/processor-s")
    content = {"date": str(date.today()), "machine": describe(), "mib": asked.mib, "results": results}
    asked.out.write_text(json.dumps(content, indent=2) + "\n")


def measure(folder: Path, mib: int, rounds: int) -> dict[str, dict]:
    served = folder / "served"
    piece = os.urandom(2**20)
    with served.open("wb") as file:
        for _ in range(mib):
            file.write(piece)
    sums = {name: file_digest(served, name) for name in ("md5", "sha256")}
    port = free_port()
    server = subprocess.Popen([sys.executable, "-c", _SERVER, str(served), str(port)])
    try:
        wait_for(port)
        url = f"http://127.0.0.1:{port}/served"
        known = RemoteFile("served", Address(url, ("127.0.0.1",), {}), size=mib * 2**20)
        cases: dict[str, Callable[[], object]] = {
            "floor": lambda: floor(port, with_sum=False),
            "floor with sha256": lambda: floor(port, with_sum=True),
            "fetch, sum not known": lambda: Transfer().fetch(known, folder / "a"),
            "fetch, sha256 known": lambda: fetch(known, folder, sha256=sums["sha256"]),
            "fetch, md5 known": lambda: fetch(known, folder, md5=sums["md5"]),
            "fetch, two at a time": lambda: two(known, folder, sums["sha256"]),
            "requests": lambda: by_requests(url, folder / "a", sums["sha256"]),
            "httpx2": lambda: by_httpx(url, folder / "a", sums["sha256"]),
        }
        results = {name: timed(run, 2 * mib if "two" in name else mib, rounds, folder) for name, run in cases.items()}
    finally:
        server.kill()
        server.wait()
    served.unlink()
    return results | unpacked(folder, min(mib, 256), rounds)


def timed(run: Callable[[], object], mib: int, rounds: int, folder: Path) -> dict:
    seconds, processor = [], []
    for _ in range(rounds):
        before, before_processor = time.monotonic(), time.process_time()
        run()
        seconds.append(time.monotonic() - before)
        processor.append(time.process_time() - before_processor)
        for name in ("a", "b"):
            (folder / name).unlink(missing_ok=True)
    megabytes = mib * 2**20 / 1e6
    return {
        "mb_per_second": megabytes / median(seconds),
        "mb_per_processor_second": megabytes / median(processor),
        "seconds": seconds,
        "processor_seconds": processor,
    }


def floor(port: int, with_sum: bool) -> None:
    total = hashlib.sha256()
    buffer = memoryview(bytearray(2**20))
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"GET /served HTTP/1.1\r\nHost: x\r\n\r\n")
        while count := peer.recv_into(buffer):
            if with_sum:
                total.update(buffer[:count])


def fetch(known: RemoteFile, folder: Path, **digests: str) -> None:
    Transfer().fetch(replace(known, digests=digests), folder / "a")


def two(known: RemoteFile, folder: Path, sha256: str) -> None:
    wanted = replace(known, digests={"sha256": sha256})
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: Transfer().fetch(wanted, folder / name), ("a", "b")))


def by_requests(url: str, path: Path, sha256: str) -> None:
    import requests

    total = hashlib.sha256()
    with requests.get(url, stream=True, timeout=30) as response, path.open("wb") as file:
        for part in response.iter_content(2**20):
            file.write(part)
            total.update(part)
    check(total.hexdigest() == sha256)


def by_httpx(url: str, path: Path, sha256: str) -> None:
    import httpx2

    total = hashlib.sha256()
    with httpx2.stream("GET", url) as response, path.open("wb") as file:
        for part in response.iter_bytes(2**20):
            file.write(part)
            total.update(part)
    check(total.hexdigest() == sha256)


def check(is_right: bool) -> None:
    if not is_right:
        raise SystemExit("another file came")


def unpacked(folder: Path, mib: int, rounds: int) -> dict[str, dict]:
    """Unpacking of pictures, which do not shrink: `mib` files of 1 MiB."""
    pictures = {f"images/{number:05d}.jpg": os.urandom(2**20) for number in range(mib)}
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_STORED) as packed:
        for name, content in pictures.items():
            packed.writestr(name, content)
    with tarfile.open(folder / "x.tar.gz", "w:gz", compresslevel=1) as packed_tar:
        for name, content in pictures.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            packed_tar.addfile(info, io.BytesIO(content))
    del pictures
    state = folder / "state"
    state.mkdir()
    results = {}
    for name in ("x.zip", "x.tar.gz"):

        def run(name: str = name) -> None:
            target = Path(tempfile.mkdtemp(dir=folder))
            Placing(target, state).unpack(ArchiveVolumes((folder / name,)), "")
            subprocess.run(["rm", "-r", str(target)], check=True)

        results[f"unpack {name}"] = timed(run, mib, rounds, folder)
    return results


def file_digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, name).hexdigest()


if __name__ == "__main__":
    main()
