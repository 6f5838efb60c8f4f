"""Every hint is run: what an error or a last line tells a user to type is typed here as it stands.

A scenario makes the faulty situation from generated data and names the hints that its message shows. A hint that no
scenario shows fails a test.
"""

import json
import re
import shutil
import tomllib
from dataclasses import dataclass
from itertools import pairwise

import click
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

import cli
import converters
from converters.samples import release
from mmrs.builder.recipe import BuildRecipe
from tests.support.hints import (
    HOME,
    NOT_RUN,
    Hint,
    collected_hints,
    collected_texts,
    commands_in,
    pattern,
    words_of,
)
from tests.support.mirrors import captions_copy, rsvg_copy
from tests.support.models import save_tiny_model
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
BUILT = (DEMO, (*BUILD_DEMO, *DESCRIBED))
ONE = ("sample", "ucmerced", "--out", "one", "--option", "classes=[forest]", "--option", "images_per_class=1")
ONE_IMAGE = "one/UCMerced_LandUse/Images/forest/forest00.tif"
BUILD_ONE = ("build", "ucmerced", "--root", "ucmerced=one", "--out", "shards", "--workers", "1")
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
    Scenario("no image of a source can be stored", BUILD_ONE, (), (ONE,), ruined=ONE_IMAGE),
    Scenario("a split has no image", (*BUILD_ONE, "--set", "sources.0.splits=[test]"), (), (ONE,)),
    Scenario(
        "no image of described data can be stored",
        (*BUILD_DEMO, *DESCRIBED, "--set", "sources.0.splits=[val]", "--set", "sources.0.limit=1"),
        (),
        (DEMO,),
        ruined="demo/images/val/val0.jpg",
    ),
    Scenario(
        "a sample has no such class",
        ("sample", "ucmerced", "--out", "new", "--option", "classes=[forst]"),
        (Hint("converters/samples/class_folders.py", "mmrs sources {}"),),
    ),
    Scenario(
        "a file of all images is broken and another layout is there",
        ("build", "hit-uav", "--root", "hit-uav=flights", "--out", "shards", "--workers", "1"),
        (Hint("converters/detection/hit_uav/files.py", "--option layout={}"),),
        (("sample", "hit-uav", "--out", "flights"),),
        ruined="flights/rotate_json/annotations/train.json",
    ),
    Scenario(
        "an index is damaged",
        ("stats", "shards"),
        (Hint("mmrs/text.py", "mmrs verify {}"),),
        BUILT,
        ruined="shards/my-harbour/train-00000-of-00001.parquet",
    ),
    Scenario(
        "a shard that would be published is cut off",
        ("push", "shards", "my-lab/harbour", "--dry-run", "--allow-unknown-licences"),
        (Hint("mmrs/hub/push.py", "mmrs verify {}"),),
        BUILT,
        ruined="shards/my-harbour/train-00000-of-00001.tar",
    ),
)
# What the user has to choose stands in these (VALUE, DIR, RECIPE, ORG/NAME, ...), so no test can type them as they are;
# that their words are words of the program, another test says.
TEMPLATES = {
    Hint("cli.py", "mmrs --debug ..."),
    Hint("converters/describe.py", "--option {}=VALUE"),
    Hint("converters/grounding/dior_rsvg.py", "mmrs fetch {} --to DATA"),
    Hint("converters/mirrors/named.py", "mmrs fetch {} --to DATA --dry-run"),
    Hint("mmrs/builder/reuse/combination.py", "--set seed=..."),
    Hint("mmrs/builder/reuse/combination.py", "--set {}=..."),
    Hint("mmrs/builder/reuse/split.py", "--set shard_bytes=..."),
    Hint("mmrs/curation/report.py", "mmrs build RECIPE --out {} --set exclude={}"),
    Hint("mmrs/hub/card.py", "mmrs verify FOLDER"),
    Hint("mmrs/hub/client.py", "mmrs push DIR my-lab/remote-sensing"),
    Hint("mmrs/shards/reader.py", "--set data.splits=[...]"),
    Hint("mmrs/storage/urls.py", "mmrs push FOLDER ORG/NAME"),
    Hint("training/commands/demo.py", "mmrs {}"),
    Hint("training/data/open.py", "--set data.sources=[...]"),
    Hint("training/evaluation/rescore.py", "mmrs score {} DATA --layout {} --out {}"),
    Hint("training/evaluation/suites/run.py", "mmrs build {} --root {}=DIR --out OUT"),
    Hint("training/model/export/export.py", "mmrs export-model {} OUT --delta {}"),
    Hint("training/model/folder.py", "mmrs init OUT --llm {}"),
    Hint("training/data/open.py", "--set data.splits=[...]"),
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


def test_what_is_ingested_is_audited_as_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    release.write(tmp_path / "parts", parts=3)
    (command,) = commands_in(mmrs("release", "ingest", "parts", "--out", "ingested").output)
    assert words_of(command)[:3] == ["mmrs", "release", "audit"]
    # A generated archive has not the counts of the official one, which is what an audit says.
    assert "counters are those known of the official archive" in mmrs(*words_of(command)[1:]).output


def test_a_source_for_evaluation_is_not_trained_on_as_it_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mmrs("sample", "ucmerced", "--out", "raw", "--option", "images_per_class=2").exit_code == 0
    build = ("build", "ucmerced", "--root", "ucmerced=raw", "--out", "shards", "--workers", "1")
    assert mmrs(*build, "--set", "train_splits=[val]").exit_code == 0
    train = ("train", "tiny", "--plan", "--set", "data.folders=shards", "--set", "out=run")
    told = mmrs(*train, "--set", "data.splits=[train]")
    commands = commands_in(told.output)
    assert told.exit_code == 2 and commands[1:] == ["mmrs sources ucmerced", "--set train_splits=[train]"]
    assert mmrs(*words_of(commands[1])[1:]).exit_code == 0
    assert mmrs(*build, *words_of(commands[2])).exit_code == 0
    assert mmrs(*train, "--set", "data.splits=[train]").exit_code == 0


def test_a_folder_in_the_way_is_removed_as_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_tiny_model(tmp_path / "model")
    (tmp_path / "for others").mkdir()
    (tmp_path / "for others" / "old.txt").write_text("old")
    words = ("export-model", "model", "for others")
    told = mmrs(*words)
    (command,) = commands_in(told.output)
    assert told.exit_code == 2 and words_of(command) == ["rm", "-r", "for others"]
    assert typed(command, words).exit_code == 0 and not (tmp_path / "for others" / "old.txt").exists()


def test_answers_that_carry_their_truth_are_scored_as_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = {"question": "Is there a ship?", "answer": "yes", "annotation": "yes", "vqa_type": "presence"}
    (tmp_path / "their answers.jsonl").write_text(json.dumps(line) + "\n")
    told = mmrs("score", "their answers.jsonl", "shards", "--layout", "earthdial", "--out", "scores")
    (command,) = commands_in(told.output)
    assert told.exit_code == 2 and "joined to no data set" in told.output
    done = mmrs(*words_of(command)[1:])
    assert done.exit_code == 0, done.output


def test_what_is_told_of_tables_that_are_no_copy_of_a_source_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rsicd", "dior-rsvg"):
        mmrs("sample", name, "--out", f"made/{name}")
    rsvg_copy(tmp_path / "made/dior-rsvg", tmp_path / "copies/dior-rsvg")
    captions_copy("arampacha/rsicd", tmp_path / "made/rsicd", tmp_path / "copies/rsicd", {"train": "train"})
    (table,) = (tmp_path / "copies/rsicd/data").iterdir()
    pq.write_table(pq.read_table(table).rename_columns(["filename", "caption", "image"]), table)
    for name, position in (("dior-rsvg", 0), ("rsicd", -1)):
        failed = ["scan", name, f"copies/{name}"]
        told = mmrs(*failed)
        assert told.exit_code == 2
        done = typed(commands_in(told.output)[position], failed)
        assert done.exit_code == 0, done.output


SHOWN = {hint for scenario in SCENARIOS for hint in scenario.covers} | {
    Hint("converters/grounding/dior_rsvg.py", "--option mirror_splits=true"),
    Hint("converters/mirrors/named.py", "mmrs scan generic {} --guess"),
    Hint("mmrs/builder/reuse/merge.py", "mmrs verify {}"),
    Hint("mmrs/builder/summary.py", "mmrs verify {}"),
    Hint("mmrs/release/ingest.py", "mmrs release audit {}"),
    Hint("mmrs/text.py", "rm -r {}"),
    Hint("training/data/open.py", "mmrs sources {}"),
    Hint("training/data/open.py", "--set train_splits=[{}]"),
    Hint("training/evaluation/rescore.py", "mmrs score {} --layout {} --out {}"),
}


def test_every_hint_is_shown_by_a_scenario():
    to_run = {hint for hint in collected_hints() if hint.is_run}
    assert sorted(to_run - SHOWN - TEMPLATES) == [], "write a scenario that shows these"
    assert sorted(TEMPLATES - to_run) == [], "gone from the source: take them out of TEMPLATES"
    assert sorted(TEMPLATES & SHOWN) == [], "a scenario shows these: take them out of TEMPLATES"
    assert sorted(SHOWN - to_run) == [], "no text says these any more"


# Commands that are put together where the program runs, and the tests that type them. A message whose command stands
# neither in its text nor here is advice that nobody has tried.
COMPOSED = {
    "converters/describe.py": "test_the_next_steps_lead_from_a_sample_to_a_verified_data_set",
    "converters/detection/dior.py": "tests/converters/detection/test_dior.py",
    "converters/detection/dota/converter.py": "tests/converters/detection/dota/test_layouts.py",
    "converters/downloads.py": "tests/converters/downloads/test_fetch.py",
    "converters/formats/shared_file.py": "a file of all images is broken and another layout is there",
    "converters/layout.py": "the folder of a source is empty",
    "converters/mirrors/tables.py": "tests/converters/mirrors/test_known.py",
    "converters/own_data/guess/trial.py": "tests/converters/own_data/test_guess.py",
    "converters/resolve.py": "tests/converters/test_resolve.py",
    "converters/scan.py": "test_the_next_steps_lead_from_a_sample_to_a_verified_data_set",
    "converters/wrong_folder.py": "tests/converters/test_wrong_folder.py",
    "mmrs/builder/run.py": "no image of a source can be stored",
    "mmrs/builder/survey/splits.py": "a split has no image",
    "mmrs/commands/lazy.py": "tests/test_cli.py",
    "mmrs/report/plots.py": "pip: tests/test_packaging.py",
}
# These are no commands: names of data in a card, and a file that is to be written by hand.
NO_COMMANDS = {"mmrs/hub/card.py", "converters/detection/undocumented_layout/converter.py"}
NAMES = "|".join(sorted(cli.COMMANDS))
ADVICE = re.compile(r"\bnext:|(?:^|[:.,;]|\b(?:then|type|with))\s*`(?:cd \{\} && )?\{\}(?: --help)?`", re.IGNORECASE)


def test_a_command_in_a_message_is_marked_as_one():
    """What stands in backticks is collected, and has to be shown by a scenario; what does not is never tried."""
    bare = {
        module
        for module, text in collected_texts()
        if re.search(rf"\bmmrs (?:{NAMES})\b.", re.sub(r"`[^`]*`", "", text)) and " " in text.strip()
    }
    assert sorted(bare) == []


def test_advice_whose_command_no_test_types_cannot_be_added():
    composed = {
        module
        for module, text in collected_texts()
        if ADVICE.search(text) and not any(Hint(module, command).is_run for command in commands_in(text))
    }
    assert composed - NO_COMMANDS == COMPOSED.keys()
    assert composed >= NO_COMMANDS
    here = {scenario.name for scenario in SCENARIOS} | globals().keys()
    for where in COMPOSED.values():
        assert where in here or (HOME / where.removeprefix("pip: ")).is_file(), where


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
