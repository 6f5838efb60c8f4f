"""Files of answers, scores and configurations of strangers, before the commands of evaluation and of recipes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.attack_kinds.annotations import ALIASES
from benchmarks.attack_kinds.scene import Attempt, Scene

MARKUP = "<script>alert(1)</script>\x1b[2J\u202e"
ID = "toy/train/00000#classification"
LINES: dict[str, Callable[[], bytes]] = {
    "no JSON": lambda: b"\xff{",
    "a list": lambda: b"[1, 2]",
    "nesting": lambda: b"[" * 100_000,
    "nested objects": lambda: b'{"id": ' * 50_000,
    "numbers for texts": lambda: json.dumps({"id": 3, "text": []}).encode(),
    "no text": lambda: json.dumps({"id": ID}).encode(),
    "an answer twice": lambda: (json.dumps({"id": ID, "text": "a"}) + "\n").encode() * 2,
    "markup and escapes": lambda: json.dumps({"id": ID, "text": MARKUP, "prompt": MARKUP, "said": MARKUP}).encode(),
    "an id of markup": lambda: json.dumps({"id": MARKUP, "text": "a"}).encode(),
    "a text of 5 MB": lambda: json.dumps({"id": ID, "text": "[0.1,0.2" * 600_000}).encode(),
    "brackets": lambda: json.dumps({"id": ID, "text": "[" * 300_000}).encode(),
    "spaces": lambda: json.dumps({"id": ID, "text": "there is " + " " * 300_000 + "x"}).encode(),
    "boxes without end": lambda: json.dumps({"id": ID, "text": "<p>a</p>[0.1,0.1,0.2,0.2]" * 20_000}).encode(),
    "phrases without end": lambda: json.dumps({"id": ID, "text": "<p>" * 200_000}).encode(),
    "infinite probabilities": lambda: (
        b'{"id": "%s", "text": "a", "box_log_probabilities": [1e999, -1e999]}' % ID.encode()
    ),
    "surrogates": lambda: b'{"id": "%s", "text": "\\ud800"}' % ID.encode(),
    "a null byte": lambda: b'{"id": "a\\u0000b", "text": "\\u0000"}',
    "200,000 answers to nothing": lambda: b"".join(b'{"id": "x%d", "text": "a"}\n' % n for n in range(200_000)),
    "a line of 50 MB": lambda: b'{"id": "' + b"x" * 50_000_000 + b'", "text": "a"}',
}
LAYOUT_LINES: dict[str, Callable[[], bytes]] = {
    **{name: LINES[name] for name in ("no JSON", "a list", "nesting", "nested objects")},
    "other kinds": lambda: json.dumps(
        {"question_id": [], "image_id": {}, "answer": None, "type": 1, "question": 2, "ground_truth": 3}
    ).encode(),
    "markup": lambda: json.dumps(
        dict.fromkeys(("question_id", "image_id", "answer", "question", "ground_truth"), MARKUP) | {"type": "x"}
    ).encode(),
    "braces": lambda: json.dumps(
        {"question_id": 1, "image_id": "a.jpg", "answer": "{<" * 100_000, "type": "ref", "question": "a"}
        | {"ground_truth": "{<1><2><3><4>}"}
    ).encode(),
    "numbers without end": lambda: json.dumps(
        {"question_id": 1, "image_id": "../" * 5000 + "a", "answer": "{<" + "9" * 200_000 + ">}", "type": "ref"}
        | {"question": "a", "ground_truth": "{<1><2><3><4>}"}
    ).encode(),
}
LAYOUTS = ("geochat", "earthdial", "vrsbench")
RECIPES: dict[str, str] = {
    "aliases": ALIASES,
    "nesting": "a: " + "[" * 3_000 + "]" * 3_000,
    "nested mappings": "".join(f"{' ' * level}a:\n" for level in range(3_000)),
    "a tag of Python": "sources: !!python/object/apply:os.system ['touch ran']",
    "a merge without end": "a: &a {<<: *a}",
    "a large number": "sources: []\nseed: " + "9" * 100_000,
    "a base of 60": "sources: []\nseed: " + ":".join(["59"] * 50_000),
    "a list of 300,000": "sources: [" + "x," * 300_000 + "]",
    "escapes": 'sources: ["\\e[2J\\a"]',
    "no text": "\x00\x01",
}


def attempts() -> Iterator[Attempt]:
    """Lines of answers with every command and layout; recipes of every command that takes one."""
    for name in LINES:
        yield Attempt("4 work", f"score: {name}", partial(_score, LINES[name], "mmrs"))
        yield Attempt("4 work", f"eval that goes on: {name}", partial(_eval, LINES[name]))
        yield Attempt("4 work", f"compare: {name}", partial(_compare, LINES[name]))
    for layout in LAYOUTS:
        for name in LAYOUT_LINES:
            yield Attempt("4 work", f"score {layout}: {name}", partial(_score, LAYOUT_LINES[name], layout))
    for name in RECIPES:
        for command in ("build", "train", "inspect", "build for good"):
            yield Attempt("4 work", f"{command}: recipe: {name}", partial(_recipe, name, command))
    for name in SCORES:
        yield Attempt("9 names", f"push: scores: {name}", partial(_scores, name))


def _score(make: Callable[[], bytes], layout: str, scene: Scene) -> None:
    path = scene.folder / "answers.jsonl"
    path.write_bytes(make())
    data = () if layout in ("earthdial", "vrsbench") else (scene.base / "shards", "--split", "train")
    scene.mmrs("score", path, *data, "--layout", layout, "--out", scene.folder / "out")
    _check_page(scene)


def _eval(make: Callable[[], bytes], scene: Scene) -> None:
    out = scene.folder / "out"
    out.mkdir()
    (out / "answers.jsonl").write_bytes(make())
    (out / "answers-00000-of-00001.jsonl").write_bytes(make())
    scene.mmrs(
        *("eval", scene.base / "model", scene.base / "shards", "--split", "train", "--task", "classification"),
        *("--out", out),
    )
    _check_page(scene)


def _compare(make: Callable[[], bytes], scene: Scene) -> None:
    shards = scene.base / "shards"
    for name in ("first", "second"):
        words = ("score", scene.base / "answers.jsonl", shards, "--split", "train", "--task", "classification")
        scene.mmrs(*words, "--out", scene.folder / name, may_fail=False)
        (scene.folder / name / "answers.jsonl").write_bytes((scene.base / "answers.jsonl").read_bytes())
    (scene.folder / "second" / "answers.jsonl").write_bytes(make())
    scene.mmrs("compare", scene.folder / "first", scene.folder / "second", shards, "--out", scene.folder / "page.html")
    _check_page(scene)


def _check_page(scene: Scene) -> None:
    scene.check_files(".html", without=("<script>alert(1)", "\x1b", "\u202e"))


def _recipe(name: str, command: str, scene: Scene) -> None:
    path = scene.folder / "recipe.yaml"
    path.write_text(RECIPES[name])
    words = {
        "build": ("build", path, "--out", scene.folder / "out", "--dry-run"),
        "train": ("train", path),
        "inspect": ("inspect", scene.base / "model", "--recipe", path),
        "build for good": ("build", path, "--out", scene.folder / "out"),
    }
    scene.mmrs(*words[command])


SCORES: dict[str, bytes] = {
    "a list": b"[]",
    "nesting": b"[" * 100_000,
    "no rows": b'{"format": "mmrs-scores-1"}',
    "rows of other kinds": b'{"format": "mmrs-scores-1", "rows": [3, null, {"task": []}]}',
    "markup": json.dumps({"format": "mmrs-scores-1", "data_set": MARKUP, "rows": [{"task": MARKUP}]}).encode(),
    "infinite": b'{"format": "mmrs-scores-1", "rows": [{"value": 1e999}]}',
}


def _scores(name: str, scene: Scene) -> None:
    path = scene.folder / "scores.json"
    path.write_bytes(SCORES[name])
    scene.mmrs(
        *("push", scene.base / "shards", "org/toy", "--dry-run", "--endpoint", "http://127.0.0.1:9"),
        *("--scores", path),
        may_pass=False,
    )
