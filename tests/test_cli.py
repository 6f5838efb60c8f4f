"""The command line as a user meets it: help, exit codes, messages with a next step."""

import ast
import importlib
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import cli
from mmrs import __version__
from mmrs.commands import release
from mmrs.errors import UserError
from tests.support.sources import write_toy

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = sorted(cli.COMMANDS)
HELP = ["", *COMMANDS, *(f"release {name}" for name in sorted(release.COMMANDS))]
HEAVY = [
    "datasets",
    "fsspec",
    "huggingface_hub",
    "matplotlib",
    "numpy",
    "orjson",
    "PIL",
    "polars",
    "pyarrow",
    "pydantic",
    "rasterio",
    "ray",
    "rich",
    "shapely",
    "torch",
    "transformers",
    "yaml",
]


def mmrs(*words, **options):
    return CliRunner().invoke(cli.main, [str(word) for word in words], **options)


@pytest.fixture(scope="module")
def hit_uav(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "hit-uav"
    assert mmrs("sample", "hit-uav", "--out", folder).exit_code == 0
    return folder


def test_the_commands_are_those_of_the_readme():
    words = (
        "build chat compare curate demo demo-web eval export export-checkpoint export-model fetch init inspect merge "
        "predict push release report sample scan score serve sources split stats train verify view"
    )
    assert " ".join(COMMANDS) == words


@pytest.mark.parametrize("command", HELP)
def test_help_is_complete_and_fast_and_imports_nothing_heavy(command):
    script = (
        "import resource, sys, cli\n"
        f"cli.main({[*command.split(), '--help']!r}, standalone_mode=False)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        f"print(used.ru_utime, sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    seconds, heavy = shown.stderr.split(maxsplit=1)
    assert heavy.strip() == "[]"
    # Processor seconds, twice the 250 ms that are promised: what else the machine does must not decide.
    assert float(seconds) < 0.5
    assert "Usage:" in shown.stdout and len(shown.stdout) > 150


def test_every_command_has_the_name_of_its_table():
    for group in (cli.main, release.release):
        context = click.Context(group)
        assert [group.get_command(context, name).name for name in sorted(group.table)] == sorted(group.table)


def test_what_commands_import_when_they_run_is_there():
    for path in sorted(ROOT.glob("*/commands/*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    if not hasattr(module, alias.name):
                        importlib.import_module(f"{node.module}.{alias.name}")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["verfy", "x"], "no such command 'verfy' (did you mean 'verify'?)"),
        (["release", "injest", "x"], "no such command 'injest' (did you mean 'ingest'?)"),
        (["sources", "hit-uva"], "did you mean 'hit-uav'"),
        (["build", "dotta", "--out", "x"], "did you mean 'dota'"),
        (["build", "mmrs1m", "--out", "x"], "did you mean 'mmrs-1m'"),
        (["train", "tinny"], "did you mean 'tiny'"),
        (["inspect", "tiny", "--recipe", "tinny"], "did you mean 'tiny'"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest(words, says):
    result = mmrs(*words)
    assert (result.exit_code, says in result.output) == (2, True), result.output


def test_the_version_is_that_of_the_package():
    assert mmrs("--version").output == f"mmrs, version {__version__}\n"


def test_the_job_from_sample_to_verify(hit_uav, tmp_path):
    root = f"hit-uav={hit_uav}"
    scanned = mmrs("scan", "hit-uav", hit_uav)
    assert scanned.exit_code == 0 and "next:" in scanned.output
    dry = mmrs("build", "hit-uav", "--root", root, "--out", tmp_path / "out", "--dry-run")
    assert dry.exit_code == 0 and not (tmp_path / "out").exists()
    as_json = mmrs("build", "hit-uav", "--root", root, "--out", tmp_path / "out", "--dry-run", "--json")
    assert json.loads(as_json.stdout)["format"] == "mmrs-plan-1"
    assert mmrs("build", "hit-uav", "--root", root, "--out", tmp_path / "out", "--json").exit_code == 2
    built = mmrs("build", "hit-uav", "--root", root, "--out", tmp_path / "out", "--workers", 1)
    assert built.exit_code == 0, built.output
    checked = mmrs("verify", tmp_path / "out", "--workers", 1)
    assert (checked.exit_code, checked.stdout[:3]) == (0, "ok:")
    assert (
        "rebuilt" not in built.output
        and "0 written now"
        in mmrs("build", "hit-uav", "--root", root, "--out", tmp_path / "out", "--workers", 1).output
    )
    assert "hit-uav" in mmrs("stats", tmp_path / "out").output
    assert json.loads(mmrs("stats", tmp_path / "out", "--json").output)
    assert mmrs("report", tmp_path / "out", "--out", tmp_path / "page.html").exit_code == 0
    assert (tmp_path / "page.html").read_text().count("<svg") > 3
    curated = mmrs("curate", tmp_path / "out", "--workers", 1)
    assert curated.exit_code == 0 and (tmp_path / "out" / "curation.jsonl").exists(), curated.output
    copied = tmp_path / "foreign"
    copied.mkdir()
    tar = next((tmp_path / "out").rglob("*.tar"))
    shutil.copy(tar, copied)
    foreign = mmrs("verify", copied, "--workers", 1, "--repair-index")
    assert foreign.exit_code == 0 and list(copied.glob("*.index.parquet")), foreign.output
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    assert mmrs("verify", tmp_path / "out", "--workers", 1).exit_code == 1


def test_scan_and_sources_print_json(hit_uav):
    scan = json.loads(mmrs("--quiet", "scan", "hit-uav", hit_uav, "--json").output)
    assert {part["split"] for part in scan["splits"]} == {"train", "val", "test"}
    assert {source["name"] for source in json.loads(mmrs("sources", "--json").output)} >= {
        "hit-uav",
        "dota",
        "ucmerced",
        "rsicd",
    }
    assert json.loads(mmrs("sources", "dota", "--json").output)["licence"] == "academic-only"


def test_layouts_of_the_sample_agree(hit_uav):
    reports = json.loads(mmrs("scan", "hit-uav", hit_uav, "--compare-layouts", "--json").output)
    assert [report["disagreements"] for report in reports] == [[], [], []]
    assert "rotate_json  " in mmrs("scan", "hit-uav", hit_uav, "--compare-layouts").output
    one = mmrs("scan", "dior", hit_uav, "--compare-layouts")
    assert one.exit_code == 2 and "dior has no layouts to compare" in str(one.output) + str(one.exception)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["build", "no-such-recipe", "--out", "x"], "not found"),
        (["build", "hit-uav", "--out", "x"], "mmrs sample hit-uav"),
        (["build", "hit-uav", "--out", "x", "--set", "seeed=1"], "did you mean 'seed'"),
        (["build", "hit-uav", "--out", "x", "--set", "seed"], "a.b=c"),
        (["build", "hit-uav", "--out", "x", "--set", "dialect=klingon"], "mmrs, mmrs1m"),
        (["build", "hit-uav", "--out", "x", "--root", "dota=/tmp"], "does not list 'dota'"),
        (["build", "hit-uav", "--out", "x", "--root", "dota"], "NAME=VALUE"),
        (["build", "hit-uav", "--out", "x", "--set", "sources.5.limit=1"], "'5' is no position of a list of 1"),
        (["build", "hit-uav", "--out", "x", "--set", "sources.x.limit=1"], "'x' is no position of a list of 1"),
        (["build", "rsicd", "--out", "x", "--set", "licences.allow=stated"], "licences.accept=[rsicd]"),
        (["build", "mar20", "--out", "x", "--set", "sources.0.splits=[train]"], "for evaluation only"),
        (["scan", "hit_uav", "x"], "did you mean 'hit-uav'"),
        (["scan", "hit-uav", "no-such-folder"], "found:"),
        (["scan", "dota", ".", "--set", "realease=1.0"], "did you mean 'release'"),
        (["sample", "hit-uav", "--out", "."], "not an empty folder"),
        (["sample", "hit-uav", "--out", "new", "--set", "seed=1"], "--seed 1"),
        (["sources", "nothing-like-it"], "mmrs sources"),
        (["verify", "no-such-folder"], "no-such-folder is neither a folder nor a *.tar"),
        (["verify", "."], "WebDataset tars"),
        (["release", "ingest", "."], "--out"),
        (["release", "ingest", ".", "--out", "x"], "data.tar.gz.0"),
        (["release", "audit", "."], "mmrs release ingest"),
        (["release", "export", ".", "--out", "x"], "mmrs release ingest"),
        (["release", "compare", ".", "."], "mmrs release ingest"),
        (["curate", "."], "mmrs build"),
        (["stats", "."], "mmrs build"),
        (["report", ".", "--out", "x.html"], "mmrs build"),
        (["push", ".", "org/name"], "mmrs build"),
        (["train", "no-such-recipe"], "no-such-recipe"),
        (["eval", "no-model", ".", "--out", "x"], "mmrs build"),
        (["eval", "no-model", ".", "--out", "x", "--limit", "0"], "--limit"),
    ],
)
def test_mistakes_end_with_2_and_a_next_step(words, says, tmp_path, monkeypatch):
    (tmp_path / "something").touch()
    monkeypatch.chdir(tmp_path)
    result = mmrs(*words)
    assert result.exit_code == 2, result.output
    assert says in result.output
    assert "Traceback" not in result.output


def test_faults_of_the_program_end_with_1_and_debug_shows_them(monkeypatch):
    def broken(*_):
        raise RuntimeError("out of paper")

    monkeypatch.setattr("converters.describe.describe_sources", broken)
    result = mmrs("sources")
    assert (result.exit_code, "out of paper" in result.output, "--debug" in result.output) == (1, True, True)
    assert "Traceback" not in result.output
    shown = mmrs("--debug", "sources")
    assert (shown.exit_code, "Traceback" in shown.output, "in broken" in shown.output) == (1, True, True)


@pytest.mark.parametrize("place", [5_900, 5_990, 100_000])
def test_a_message_has_a_bound_across_which_no_secret_is_told(monkeypatch, place):
    """What a message quotes of somebody's file may have any length."""

    def long(*_):
        raise UserError("x" * place + " https://user:hunter2@example.org/data " + "y" * 30_000_000)

    monkeypatch.setattr("converters.describe.describe_sources", long)
    result = mmrs("sources")
    assert result.exit_code == 2 and len(result.output) < 7000 and "hunter" not in result.output
    assert result.output.rstrip().endswith("...")


def test_debug_shows_the_traceback_of_a_mistake_and_keeps_its_exit_code(tmp_path):
    result = mmrs("--debug", "scan", "dota", tmp_path)
    assert (result.exit_code, "Traceback" in result.output) == (2, True)
    assert "error: dota:" in result.output


def test_a_file_that_cannot_be_written_is_a_failure_that_names_it(hit_uav, tmp_path):
    (tmp_path / "file").touch()
    result = mmrs("sample", "dota", "--out", tmp_path / "file" / "below")
    assert (result.exit_code, "fault of the program" in result.output) == (1, False)
    assert f"{tmp_path / 'file' / 'below'}: Not a directory" in result.output and "permissions" in result.output


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_build_says_so_and_goes_on(hit_uav, tmp_path, number, code):
    """SIGTERM or Ctrl-C in the middle: its exit code, no manifest, and the same command finishes the work."""
    write_toy(tmp_path / "toy")
    words = [
        sys.executable,
        "-m",
        "cli",
        "build",
        "hit-uav",
        "--root",
        f"hit-uav={hit_uav}",
        "--out",
        str(tmp_path / "out"),
    ]
    words += ["--set", "shard_bytes=20000", "--workers", "2"]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    while process.poll() is None and not list((tmp_path / "out").rglob("*.done.json")):
        time.sleep(0.002)
    process.send_signal(number)
    process.communicate()
    if process.returncode:
        assert process.returncode == code
        assert not list((tmp_path / "out").rglob("*.tmp-*"))
        assert not (tmp_path / "out" / "manifest.json").exists()
    assert subprocess.run(words, cwd=ROOT, capture_output=True).returncode == 0
    assert mmrs("verify", tmp_path / "out", "--workers", 1).exit_code == 0


def test_the_official_archive_through_the_commands(tmp_path):
    """Parts of a generated archive: ingest, audit, export; the exported JSON is the archive's, byte for byte."""
    from converters.samples import release

    release.write(tmp_path / "parts", parts=3)
    release.write(tmp_path / "whole", unpacked=True)
    result = mmrs("release", "ingest", tmp_path / "parts", "--out", tmp_path / "ingested")
    assert result.exit_code == 0, result.output
    assert mmrs("release", "audit", tmp_path / "ingested").exit_code == 1  # a small sample has not the archive's counts
    assert mmrs("release", "export", tmp_path / "ingested", "--out", tmp_path / "back").exit_code == 0
    originals = {
        path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*.json") if "total" not in path.name
    }
    back = {path.name: path.read_bytes() for path in (tmp_path / "back").rglob("*.json")}
    assert len(originals) > 5
    assert {name: back.get(name) for name in originals} == originals


def test_training_refuses_a_source_for_evaluation_only(tmp_path):
    """Also where its test split is asked for by name, and the recipe of the build calls that split a training one."""
    root, out = tmp_path / "mar20", tmp_path / "out"
    assert mmrs("sample", "mar20", "--out", root).exit_code == 0
    words = ["build", "mar20", "--root", f"mar20={root}", "--out", out, "--workers", 1, "--set", "train_splits=[test]"]
    assert mmrs(*words).exit_code == 0
    values = (f"data.folders={out}", "data.splits=test", f"out={tmp_path / 'run'}")
    result = mmrs("train", "tiny", *(word for value in values for word in ("--set", value)))
    assert result.exit_code == 2
    assert "mar20 for evaluation" in result.output and "data.sources" in result.output
