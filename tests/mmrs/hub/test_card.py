"""The card is what `datasets` and the Hub can read, and says what the manifest says."""

import fnmatch
import json

import pytest
import yaml

from mmrs.errors import UserError
from mmrs.hub.card import _HUB_TASKS, SourceNote, make_card
from mmrs.hub.configs import card_configs
from mmrs.hub.features import record_features, shard_features
from mmrs.hub.scores import read_card_scores
from mmrs.record import Record
from mmrs.shards.manifest import Manifest, ShardEntry, SourceEntry, SplitCounts, parse_manifest


def manifest(sources, licence="CC-BY-4.0"):
    """`sources`: name -> {split: (image suffix, number of shards, dialogues by task)}; ten records a shard."""
    shards, entries = [], {}
    for name, splits in sources.items():
        for split, (_, number, _) in splits.items():
            for position in range(number):
                path = f"{name}/{split}-{position:05d}-of-{number:05d}.tar"
                digests = {"sha256": "0" * 64, "index_sha256": "0" * 64}
                row = {"source": name, "split": split, "path": path, "records": 10, "bytes": 1000, "index_bytes": 9}
                shards.append(ShardEntry(**row, **digests))
        entries[name] = SourceEntry(
            sensor="sar",
            licence=licence,
            tasks=tuple(sorted({task for _, _, dialogues in splits.values() for task in dialogues})),
            categories=("ship",),
            image_suffix={split: suffix for split, (suffix, _, _) in splits.items()},
            converter_version=1,
            options={},
            splits={
                split: SplitCounts(records=10 * number, dialogues=dialogues)
                for split, (_, number, dialogues) in splits.items()
            },
        )
    common = {"tool_version": "1", "recipe_digest": "0", "quarantine_sha256": "0"}
    return Manifest(sources=entries, shards=tuple(shards), **common).with_id()


TWO = {
    "ssdd": {"train": ("jpg", 3, {"detection-hbb": 30}), "test": ("jpg", 1, {"detection-hbb": 0})},
    "rsicd": {"train": ("png", 1, {"captioning": 50, "detection-hbb": 1}), "val-a": ("png", 2, {"captioning": 90})},
}


def front(text):
    return yaml.safe_load(text.split("---\n")[1])


def test_configurations_per_source_per_task_and_for_all():
    configs = {config.name: config for config in card_configs(manifest(TWO))}
    assert list(configs) == ["all", "rsicd", "ssdd", "captioning", "detection-hbb"]
    assert configs["ssdd"].suffixes == ("jpg",)
    assert configs["detection-hbb"].suffixes == ("jpg", "png")
    assert [(split.name, split.samples) for split in configs["detection-hbb"].splits] == [("train", 40)]
    assert [(split.name, split.samples) for split in configs["captioning"].splits] == [("train", 10), ("val_a", 20)]
    assert configs["all"].splits[0].bytes == 4000


def test_patterns_match_their_own_shards_only():
    data = manifest(TWO | {"ssdd-plus": {"train": ("jpg", 3, {"vqa": 1})}})
    for config in card_configs(data):
        for split in config.splits:
            found = [shard for shard in data.shards if any(fnmatch.fnmatch(shard.path, p) for p in split.patterns)]
            assert sum(shard.records for shard in found) == split.samples
            older = "ssdd/train-00001-of-00002.tar"
            assert not any(fnmatch.fnmatch(older, pattern) for pattern in split.patterns)


def test_names_that_clash_are_refused():
    with pytest.raises(UserError, match="'vqa' has the name of another configuration"):
        card_configs(manifest({"vqa": {"train": ("jpg", 1, {"vqa": 1})}}))
    with pytest.raises(UserError, match="'all'"):
        card_configs(manifest({"all": {"train": ("jpg", 1, {"vqa": 1})}}))
    with pytest.raises(UserError, match="not distinct"):
        card_configs(manifest({"a": {"val-1": ("jpg", 1, {"vqa": 1}), "val_1": ("jpg", 1, {"vqa": 1})}}))


def test_features_are_those_of_the_record():
    fields = {feature["name"]: feature for feature in record_features(of_several=True)}
    assert set(fields) == set(Record.model_json_schema(by_alias=True)["properties"])
    assert {feature["name"] for feature in record_features()} == fields.keys() - {"further_images"}
    assert fields["metadata"] == {"name": "metadata", "dtype": "string"}
    assert fields["captions"] == {"name": "captions", "list": "string"}
    objects = {feature["name"]: feature for feature in fields["objects"]["list"]}
    assert objects["quad"] == {"name": "quad", "list": {"list": "float64"}}
    assert objects["flags"] == {"name": "flags", "dtype": "string"}
    assert objects["hbb"] == {"name": "hbb", "list": "float64"}


def test_datasets_reads_the_features_and_writes_them_the_same():
    datasets = pytest.importorskip("datasets")
    declared = shard_features(["png", "jpg"])
    features = datasets.Features._from_yaml_list(declared)
    assert list(features) == ["jpg", "png", "json", "__key__", "__url__"]
    assert features._to_yaml_list() == declared


def test_datasets_reads_the_whole_front_matter():
    pytest.importorskip("datasets")
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCard

    card = DatasetCard(make_card(manifest(TWO), "org/name"))
    infos = DatasetInfosDict.from_dataset_card_data(card.data)
    configs = MetadataConfigs.from_dataset_card_data(card.data)
    assert list(infos) == list(configs) == ["all", "rsicd", "ssdd", "captioning", "detection-hbb"]
    assert configs.get_default_config_name() == "all"
    assert infos["ssdd"].splits["train"].num_examples == 30


def test_every_term_of_the_front_matter_is_one_of_the_hub():
    """By the lists that `datasets` ships of them; the licence links to where each source's stands."""
    metadata = pytest.importorskip("datasets.utils.metadata")
    from importlib.resources import files

    from huggingface_hub import DatasetCard

    every = {"ssdd": {"train": ("jpg", 200, dict.fromkeys(_HUB_TASKS, 1))}}
    for licence in ("academic-only", "CC-BY-4.0"):
        data = DatasetCard(make_card(manifest(every, licence), "org/name")).data
        assert set(data.task_categories) <= metadata.known_task_ids.keys() and len(data.task_categories) == 4
        (resource,) = [path for path in files("datasets.utils.resources").iterdir() if path.name.startswith("size_cat")]
        assert set(data.size_categories) <= set(json.loads(resource.read_text()))
        assert (data.license == "other") == hasattr(data, "license_link")
    assert data.to_dict()["language"] == ["en"]


def test_the_text_says_counts_licences_and_citations():
    notes = {"ssdd": SourceNote("SAR | Ships", "https://example.org/ssdd", "stated <here>", "Zhang et al., 2021")}
    text = make_card(manifest(TWO), "org/name", notes, ["assets/images-by-source.png"])
    assert "70 remote-sensing images (sar) of 2 public data sets" in text
    assert 'load_dataset("org/name", "rsicd", split="train", streaming=True)' in text
    assert "| ssdd | SAR \\| Ships | CC-BY-4.0 | stated &lt;here> | https://example.org/ssdd |" in text
    assert "- **ssdd**: Zhang et al., 2021" in text
    assert "![images by source](assets/images-by-source.png)" in text
    assert manifest(TWO).id in text


def test_one_known_licence_is_the_card_s_own():
    assert front(make_card(manifest(TWO), "org/name"))["license"] == "cc-by-4.0"
    assert front(make_card(manifest(TWO, "academic-only"), "org/name"))["license"] == "other"


def test_equal_data_gives_an_equal_card():
    assert make_card(manifest(TWO), "org/name") == make_card(manifest(TWO), "org/name")


def test_the_card_of_all_sources_stays_small():
    tasks = {"detection-hbb": 1, "captioning": 1, "vqa": 1}
    many = {f"source-{number}": {"train": ("jpg", 20, tasks), "test": ("jpg", 5, tasks)} for number in range(40)}
    assert len(make_card(manifest(many), "org/name")) < 200_000


def test_objects_in_no_dialogue_are_told_by_split_and_absent_where_there_are_none():
    whole = manifest(TWO)
    assert "In no dialogue" not in make_card(whole, "us/them") and b"in_no_dialogue" not in whole.to_json()
    counts = {"images_with_objects_in_no_dialogue": 2, "objects_in_no_dialogue": 1234}
    splits = whole.sources["ssdd"].splits
    ssdd = whole.sources["ssdd"].model_copy(
        update={"splits": splits | {"train": splits["train"].model_copy(update=counts)}}
    )
    told = whole.model_copy(update={"sources": whole.sources | {"ssdd": ssdd}}).with_id()
    assert "`ssdd/train` 1,234 objects in 2 images" in make_card(told, "us/them")
    assert parse_manifest(told.to_json(), "").sources["ssdd"].splits["train"].objects_in_no_dialogue == 1234


SCORE_ROW = {
    "source": "ssdd", "protocol": "detection-hbb/f1-50", "metric": "f1", "value": 0.5, "interval_95": [0.4, 0.6],
    "constant_value": None, "questions": 10, "failed": 2,
}  # fmt: skip


def write_scores(folder, **content):
    path = folder / "scores.json"
    path.write_text(json.dumps({"data_set": manifest(TWO).id, "split": "test", "model": "a/run|<1>/model"} | content))
    return path


def test_scores_stand_with_protocol_interval_and_constant(tmp_path):
    scores = read_card_scores([write_scores(tmp_path, rows=[SCORE_ROW])], manifest(TWO))
    text = make_card(manifest(TWO), "org/name", scores=scores)
    row = "| run\\|&lt;1> | ssdd | test | detection-hbb/f1-50 | f1 | 0.500 | 0.400 to 0.600 | undefined | 10 | 2 |"
    assert row in text and "## Scores" not in make_card(manifest(TWO), "org/name")


@pytest.mark.parametrize(
    ("content", "message"),
    [({"rows": [{}]}, "no scores.json"), ({"rows": [SCORE_ROW], "data_set": "f" * 64}, "is of data set ffffffff")],
)
def test_other_scores_are_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=message):
        read_card_scores([write_scores(tmp_path, **content)], manifest(TWO))
