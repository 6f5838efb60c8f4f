"""Data sets of strangers, and damaged ones: whatever a data set says, every command ends with one readable sentence.

Each damage is sealed, where somebody could have made it on purpose: digests and id fit what is there.
"""

import re
import resource
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cli import main
from mmrs.errors import RunFailure
from mmrs.shards.index import INDEX_SCHEMA
from mmrs.shards.reader import ShardSet
from tests.support.damaged_data_sets import BROKEN, ROWS, SEALED, UNSEEN, Damaged
from tests.support.hub_server import serve_hub
from tests.training.micro import make_config, make_model_folder
from tests.training.shard_folder import make_shard_folder

MOST_MEMORY_BYTES = 2**30
COMMANDS = {
    "stats": "stats {data}",
    "report": "report {data} --out {out}/page.html",
    "curate": "curate {data} --out {out}",
    "verify": "verify {data}",
    "train": "train {out}/train.yaml",
    "eval": "eval {model} {data} --split train --task classification --out {out}/eval --limit 1",
    "score": "score {out}/answers.jsonl {data} --split train --out {out}/score",
    "push": "push {data} org/toy --dry-run --endpoint {hub}",
    "compare": "compare {out} {out} {data} --out {out}/compare.html",
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = make_shard_folder(tmp_path_factory.mktemp("sound") / "data", samples=2, shards=1)
    Damaged(folder).seal()
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def hub():
    with serve_hub() as server:
        yield server.url


def run(command, data, model, out, hub):
    out.mkdir(exist_ok=True)
    config = make_config(out / "run", data, model, max_steps=1, epochs=None)
    (out / "train.yaml").write_text(yaml.safe_dump(yaml.safe_load(config.to_yaml())))
    (out / "answers.jsonl").write_bytes(b"")
    words = [word.format(data=data, model=model, out=out, hub=hub) for word in COMMANDS[command].split()]
    return CliRunner().invoke(main, ["--quiet", *words], env={"XDG_CACHE_HOME": str(out)})


@pytest.mark.nightly
@pytest.mark.parametrize("damage", [*SEALED, *BROKEN])
def test_every_command_ends_with_one_sentence(damage, sound, model, hub, tmp_path):
    shutil.copytree(sound, tmp_path / "data")
    made = Damaged(tmp_path / "data")
    (SEALED | BROKEN)[damage](made)
    if damage in SEALED:
        made.seal()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    faults = {}
    for command in COMMANDS:
        done = run(command, tmp_path / "data", model, tmp_path / command, hub)
        readable = (
            done.exit_code in (0, 1, 2)
            and isinstance(done.exception, SystemExit | None)
            and "fault of the program" not in done.output
            and "Traceback" not in done.output
            and len(done.output) < 6000
        )
        if not readable or (command == "verify" and done.exit_code == 0 and damage not in UNSEEN):
            faults[command] = (done.exit_code, done.output[-1500:], repr(done.exception)[:200])
    assert not faults
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST_MEMORY_BYTES


@pytest.mark.parametrize("command", COMMANDS)
def test_the_sound_data_set_is_read_by_all(command, sound, model, hub, tmp_path):
    done = run(command, sound, model, tmp_path / "out", hub)
    assert done.exit_code == (2 if command in ("compare",) else 0), done.output


@pytest.mark.parametrize("damage", [name for name in SEALED if name.startswith(("row: ", "index: "))])
def test_columns_that_are_asked_for_are_looked_at_alone(damage, sound, tmp_path):
    """Each column by itself is refused where it is at fault, and only there."""
    shutil.copytree(sound, tmp_path / "data")
    made = Damaged(tmp_path / "data")
    SEALED[damage](made)
    made.seal()
    shards = ShardSet(tmp_path / "data")

    def is_refused(columns):
        try:
            shards.index(0, columns)
        except RunFailure:
            return True
        return False

    assert is_refused(None)
    # Two columns at odds are no fault of either.
    pairs = [("dialogue_tasks", "dialogue_chars"), ("image_offset", "image_size"), ("record_offset", "record_size")]
    assert any(map(is_refused, [*([name] for name in INDEX_SCHEMA.names), *pairs]))
    if damage in ROWS:
        untouched = [name for name in INDEX_SCHEMA.names if name not in ROWS[damage]]
        assert not is_refused(untouched)
        assert shards.index(0, untouched).column_names == untouched


def test_no_reader_asks_pyarrow_for_a_column_of_a_row_group():
    """Where a stranger damaged the column's statistics, that ends the process: no exception comes out of it."""
    sources = [path for name in ("mmrs", "training", "converters") for path in Path(name).rglob("*.py")]
    assert len(sources) > 200
    asking = [str(path) for path in sources if re.search(r"row_group\([^)]*\)\.column\(", path.read_text())]
    assert asking == []
