"""Recipes against the catalogue: what a build may and may not use."""

import pytest
import yaml

import converters
from converters import samples
from converters.resolve import resolve
from mmrs.build.recipe import BuildRecipe
from mmrs.errors import UserError


def recipe(source, **keys):
    return BuildRecipe.model_validate({"sources": [{"name": source} | keys.pop("entry", {})]} | keys)


def test_defaults_come_from_the_catalogue(tmp_path):
    (build,) = resolve(recipe("hit-uav", data_root=tmp_path))
    assert (build.root, build.splits) == (tmp_path / "hit-uav", ("train", "val", "test"))
    (build,) = resolve(recipe("hit-uav"), {"hit-uav": tmp_path})
    assert build.root == tmp_path


@pytest.mark.parametrize(
    ("source", "entry", "says"),
    [
        ("hit_uav", {}, "did you mean 'hit-uav'"),
        ("hit-uav", {"splits": ["dev"]}, "no split 'dev'"),
        ("hit-uav", {"tasks": ["captioning"]}, "not annotated for captioning"),
        ("hit-uav", {"options": {"layuot": "auto"}}, "did you mean 'layout'"),
    ],
)
def test_mistakes_teach(source, entry, says):
    with pytest.raises(UserError, match=says):
        resolve(recipe(source, entry=entry))


def test_a_publication_refuses_unknown_licences_unless_told():
    assert converters.facts("rsicd").licence == "unknown"
    assert resolve(recipe("rsicd"))
    with pytest.raises(UserError, match="allow_unknown_licences=true"):
        resolve(recipe("rsicd", publication=True))
    assert resolve(recipe("rsicd", publication=True, allow_unknown_licences=True))
    assert resolve(recipe("hit-uav", publication=True))


def test_permission_to_publish_does_not_change_the_data_set():
    assert recipe("rsicd").digest() == recipe("rsicd", publication=True, allow_unknown_licences=True).digest()
    assert recipe("rsicd").digest() != recipe("rsicd", seed=1).digest()


def test_evaluation_only_sources_have_no_training_split(monkeypatch):
    facts = converters.facts("hit-uav").model_copy(update={"evaluation_only": True})
    monkeypatch.setattr("converters.base.catalog.facts", lambda name: facts)
    (build,) = resolve(recipe("hit-uav"))
    assert build.splits == ("val", "test")
    with pytest.raises(UserError, match="evaluation only"):
        resolve(recipe("hit-uav", entry={"splits": ["train"]}))


def test_a_source_is_listed_once():
    twice = BuildRecipe.model_validate({"sources": [{"name": "hit-uav", "splits": ["train"]}, {"name": "hit-uav"}]})
    with pytest.raises(UserError, match="listed twice"):
        resolve(twice)


def test_several_data_sets_of_ones_own_are_told_apart_by_their_names(tmp_path):
    for name in ("first", "second"):
        samples.write("generic", tmp_path / name)
        description = tmp_path / name / "mmrs.yaml"
        content = yaml.safe_load(description.read_text()) | {"name": name}
        description.write_text(yaml.safe_dump(content))
    entries = [
        {"name": "generic", "options": {"description": str(tmp_path / n / "mmrs.yaml")}} for n in ("first", "second")
    ]
    builds = resolve(BuildRecipe.model_validate({"sources": entries}), {"second": tmp_path / "second"})
    assert [build.source.name for build in builds] == ["first", "second"]
    assert builds[1].root == tmp_path / "second"
