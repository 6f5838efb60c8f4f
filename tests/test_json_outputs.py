"""No JSON that is written holds NaN or Infinity, which are no values of JSON and which strict readers refuse."""

import ast
import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli

REPOSITORY = Path(__file__).resolve().parents[1]
WRITERS = [
    path
    for package in ("mmrs", "converters", "training")
    for path in sorted((REPOSITORY / package).rglob("*.py"))
    if "samples" not in path.parts
]


def calls_of_json(tree):
    """Calls of `json.dump` and `json.dumps`; orjson writes null for what is no number."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if ast.unparse(call.func) in ("json.dump", "json.dumps")]


def test_whoever_writes_json_refuses_what_is_no_number():
    found = [(path, call) for path in WRITERS for call in calls_of_json(ast.parse(path.read_text()))]
    lax = [
        f"{path.relative_to(REPOSITORY)}:{call.lineno}"
        for path, call in found
        if not any(
            keyword.arg == "allow_nan" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            for keyword in call.keywords
        )
    ]
    assert found and lax == []


def strict(text):
    """The value of a JSON text. Fails for NaN, Infinity and -Infinity."""

    def refuse(word):
        raise AssertionError(f"{word} in {text[:200]!r}")

    return json.loads(text, parse_constant=refuse)


def run(*words):
    done = CliRunner().invoke(cli.main, ["--quiet", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """A set in which shares are undefined: one split has no object at all."""
    base = tmp_path_factory.mktemp("json")
    run("sample", "rsicd", "--out", base / "raw")
    out = base / "shards"
    run("build", "rsicd", "--root", f"rsicd={base / 'raw'}", "--out", out, "--workers", 1)
    return out


def test_every_file_of_a_data_set_is_strict_json(shards):
    files = [path for path in shards.rglob("*") if path.suffix in (".json", ".jsonl")]
    assert {"manifest.json", "quarantine.jsonl"} <= {path.name for path in files}
    assert any(path.name.endswith(".done.json") for path in files)
    for path in files:
        text = path.read_text()
        for part in text.splitlines() if path.suffix == ".jsonl" else [text]:
            strict(part)
    for tar in shards.rglob("*.tar"):
        with tarfile.open(tar) as archive:
            for member in archive:
                if member.name.endswith(".json"):
                    strict(archive.extractfile(member).read())


@pytest.mark.parametrize(
    "words",
    [
        ("scan", "rsicd", "RAW", "--json"),
        ("stats", "SHARDS", "--json"),
        ("build", "rsicd", "--root", "rsicd=RAW", "--out", "OUT", "--dry-run", "--json"),
    ],
    ids=lambda words: words[0],
)
def test_every_command_prints_strict_json(shards, tmp_path, words):
    places = {"RAW": str(shards.parent / "raw"), "SHARDS": str(shards), "OUT": str(tmp_path / "out")}
    said = run(*[places.get(word, word.replace("RAW", places["RAW"])) for word in words])
    assert isinstance(strict(said), dict)


def test_scores_without_a_defined_value_are_strict_json(shards, tmp_path):
    """One image: CIDEr-D and its interval are undefined."""
    from mmrs.shards.reader import ShardSet
    from training.evaluation.questions import QuestionScope, load_questions

    asked = load_questions(ShardSet(shards), QuestionScope(tasks=("captioning",), limit=1))
    answers = [json.dumps({"id": one.id, "text": "many trees"}) for one in asked]
    (tmp_path / "answers.jsonl").write_text("\n".join(answers) + "\n")
    run("score", tmp_path / "answers.jsonl", shards, "--task", "captioning", "--limit", 1, "--out", tmp_path / "scores")
    assert strict((tmp_path / "scores" / "scores.json").read_text())["rows"][0]["value"] is None
