"""`mmrs` as a program whose start costs nothing: a process that has loaded everything forks one child for each call.

A page of the documentation calls `mmrs` a dozen times, and each call would load torch anew: two of its three seconds.
The child has the caller's words, folder, environment and streams, and its own memory, as any process has. What is
loaded when is a matter of other tests (tests/test_cli.py).
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Named by what the commands load. No polars: its threads do not survive a fork.
_LOADED = ("pyarrow.parquet", "rasterio", "shapely", "PIL.Image", "matplotlib.figure", "cli")
_LOADED_FOR_MODELS = ("torch", "transformers")
_CLIENT = """#!{python} -ESs
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
lines = [*sys.argv[1:], "", os.getcwd(), *(f"{{name}}={{value}}" for name, value in os.environ.items())]
content = "\\0".join([str(len(sys.argv) - 1), *lines]).encode()
socket.send_fds(server, [len(content).to_bytes(8, "little")], [0, 1, 2])
server.sendall(content)
code = server.recv(1)
sys.exit(code[0] if code else 70)
"""


@contextmanager
def preloaded_mmrs(folder: Path):
    """Start the process, and write the program `mmrs` into `folder`."""
    address = folder / "socket"
    (folder / "mmrs").write_text(_CLIENT.format(python=sys.executable, address=str(address)))
    (folder / "mmrs").chmod(0o755)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    server = subprocess.Popen([sys.executable, __file__, str(address)], cwd=folder, env=environment)
    try:
        while not address.exists():
            assert server.poll() is None, "the process that loads mmrs has ended"
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait()


def serve(address: str) -> None:
    """Load everything, then fork for each call until the process is terminated."""
    for name in _LOADED:
        __import__(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    # The address appears when calls are taken.
    listener.bind(f"{address}.new")
    listener.listen(16)
    os.rename(f"{address}.new", address)
    while True:
        call, _ = listener.accept()
        size, streams, _, _ = socket.recv_fds(call, 8, 3)
        content = b""
        while len(content) < struct.unpack("<Q", size)[0]:
            content += call.recv(1 << 16)
        count, *rest = content.decode().split("\0")
        words, (_, folder, *variables) = rest[: int(count)], rest[int(count) :]
        if _needs_models(words):
            for name in _LOADED_FOR_MODELS:
                __import__(name)
        if os.fork() == 0:
            listener.close()
            _answer(call, streams, words, folder, variables)
        for stream in streams:
            os.close(stream)
        call.close()


def _needs_models(words: list[str]) -> bool:
    from cli import main

    return any(main.table.get(word, "").startswith("training.") for word in words[:1])


def _answer(call: socket.socket, streams: list[int], words: list[str], folder: str, variables: list[str]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variable.split("=", 1) for variable in variables)
    sys.argv = ["mmrs", *words]
    code = 1
    try:
        from cli import main

        main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        call.sendall(bytes([code & 0xFF]))
        os._exit(code & 0xFF)


if __name__ == "__main__":
    serve(sys.argv[1])
