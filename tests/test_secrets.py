"""No password and no token of a command line is stored or printed, whatever the command and the mistake."""

import errno

import pytest
from click.testing import CliRunner

import cli
from cli import main, told
from mmrs.errors import UserError
from mmrs.hub.client import HubClient
from training.config import load_config

SECRET = "hunter2SECRET"
URL = f"http://user:{SECRET}@127.0.0.1:9/x.tar"


@pytest.mark.parametrize(
    "words",
    [
        ["train", "tiny", "--set", "data.folders=[]", "--set", f"data.webdataset={URL}", "--set", "out={out}"],
        ["train", "tiny", "--set", "data.folders=[]", "--set", f"data.webdataset=http://h/x.tar?token={SECRET}"],
        ["train", "tiny", "--set", f"data.folders={URL}", "--set", "out={out}"],
        ["train", "tiny", "--set", f"{URL}"],
        ["train", "tiny", "--set", f"data.folders=https://h/x#token={SECRET}", "--set", "out={out}"],
        ["train", "tiny", "--set", "model.preset=null", "--set", f"model.path=https://{SECRET}@h/x"],
        ["train", "tiny", "--set", f"out=https://{SECRET}@h/x"],
        ["stats", f"https://127.0.0.1/x#token={SECRET}"],
        ["push", "{shards}", "org/x", "--dry-run", "--endpoint", f"https://127.0.0.1:9/x#token={SECRET}"],
        ["build", "ssdd", "--root", f"ssdd=nonsense://u:{SECRET}@h/x", "--out", "{out}"],
        ["build", "ssdd", "--root", f"ssdd=https://{SECRET}@h/x", "--out", "{out}"],
        ["sample", "ssdd", "--out", "{out}", "--option", f"https://{SECRET}@127.0.0.1/x"],
        [f"http://user:a@{SECRET}@127.0.0.1:9/x"],
        ["verify", f"s3://AKIAX:ab/{SECRET}@bucket/x"],
        ["stats", URL],
        ["curate", f"sftp://user:{SECRET}@127.0.0.1/x"],
        ["report", URL, "--out", "{out}.html"],
        ["build", "hit-uav", "--root", "hit-uav=nowhere", "--out", URL],
        ["push", "{shards}", "org/x", "--dry-run", "--endpoint", f"http://u:{SECRET}@127.0.0.1:9"],
        ["eval", "{out}", URL, "--out", "{out}"],
        ["eval", "{out}", "{out}", "--out", URL],
        ["score", "{out}", URL, "--out", "{out}"],
        ["sample", URL, "--out", "{out}"],
        ["scan", "hit-uav", URL],
        ["scan", "hit-uav", "x", "--option", URL],
        [URL],
        [f"--{URL}"],
    ],
    ids=lambda words: " ".join(words)[:24],
)
def test_no_command_prints_or_stores_a_secret(words, tmp_path):
    places = {"out": tmp_path / "out", "shards": tmp_path}
    done = CliRunner().invoke(main, [word.format(**places) for word in words], env={"HF_TOKEN": "hf_abcdefghijk"})
    assert done.exit_code == 2 and SECRET not in done.output and "hf_abcdefghijk" not in done.output
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)


def test_a_tar_of_others_is_no_command():
    with pytest.raises(UserError, match="runs a command"):
        load_config(cli_recipe(), ["data.folders=[]", "data.webdataset=pipe:curl -s x"])


def cli_recipe():
    from pathlib import Path

    from training.recipes import __path__ as folders

    return Path(next(iter(folders))) / "tiny.yaml"


def test_a_token_goes_to_https_or_to_this_machine_alone():
    with pytest.raises(UserError, match="use https"):
        HubClient("org/x", "http://hub.example.org", "hf_abcdefghijk", ())
    assert HubClient("org/x", "http://127.0.0.1:9", "hf_abcdefghijk", ()).logged_in
    assert HubClient("org/x", "https://hub.example.org", "hf_abcdefghijk", ()).logged_in


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "denied", "x")]
)
def test_a_full_disk_is_no_fault_of_the_program(error):
    message, code = told(error)
    assert code == 1 and "fault of the program" not in message and (error.strerror in message)


def test_any_other_error_is_told_without_secrets(monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError(f"cannot open {URL}")

    monkeypatch.setattr(cli.LazyGroup, "invoke", fails)
    done = CliRunner().invoke(main, ["sources"])
    assert done.exit_code == 1 and "fault of the program" in done.output and SECRET not in done.output


def test_a_full_disk_is_known_whoever_says_so():
    """Libraries in other languages wrap the system's error."""
    for text in (
        'Error while serializing: I/O error: Os { code: 28, kind: StorageFull, message: "No space left on device" }',
        "failed to write (os error 28)",
    ):
        message, code = told(RuntimeError(text))
        assert code == 1 and "the disk is full" in message and "fault of the program" not in message
    assert "fault of the program" in told(RuntimeError("code: 280"))[0]
