"""Install the wheel as a stranger does, the core alone and then each extra alone, and run every command in it.

    python .ci/wheel.py                    # all
    python .ci/wheel.py core report        # these environments only

Each environment is fresh, installed with the pins of constraints.txt, and lies in a temporary folder; the working
directory is another, so that nothing of the checkout is imported. A command must end with 0, or with 2 and the
``pip install 'mmrs[EXTRA]'`` to type where an extra is missing. A traceback or a "fault of the program" ends the script
with 1. Environments that need torch share one that has the extra ``train``: torch is large, and each of their extras
brings ``train`` anyway.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = "core"
DEVELOPMENT = {"docs", "test"}
PACKAGES = ("converters", "mmrs", "training")
PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Trial:
    """One command, its words, and the extra without which it may end with 2 (None: it must work anywhere)."""

    words: tuple[str, ...]
    extra: str | None = None
    ends_with: tuple[int, ...] = (0,)


def trial(line: str, extra: str | None = None, ends_with: tuple[int, ...] = (0,)) -> Trial:
    return Trial(tuple(shlex.split(line)), extra, ends_with)


# To the first question about a generated image: what it says does not matter.
ANSWER = '{"id": "ucm-captions/test/16#captioning", "text": "a river"}'
MICRO = "--set data.folders=shards --set out=run --set epochs=null --set max_steps=1 --set checkpoint.every_steps=1"
# In the order in which one works: each runs on what those before it wrote.
TRIALS = (
    trial("--version"),
    trial("--help"),
    trial("sources"),
    trial("sample hit-uav --out raw/hit-uav --set 'images_per_split={train: 6, val: 2, test: 2}'"),
    trial("scan hit-uav raw/hit-uav"),
    trial("build hit-uav --root hit-uav=raw/hit-uav --out shards --workers 2"),
    trial("build hit-uav --root hit-uav=raw/hit-uav --out ray-shards --workers 1 --engine ray", "ray"),
    trial("build hit-uav --root hit-uav=raw/hit-uav --out s3://bucket.invalid/x --dry-run", "s3", (0, 1, 2)),
    trial("verify shards --workers 1"),
    trial("stats shards"),
    trial("curate shards --workers 1"),
    trial("report shards --out page.html"),
    trial("export shards --format coco --out coco"),
    trial("push raw nobody/nothing --dry-run", None, (2,)),
    trial("release audit shards", None, (2,)),
    trial("sample ucm-captions --out raw/captions"),
    trial("build ucm-captions --root ucm-captions=raw/captions --out captioned --workers 1"),
    trial("score answers.jsonl captioned --out scored", "eval"),
    trial("inspect tiny", "train"),
    trial(f"train tiny --plan {MICRO}", "train"),
    trial(f"train tiny {MICRO}", "train"),
    trial("eval run/model shards --out scores --limit 1 --max-new-tokens 8", "train"),
    trial("export-model run/model exported", "train"),
    trial("export-checkpoint run/checkpoints/step-00000001 kept", "train"),
    trial("init made --llm exported --size tiny", "train", (0, 2)),
    trial("predict run/model raw/captions/imgs --out predicted --task classification --max-tokens 2", "train"),
    trial("chat run/model --help"),
    trial("serve run/model --help"),
    trial("demo --out demo --help"),
)


def main(wanted: list[str]) -> int:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    known = [CORE, *(name for name in extras if name not in DEVELOPMENT)]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"{unknown[0]} is no extra; there are {', '.join(known)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="mmrs-wheel-") as folder:
        place = Path(folder)
        wheel = build_wheel(place / "wheel")
        trained = {name for name in extras if "train" in brought(name, extras)}
        chosen = [name for name in known if not wanted or name in wanted]
        faults = []
        for name in [name for name in chosen if name not in trained]:
            has = set() if name == CORE else brought(name, extras)
            faults += try_environment(name, [f"{wheel}[{name}]" if has else str(wheel)], has, place)
        for name in sorted(trained & set(chosen), key=lambda extra: extra != "train"):
            faults += try_environment(name, [f"{wheel}[{name}]"], brought(name, extras), place, "training")
    print("\n".join(["", *faults, f"{len(faults)} faults"]))
    return 1 if faults else 0


def brought(name: str, extras: dict[str, list[str]]) -> set[str]:
    """An extra, and those of ours that it names, and that these name."""
    named = {found[1] for line in extras[name] if (found := re.match(r"mmrs\[(\w+)\]", line))}
    return {name}.union(*(brought(each, extras) for each in named))


def build_wheel(folder: Path) -> Path:
    """Build from a copy: setuptools leaves folders in its source, and a stale one would be packed again."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("cli.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-qq", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True, cwd=folder)
    return next(folder.glob("*.whl"))


def try_environment(
    name: str, requirements: list[str], has: set[str], place: Path, folder: str | None = None
) -> list[str]:
    """Install into a fresh environment, or add to that of the name `folder`, and run every command; the faults."""
    started = time.monotonic()
    environment, work = place / (folder or name), place / f"work-{name}"
    if not environment.exists():
        venv.create(environment, with_pip=True)
    command = [str(environment / "bin" / "python"), "-m", "pip", "install", "-qq"]
    subprocess.run([*command, "--constraint", str(ROOT / "constraints.txt"), *requirements], check=True, cwd=place)
    print(f"{name}: installed in {time.monotonic() - started:.0f} s", flush=True)
    work.mkdir()
    (work / "answers.jsonl").write_text(ANSWER)
    faults = [fault for step in TRIALS if (fault := fault_of(step, environment, work, has))]
    print(f"{name}: {len(TRIALS)} commands, {len(faults)} faults, {time.monotonic() - started:.0f} s", flush=True)
    return [f"{name}: {fault}" for fault in faults]


def fault_of(step: Trial, environment: Path, work: Path, has: set[str]) -> str | None:
    """Run one command; what is wrong with how it ended, or None."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "AWS_", "HF_"))}
    variables |= {"HF_HUB_OFFLINE": "0", "HF_HOME": str(work / "hub"), "AWS_EC2_METADATA_DISABLED": "true"}
    words = [str(environment / "bin" / "mmrs"), "--quiet", *step.words]
    done = subprocess.run(
        words, cwd=work, env=variables, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    said = done.stdout + done.stderr
    shown = f"`mmrs {' '.join(step.words)}` ended with {done.returncode}:\n{said[-1500:]}"
    if "Traceback" in said or "fault of the program" in said:
        return shown
    if step.extra is not None and step.extra not in has:
        hint = f"pip install 'mmrs[{step.extra}]'"
        return None if done.returncode == 2 and hint in said else f"{shown}\n(expected 2 and: {hint})"
    return None if done.returncode in step.ends_with else shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
