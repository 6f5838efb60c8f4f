"""The 34-source recipe, end to end on generated samples of every source, and the catalogue against it."""

import pytest
from click.testing import CliRunner

import cli
import converters
from converters import samples
from mmrs.builder.recipe import load_recipe
from mmrs.installation import shipped_recipes
from mmrs.progress import Progress
from mmrs.shards.reader import ShardSet
from mmrs.verify.dataset import verify_dataset

RECIPE = shipped_recipes("mmrs.builder")["mmrs-1m"]
SAMPLE_OPTIONS = {"dota": {"release": "2.0"}}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mmrs-1m")
    for source in load_recipe(RECIPE).sources:
        samples.write(source.name, folder / "raw" / source.name, **SAMPLE_OPTIONS.get(source.name, {}))
    words = ["build", "mmrs-1m", "--set", f"data_root={folder / 'raw'}", "--out", str(folder / "out"), "--workers", "2"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    return folder / "out"


def test_the_recipe_names_the_34_sources():
    names = [source.name for source in load_recipe(RECIPE).sources]
    assert len(names) == len(set(names)) == 34
    for name in names:
        assert not converters.facts(name).evaluation_only, name


def test_every_source_is_built_and_verifies(built):
    result = verify_dataset(built, 1, Progress(quiet=True))
    assert result.findings == ()
    by_source = {
        name: sum(part.records for part in entry.splits.values()) for name, entry in result.manifest.sources.items()
    }
    assert len(by_source) == 34 and min(by_source.values()) > 0


def test_every_record_has_a_dialogue_of_each_of_its_sources_tasks(built):
    data = ShardSet(built)
    found: dict[str, set[str]] = {}
    for shard in data.manifest.shards:
        for row in data.table(shard.split, (shard.source,)).to_pylist():
            found.setdefault(shard.source, set()).update(row["dialogue_tasks"])
    for name, entry in data.manifest.sources.items():
        assert found[name] == set(entry.tasks), name


def test_text_is_of_the_released_dialect(built):
    """Two decimals, fractions of the padded square."""
    data = ShardSet(built)
    answers = [
        dialogue.turns[1].value
        for row in data.table("train", ("dior-rsvg",)).to_pylist()
        for dialogue in data.record(row).dialogues
        if dialogue.task == "visual-grounding"
    ]
    assert answers
    for answer in answers:
        numbers = answer.strip("[]").split(",")
        assert len(numbers) == 4 and all(len(number) == 4 and 0 <= float(number) <= 1 for number in numbers)
