import pickle
import subprocess
import sys

import pytest

import converters
from converters import catalog
from converters.base import Converter
from mmrs.errors import UserError
from mmrs.source import Source


def test_names_import_no_source_module():
    code = (
        "import sys, converters; converters.names(); converters.facts('dota');"
        "print([m for m in sys.modules if m.startswith(('converters.detection', 'converters.samples', 'PIL'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", converters.names())
def test_every_source_is_a_picklable_source(name):
    converter = converters.get(name)
    assert isinstance(converter, Source) and isinstance(converter, Converter)
    assert pickle.loads(pickle.dumps(converter)) == converter
    assert converter.name == name and converter.version >= 1
    assert set(converter.tasks) <= set(converter.facts.tasks)
    assert all(isinstance(value, str | int | float | bool) for value in converter.options().values())


def test_unknown_source_names_the_nearest_and_the_next_command():
    with pytest.raises(UserError, match=r"'hit_uav'.*did you mean 'hit-uav'.*`mmrs sources`"):
        converters.get("hit_uav")


def test_unknown_option_names_the_nearest():
    with pytest.raises(UserError, match=r"no option 'layuot' \(did you mean 'layout'\?\); its options are layout"):
        converters.get("hit-uav", layuot="auto")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("hit-uav", {"layout": "coco"}, r"option layout = 'coco'.*rotate_json"),
        ("dota", {"release": "3"}, r"option release = '3'"),
        ("dota", {"tile_size": 0}, r"option tile_size = 0"),
        ("dota", {"tile_overlap": 1024}, r"tiling overlap 1024"),
        ("ucmerced", {"train_share": 1.0}, r"option train_share = 1.0"),
        ("rsicd", {"seed": 1}, r"it has no options"),
    ],
)
def test_wrong_option_values_are_refused_when_the_converter_is_made(name, options, words):
    with pytest.raises(UserError, match=words):
        converters.get(name, **options)


def test_a_release_that_yaml_read_as_a_number_is_taken():
    assert converters.get("dota", release=1.5).options()["release"] == "1.5"


def test_unknown_split(tmp_path):
    with pytest.raises(UserError, match=r"no split 'trian' \(did you mean 'train'\?\)"):
        converters.get("ucmerced").discover(tmp_path, "trian")


def test_hit_uav_tasks_follow_the_layout():
    assert converters.get("hit-uav", layout="normal_xml").tasks == ("detection-hbb",)
    assert converters.get("hit-uav").tasks == ("detection-hbb", "detection-obb")


def test_published_counts():
    assert converters.get("hit-uav").published("train").objects == 17_628
    assert converters.get("dota", release="2.0").published("val").objects == 81_048
    assert converters.get("ucmerced", train_share=0.5).published("train").images is None
    assert sum(converters.get("rsicd").published(split).images for split in ("train", "val", "test")) == 10_921


def test_catalogue_is_refused_where_facts_contradict_each_other(tmp_path):
    text = (
        (catalog.FACTS / "captioning.yaml")
        .read_text(encoding="utf-8")
        .replace("train: {images: 8734}", "trian: {images: 8734}")
    )
    (tmp_path / "catalog.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="published split 'trian'"):
        catalog.load_catalog(tmp_path)


def test_catalogue_refuses_unknown_keys(tmp_path):
    text = (
        (catalog.FACTS / "infrared.yaml").read_text(encoding="utf-8").replace("  sensor: infrared", "  sensr: infrared")
    )
    (tmp_path / "catalog.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="sensr"):
        catalog.load_catalog(tmp_path)
