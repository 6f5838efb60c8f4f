"""The 34-source recipe, end to end on generated samples of every source, and the catalogue against it."""

import pytest
from click.testing import CliRunner

import cli
import converters
from converters import samples
from converters.scan import scan_source
from mmrs.builder.recipe import load_recipe
from mmrs.errors import UserError
from mmrs.hub.card import make_card
from mmrs.installation import shipped_recipes
from mmrs.progress import Progress
from mmrs.report.statistics import statistics
from mmrs.shards.reader import ShardSet
from mmrs.verify.dataset import verify_dataset
from training.evaluation.questions import QuestionScope, following_questions, load_questions
from training.evaluation.scores import score
from training.evaluation.task import Answer, Answered
from training.evaluation.tasks import find_task, task_names

RECIPE = shipped_recipes("mmrs.builder")["mmrs-1m"]
SAMPLE_OPTIONS = {"dota": {"release": "2.0"}} | {key: {"images_per_class": 1} for key in ("aid", "clrs", "nasc-tg2")}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mmrs-1m")
    for source in load_recipe(RECIPE).sources:
        samples.write(source.name, folder / "raw" / source.name, **SAMPLE_OPTIONS.get(source.name, {}))
    words = ["build", "mmrs-1m", "--set", f"data_root={folder / 'raw'}", "--out", str(folder / "out"), "--workers", "2"]
    result = CliRunner().invoke(cli.main, words)
    assert result.exit_code == 0, result.output
    return folder / "out"


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """The sources that are not of MMRS-1M, and described data, built together."""
    folder = tmp_path_factory.mktemp("others")
    names = sorted(set(converters.names()) - {source.name for source in load_recipe(RECIPE).sources})
    lines = [f"data_root: {folder / 'raw'}", "sources:"]
    for name in names:
        samples.write(name, folder / "raw" / name, **SAMPLE_OPTIONS.get(name, {}))
        described = folder / "raw" / name / "mmrs.yaml"
        options = f", root: {described.parent}, options: {{description: {described}}}" if described.is_file() else ""
        lines.append(f"  - {{name: {name}{options}}}")
    (folder / "recipe.yaml").write_text("\n".join(lines))
    words = ["build", str(folder / "recipe.yaml"), "--out", str(folder / "out"), "--workers", "1"]
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


@pytest.mark.parametrize("data", ["built", "others"])
def test_scan_build_stats_and_card_count_the_same(data, request):
    """Objects that count, ignored ones apart. Of scenes that are cut, scan counts the scenes and says so."""
    out = request.getfixturevalue(data)
    recipe = load_recipe(RECIPE if data == "built" else out.parent / "recipe.yaml")
    manifest = ShardSet(out).manifest
    card = make_card(manifest, "org/name")
    rows = statistics(out).tables["split"].iter_rows(named=True)
    counted = {(row["source"], row["split"]): row for row in rows}
    compared = 0
    for entry in recipe.sources:
        scan = scan_source(entry.name, out.parent / "raw" / entry.name, entry.options, Progress(quiet=True))
        splits = manifest.sources[scan.source].splits
        for split, counts in splits.items():
            numbers = (counts.records, counts.objects, counts.ignored_objects, counts.captions)
            row = counted[scan.source, split]
            assert numbers == (row["images"], row["objects"], row["ignored_objects"], row["captions"])
            sensor = manifest.sources[scan.source].sensor
            assert "| " + " | ".join(map(str, (scan.source, sensor, split, *numbers))) + " |" in card
        if converters.get(entry.name, **entry.options).tiling is not None:
            assert any("whole scenes" in note for note in scan.notes)
            continue
        for part in scan.splits:
            if counts := splits.get(part.split):
                compared += 1
                found = (part.images, part.objects, part.ignored_objects, part.captions)
                assert found == (counts.records, counts.objects, counts.ignored_objects, counts.captions), scan.source
    assert compared >= (40 if data == "built" else 6)


def right_answers(questions):
    return [Answered(q, Answer(q.id, find_task(q.task).reference(q), q.prompt, "stop")) for q in questions]


@pytest.mark.parametrize("data", ["built", "others"])
def test_right_answers_score_the_most_for_every_source_and_task(data, request):
    """Written in three decimals. Captions, whose most depends on the set, have a test of their own."""
    shards = ShardSet(request.getfixturevalue(data))
    entries = shards.manifest.sources
    scored = set()
    for source, split in ((name, split) for name, entry in entries.items() for split in entry.splits):
        for task in map(find_task, task_names()):
            # Nothing is counted where each image has an ignored region, and no caption scores a fixed most.
            if (task.built_for or task.name) not in entries[source].tasks or "caption" in task.name:
                continue
            try:
                scope = QuestionScope(split, (source,), (task.name,), 3, "mmrs")
                questions = load_questions(shards, scope)
            except UserError as error:
                assert "no image to ask about" in str(error) and task.built_for
                continue
            right = right_answers(questions)
            right += right_answers(following_questions(scope, questions, [pair.answer for pair in right]))
            for row in score(right):
                assert (row.value in (1, None), row.failed) == (True, 0), (source, split, row)
                scored.add((source, row.task))
    assert len(scored) >= (80 if data == "built" else 18)
