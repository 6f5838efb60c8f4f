"""Known weaknesses of the versions that constraints.txt pins, and whether a newer GDAL fits.

    python .ci/audit.py

pip-audit asks the Python advisory database over the network, in an environment of its own, ``.venv-audit``. Exit code
0: nothing is known; 1: something is, or the pinned rasterio, whose wheel carries GDAL, is not the newest that fits this
Python; 3: the database cannot be reached from here, so nothing is said.

The hashes of what is pinned are in `.ci/locked.txt`, which `.ci/lock.py` makes.
"""

from __future__ import annotations

import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv-audit"
PINS = ROOT / "constraints.txt"
UNREACHABLE = 3
_NO_NETWORK = re.compile(
    r"ConnectionError|ConnectTimeout|ReadTimeout|Max retries|NameResolution|HTTPError|ServiceError"
)
_MINUTES = 10


def main() -> int:
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    installed = _run(python, "-m", "pip", "install", "--quiet", "pip-audit")
    if installed.returncode:
        return _not_reached("pip-audit cannot be installed", installed)
    behind = _gdal(python)
    audit = _run(python, "-m", "pip_audit", "--requirement", str(PINS), "--no-deps", "--disable-pip")
    said = audit.stdout + audit.stderr
    if audit.returncode and _NO_NETWORK.search(said):
        return _not_reached("the advisory database cannot be reached", audit)
    unknown = len(re.findall("could not be audited", said))
    if not audit.returncode and unknown > len(_pins()) / 2:
        print(
            f"not audited: the database that answers here lacks {unknown} of {len(_pins())} packages", file=sys.stderr
        )
        return UNREACHABLE
    print(said.strip())
    return 1 if audit.returncode or behind else 0


def _pins() -> dict[str, str]:
    """Version by package."""
    return dict(line.split("==") for line in PINS.read_text().splitlines() if "==" in line and line[0] != "#")


def _gdal(python: Path) -> bool:
    """Say whether the pinned rasterio is older than the newest that this Python can have."""
    pinned = _pins()["rasterio"]
    found = re.search(r"rasterio \((\S+)\)", _run(python, "-m", "pip", "index", "versions", "rasterio").stdout)
    newest = found[1] if found else pinned
    print(f"rasterio {pinned} is pinned, {newest} is the newest for this Python")
    return newest != pinned


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60 * _MINUTES, check=False)


def _not_reached(what: str, run: subprocess.CompletedProcess[str]) -> int:
    last = (run.stderr.strip() or run.stdout.strip()).splitlines()[-1:]
    print(f"not audited: {what} from here: {' '.join(last)[:300]}", file=sys.stderr)
    return UNREACHABLE


if __name__ == "__main__":
    sys.exit(main())
