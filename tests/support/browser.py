"""Pages in Chromium, where there is one: a picture of a page, and what a script reads of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


def screenshot(page: Path, out: Path, width: int, height: int) -> None:
    """A PNG of the page's first `height` pixels in a window of `width`."""
    _run(out.parent, f"--window-size={width},{height}", f"--screenshot={out}", page.as_uri())


def rendered(page: Path, folder: Path) -> str:
    """The page's elements after it was loaded."""
    return _run(folder, "--dump-dom", page.as_uri())


def ask_page(page: Path, script: str, folder: Path, width: int = 1250) -> object:
    """What the JavaScript expression is on the loaded page. The page's own policy, which forbids scripts, is left out
    of the copy that is asked."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    asked = f'<script>addEventListener("load", () => {{ document.title = JSON.stringify({script}) }})</script>'
    copy = folder / "asked.html"
    copy.write_text(text.replace("</body>", f"{asked}</body>"), encoding="utf-8")
    dom = _run(folder, f"--window-size={width},2000", "--dump-dom", copy.as_uri())
    found = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert found is not None, dom[:500]
    return json.loads(unescape(found[1]))


def _run(folder: Path, *words: str) -> str:
    command = [str(BROWSER), *_FLAGS.split(), f"--user-data-dir={folder / 'profile'}", *words]
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout.decode()


@contextmanager
def open_page(address: str, width: int = 1280, height: int = 800, scheme: str = "light") -> Iterator[Any]:
    """A playwright page in Debian's Chromium, which reaches loopback alone. `page.faults` collects what the page's
    console complains of and every request that goes elsewhere."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.faults = []
        page.on("console", lambda message: message.type == "error" and page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("dialog", lambda dialog: dialog.accept())
        own = ("/".join(address.split("/")[:3]), "data:", "blob:")
        page.on("request", lambda request: request.url.startswith(own) or page.faults.append(f"asks {request.url}"))
        page.set_default_timeout(20_000)
        page.goto(address)
        try:
            yield page
        finally:
            browser.close()
