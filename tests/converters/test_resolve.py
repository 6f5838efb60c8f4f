"""Recipes against the catalogue: what a build may and may not use."""

import pytest
import yaml

import converters
from converters import samples
from converters.resolve import find_recipe, resolve
from mmrs.builder.recipe import BuildRecipe, LicencePolicy
from mmrs.errors import UserError
from mmrs.installation import shipped_recipes


def recipe(source, **keys):
    return BuildRecipe.model_validate({"sources": [{"name": source} | keys.pop("entry", {})]} | keys)


def built(*arguments):
    return resolve(*arguments).builds


def test_defaults_come_from_the_catalogue(tmp_path):
    (build,) = built(recipe("hit-uav", data_root=tmp_path))
    assert (build.root, build.splits) == (tmp_path / "hit-uav", ("train", "val", "test"))
    (build,) = built(recipe("hit-uav"), {"hit-uav": tmp_path})
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


SHIPPED = shipped_recipes("mmrs.builder")


def options_of(word, overrides=(), **options):
    return [entry.options for entry in find_recipe(word, SHIPPED, overrides, options).sources]


def test_an_option_is_spelt_for_a_build_as_for_a_scan():
    assert options_of("dota", release="1.0") == [{"release": "1.0"}]
    assert options_of("dota", **{"dota.release": "1.0"}) == [{"release": "1.0"}]
    # What `--set` means to `mmrs scan` a build of one source takes too, where it is no key of a recipe.
    assert options_of("dota", ("release=1.0", "seed=3")) == [{"release": "1.0"}]
    many = find_recipe("mmrs-1m", SHIPPED, (), {"dota.release": "1.0"})
    assert [entry.options for entry in many.sources if entry.name == "dota"] == [{"release": "1.0"}]


@pytest.mark.parametrize(
    ("word", "options", "says"),
    [
        ("dota", {"dotta.release": "1.0"}, r"--option dotta.release=1.0: .*did you mean 'dota'"),
        ("mmrs-1m", {"release": "1.0"}, r"say whose: `--option [a-z0-9-]+\.release=1.0`"),
    ],
)
def test_an_option_of_no_source_of_the_recipe_is_refused(word, options, says):
    with pytest.raises(UserError, match=says):
        find_recipe(word, SHIPPED, (), options)


def test_a_root_of_described_data_has_the_word_that_was_typed(tmp_path):
    samples.write("generic", tmp_path / "demo")
    options = {"description": str(tmp_path / "demo/mmrs.yaml")}
    for name in ("generic", "my-harbour"):
        (build,) = built(recipe("generic", entry={"options": options}), {name: tmp_path / "demo"})
        assert (build.source.name, build.root) == ("my-harbour", tmp_path / "demo")
    with pytest.raises(UserError, match=r"--root generc: .*did you mean 'generic'"):
        resolve(recipe("generic", entry={"options": options}), {"generc": tmp_path})


def refusing(allow, **more):
    return {"allow": allow} | more


@pytest.mark.parametrize(
    ("source", "allow", "says"),
    [
        ("rsicd", "stated", "states no licence"),
        ("rsicd", "commercial", "states no licence"),
        ("dota", "commercial", "not for commercial use .academic-only"),
    ],
)
def test_a_licence_policy_refuses_what_it_must(source, allow, says):
    assert resolve(recipe(source)).builds
    with pytest.raises(UserError, match=f"{says}.*licences.accept=.{source}"):
        resolve(recipe(source, licences=refusing(allow)))
    assert resolve(recipe(source, licences=refusing(allow, accept=[source]))).builds
    assert resolve(recipe("hit-uav", licences=refusing(allow))).builds


def test_refused_sources_can_be_left_out():
    both = {"sources": [{"name": "rsicd"}, {"name": "hit-uav"}]}
    found = resolve(BuildRecipe.model_validate(both | {"licences": refusing("stated", refused="leave-out")}))
    assert [build.source.name for build in found.builds] == ["hit-uav"]
    assert found.left_out == (("rsicd", "states no licence"),)


def test_no_licence_of_the_catalogue_is_taken_for_a_free_one():
    policy = LicencePolicy(allow="commercial")
    known = {converters.facts(name).licence for name in converters.names()}
    allowed = {licence for licence in known if policy.refusal("any", licence) is None}
    assert allowed == {"Apache-2.0", "CC-BY-4.0", "MIT", "MulanPSL-1.0", "public-domain"}


def test_accepting_a_source_that_is_not_listed_is_a_mistake():
    with pytest.raises(UserError, match="accept rsicd: the recipe does not list"):
        resolve(recipe("hit-uav", licences={"accept": ["rsicd"]}))


def test_permission_to_use_a_source_does_not_change_the_data_set():
    assert recipe("rsicd").digest() == recipe("rsicd", licences=refusing("stated", accept=["rsicd"])).digest()
    assert recipe("rsicd").digest() != recipe("rsicd", seed=1).digest()


def test_filters_leave_out_sources_and_say_why():
    listed = [{"name": name} for name in ("rsicd", "ssdd", "hit-uav", "dota", "mar20")]

    def found(**keys):
        result = resolve(BuildRecipe.model_validate({"sources": listed} | keys))
        return {build.source.name: build for build in result.builds}, dict(result.left_out)

    assert found(sensors=["sar"])[0].keys() == {"ssdd"}
    kept, left = found(sensors=["sar", "infrared"], tasks=["detection-obb"], splits="train")
    assert {name: (build.splits, build.tasks) for name, build in kept.items()} == {
        "ssdd": (("train",), {"detection-obb"}),
        "hit-uav": (("train",), {"detection-obb"}),
    }
    assert left == {"rsicd": "is optical", "dota": "is optical", "mar20": "is optical"}
    assert found(tasks=["captioning"])[1]["ssdd"] == "has none of the tasks captioning"
    assert found(splits=["train"])[1] == {"mar20": "has none of the splits train"}
    with pytest.raises(UserError, match="leaves no source to build: rsicd is optical"):
        found(sensors=["infrared"], tasks=["vqa"])


def test_the_policy_of_splits_is_the_recipes_unless_the_source_has_its_own():
    listed = [{"name": "rsicd"}, {"name": "hit-uav", "train_splits": ["train", "val"]}, {"name": "mar20"}]
    builds = resolve(BuildRecipe.model_validate({"sources": listed, "train_splits": "train"})).builds
    assert [build.train_splits for build in builds] == [("train",), ("train", "val"), ()]
    with pytest.raises(UserError, match="no split 'trian'"):
        resolve(recipe("hit-uav", entry={"train_splits": ["trian"]}))


def test_evaluation_only_sources_have_no_training_split(monkeypatch):
    facts = converters.facts("hit-uav").model_copy(update={"evaluation_only": True})
    monkeypatch.setattr("converters.base.catalog.facts", lambda name: facts)
    (build,) = built(recipe("hit-uav"))
    assert build.splits == ("val", "test")
    with pytest.raises(UserError, match="evaluation only"):
        resolve(recipe("hit-uav", entry={"splits": ["train"]}))
    with pytest.raises(UserError, match=r"evaluation only.*train_splits"):
        resolve(recipe("hit-uav", entry={"train_splits": ["test"]}))


@pytest.mark.parametrize("name", [name for name in converters.names() if converters.facts(name).evaluation_only])
def test_no_recipe_trains_on_an_evaluation_only_source(name):
    splits = converters.facts(name).splits
    content = {"sources": [{"name": name}], "train_splits": list(splits)}
    (build,) = built(BuildRecipe.model_validate(content))
    assert build.train_splits == () and "train" not in build.splits


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
    builds = built(BuildRecipe.model_validate({"sources": entries}), {"second": tmp_path / "second"})
    assert [build.source.name for build in builds] == ["first", "second"]
    assert builds[1].root == tmp_path / "second"
