"""Every hint is run: what an error or a last line tells a user to type is typed here as it stands.

A scenario makes the faulty situation from generated data and names the hints that its message shows. A hint that no
scenario shows fails a test unless it waits in PENDING, which may only shrink.
"""

import re
import shutil
import tomllib
from dataclasses import dataclass
from itertools import pairwise

import click
import pytest
from click.testing import CliRunner

import cli
import converters
from mmrs.builder.recipe import BuildRecipe
from tests.support.hints import HOME, NOT_RUN, Hint, collected_hints, commands_in, pattern, words_of
from training.config.run import TrainConfig


@dataclass(frozen=True)
class Scenario:
    """Words that fail (or end with a next step) once `prepare` was run in an empty folder, and the hints they show."""

    name: str
    words: tuple[str, ...]
    covers: tuple[Hint, ...] = ()
    prepare: tuple[tuple[str, ...], ...] = ()
    empty_folder: str | None = None
    ruined: str | None = None


DEMO = ("sample", "generic", "--out", "demo")
BUILD_DEMO = ("build", "generic", "--root", "generic=demo", "--out", "shards", "--workers", "1")
DESCRIBED = ("--option", "description=demo/mmrs.yaml")
SCENARIOS = (
    Scenario(
        "the folder of a source is empty",
        ("scan", "ucmerced", "empty"),
        (Hint("converters/layout.py", "mmrs sample {} --out DIR"),),
        empty_folder="empty",
    ),
    Scenario(
        "described data are scanned without their description",
        ("scan", "generic", "demo"),
        (
            Hint("converters/own_data/converter.py", "--option {}"),
            Hint("converters/own_data/description.py", "mmrs sample generic --out DIR"),
        ),
        (DEMO,),
    ),
    Scenario("described data are built without their description", BUILD_DEMO, (), (DEMO,)),
    Scenario("the folder of described data is empty", ("scan", "generic", "empty", *DESCRIBED), (), (DEMO,), "empty"),
    Scenario(
        "a sample's seed is given as an option",
        ("sample", "ucmerced", "--out", "new", "--option", "seed=1"),
        (Hint("converters/describe.py", "mmrs sample {} --out {} --seed {}"),),
    ),
    Scenario(
        "a sample would go into a folder with files",
        DEMO,
        (Hint("converters/samples/__init__.py", "mmrs sample {} --out {}"),),
        (DEMO,),
    ),
    Scenario(
        "a sample has no such option",
        ("sample", "ucmerced", "--out", "new", "--option", "sed=1"),
        (Hint("converters/samples/__init__.py", "mmrs sample --help"),),
    ),
    Scenario(
        "images and labels have no folder of a split",
        ("build", "dota", "--root", "dota=raw", "--out", "shards", "--workers", "1"),
        (),
        (("sample", "dota", "--out", "raw", "--option", "layout=unsplit"),),
    ),
    Scenario(
        "tables lost the names that another source needs",
        ("scan", "aid", "raw"),
        (Hint("converters/mirrors/class_tables.py", "mmrs sources {}"),),
        (
            (
                *("sample", "aid", "--out", "raw", "--option", "layout=hugging-face-unnamed"),
                *("--option", "images_per_class=1", "--option", "classes=[Airport, Beach]"),
            ),
        ),
    ),
    Scenario(
        "a source is held in another form than its options read",
        ("scan", "hit-uav", "raw"),
        (Hint("converters/wrong_folder.py", "--option {}"),),
        (("sample", "hit-uav", "--out", "raw", "--option", "layouts=[normal_json]"),),
    ),
    Scenario(
        "the folder holds another source",
        ("scan", "dota", "raw"),
        (Hint("converters/wrong_folder.py", "mmrs sample {} --out DIR"),),
        (("sample", "aid", "--out", "raw", "--option", "images_per_class=1", "--option", "classes=[Airport, Beach]"),),
    ),
    Scenario("there is no such source", ("scan", "ucmercd", "x")),
    Scenario("a source has no such option", ("scan", "dota", ".", "--option", "realease=1.0")),
    Scenario(
        "a source has one layout",
        ("scan", "ucmerced", "x", "--compare-layouts"),
        (Hint("converters/scan.py", "mmrs scan {} {}"),),
    ),
    Scenario(
        "a licence is refused",
        ("build", "rsicd", "--root", "rsicd=x", "--out", "shards", "--set", "licences.allow=stated"),
        (
            Hint("converters/resolve.py", "--set licences.refused=leave-out"),
            Hint("converters/resolve.py", "--set licences.accept=[{}]"),
        ),
    ),
    Scenario(
        "a folder holds no data set",
        ("stats", "empty"),
        (Hint("mmrs/shards/manifest.py", "mmrs build RECIPE --out {}"),),
        empty_folder="empty",
    ),
    Scenario(
        "a folder holds no ingested release",
        ("release", "audit", "empty"),
        (Hint("mmrs/release/store.py", "mmrs release ingest ARCHIVE --out {}"),),
        empty_folder="empty",
    ),
    Scenario(
        "a list of images to leave out is not there",
        (*BUILD_DEMO, *DESCRIBED, "--set", "exclude=absent.jsonl"),
        (Hint("mmrs/builder/exclude.py", "mmrs curate FOLDER"),),
        (DEMO,),
    ),
    Scenario(
        "too many images are bad",
        (*BUILD_DEMO, *DESCRIBED),
        (Hint("mmrs/builder/run.py", "--set quarantine_ceiling={}"),),
        (DEMO,),
        ruined="demo/images/train/train0.jpg",
    ),
)
# Shown by no scenario yet. It may only shrink: an entry that is no longer in the source, or that is shown, fails.
PENDING = {
    Hint("cli.py", "mmrs --debug ..."),
    Hint("converters/describe.py", "--option {}=VALUE"),
    Hint("converters/detection/hit_uav/files.py", "--option layout=NAME"),
    Hint("converters/samples/class_folders.py", "mmrs sources {}"),
    Hint("mmrs/text.py", "mmrs verify {}"),
    Hint("mmrs/text.py", "rm -r {}"),
    Hint("mmrs/builder/run.py", "mmrs scan {} {}"),
    Hint("mmrs/builder/survey/splits.py", "mmrs scan {} {}"),
    Hint("mmrs/curation/report.py", "mmrs build RECIPE --out {} --set exclude={}"),
    Hint("mmrs/hub/card.py", "mmrs verify FOLDER"),
    Hint("mmrs/hub/client.py", "mmrs push DIR my-lab/remote-sensing"),
    Hint("mmrs/hub/push.py", "mmrs verify {}"),
    Hint("mmrs/release/ingest.py", "mmrs release audit {}"),
    Hint("mmrs/shards/reader.py", "--set data.splits=[...]"),
    Hint("mmrs/storage/urls.py", "mmrs push FOLDER ORG/NAME"),
    Hint("training/commands/demo.py", "mmrs {}"),
    Hint("training/data/open.py", "--set data.sources=[...]"),
    Hint("training/data/open.py", "--set data.splits=[...]"),
    Hint("training/data/open.py", "--set train_splits=[{}]"),
    Hint("training/data/open.py", "mmrs sources {}"),
}


def mmrs(*words):
    return CliRunner().invoke(cli.main, [*words])


def typed(command, failed):
    """What comes of a command of a message; options alone are added to the words that failed."""
    words = words_of(command)
    if words[0].startswith("--"):
        return mmrs(*failed, *words)
    if words[0] == "rm":
        shutil.rmtree(words[-1])
        return mmrs(*failed)
    return mmrs(*words[1:])


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_user_gets_on_with_what_the_message_says(scenario, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in scenario.prepare:
        assert mmrs(*words).exit_code == 0
    if scenario.empty_folder:
        (tmp_path / scenario.empty_folder).mkdir()
    if scenario.ruined:
        assert (tmp_path / scenario.ruined).is_file()
        (tmp_path / scenario.ruined).write_bytes(b"")
    told = mmrs(*scenario.words)
    assert told.exit_code in (1, 2) and "fault of the program" not in told.output
    for hint in scenario.covers:
        assert re.search(pattern(hint.command), told.output), hint
    commands = [command for command in commands_in(told.output) if command.split()[0] not in NOT_RUN]
    assert commands, told.output
    for command in commands:
        done = typed(command, scenario.words)
        assert done.exit_code == 0 or done.output != told.output, command
        assert "Usage:" not in done.output or done.exit_code == 0, (command, done.output)
        assert "fault of the program" not in done.output, command


def test_the_next_steps_lead_from_a_sample_to_a_verified_data_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done, steps = mmrs(*DEMO), []
    while commands := commands_in(done.output):
        steps.append(words_of(commands[-1])[1])
        done = mmrs(*words_of(commands[-1])[1:])
        assert done.exit_code == 0, done.output
    assert steps == ["scan", "build", "verify"]


SHOWN = {hint for scenario in SCENARIOS for hint in scenario.covers} | {
    Hint("mmrs/builder/summary.py", "mmrs verify {}")
}


def test_every_hint_is_shown_by_a_scenario_or_waits():
    to_run = {hint for hint in collected_hints() if hint.is_run}
    assert sorted(to_run - SHOWN - PENDING) == [], "write a scenario that shows these"
    assert sorted(PENDING - to_run) == [], "gone from the source: take them out of PENDING"
    assert sorted(PENDING & SHOWN) == [], "a scenario shows these: take them out of PENDING"
    assert sorted(SHOWN - to_run) == [], "no text says these any more"


def command_of(words):
    """The command that words call, and the words behind its name; None where they name no single one."""
    if len(words) < 2 or not re.fullmatch(r"[a-z-]+", words[1]) or words[1].startswith("-"):
        return None, []
    context, command, rest = click.Context(cli.main), cli.main, words[1:]
    while isinstance(command, click.Group) and rest:
        command, rest = command.get_command(context, rest[0]), rest[1:]
        assert command is not None, words
    return command, rest


@pytest.mark.parametrize("hint", sorted(collected_hints()), ids=lambda hint: f"{hint.module}: {hint.command}")
def test_the_words_of_a_hint_are_words_of_the_program(hint):
    words = words_of(hint.command)
    if words[0] == "mmrs":
        command, rest = command_of(words)
        known = {word for option in command.params for word in option.opts} | {"--help"} if command else set()
        assert command is None or {word for word in rest if word.startswith("--")} <= known
    if words[0] == "pip" and (extra := re.fullmatch(r"mmrs\[([a-z0-9-]+)\]", words[-1])):
        assert extra[1] in tomllib.loads((HOME / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for flag, pair in pairwise(words):
        key = re.match(r"([a-z_]+)[.=]", pair)
        if flag == "--set" and key:
            assert key[1] in {*BuildRecipe.model_fields, *TrainConfig.model_fields}
        if flag == "--option" and key:
            assert any(key[1] in converters.option_names(name) for name in converters.names())
