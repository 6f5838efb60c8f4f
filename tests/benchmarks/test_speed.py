"""The speed benchmarks on a few files: writers store the same images, readers read them, figures are whole."""

import io
import json
import subprocess
import sys

import pytest
from PIL import Image

from benchmarks import build_speed, by_hand, flat_cost, random_access
from benchmarks.corpus import generated, open_corpus, with_comment, write_corpus
from benchmarks.trial import paired

PICTURES = generated(3, 64, 85)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("speed") / "corpus", PICTURES, 24)


def test_copies_differ_in_bytes_and_show_the_same_picture(corpus):
    assert len(set(corpus.digests())) == 24
    assert open_corpus(corpus.root) == corpus
    with (
        Image.open(io.BytesIO(PICTURES[0])) as plain,
        Image.open(io.BytesIO(with_comment(PICTURES[0], b"x"))) as marked,
    ):
        assert plain.tobytes() == marked.tobytes()
        assert marked.info["comment"] == b"x"


@pytest.mark.parametrize("name", ["mmrs_L0_1", "webdataset", "webdataset_same_facts", "img2dataset_style_1"])
def test_every_writer_stores_the_same_images(corpus, tmp_path, name):
    pytest.importorskip("webdataset")
    result = build_speed.trial(name, corpus, tmp_path / "target")
    assert result["seconds"] > 0 and result["cpu_seconds"] > 0
    assert sorted(build_speed.stored_digests(tmp_path / "target")) == corpus.digests()


def test_readers_agree(corpus, tmp_path):
    pytest.importorskip("webdataset")
    (tmp_path / "corpus").symlink_to(corpus.root)
    random_access.trial("write_mmrs", tmp_path, False)
    expected = random_access.digest(path.read_bytes() for path in corpus.paths())
    for name in ("mmrs_random", "webdataset_in_order"):
        result = random_access.trial(name, tmp_path, check=True)
        assert (result["samples"], result["digest"]) == (24, expected)


def test_growth_of_a_linear_cost_is_one():
    runs = {
        n: {"cpu_seconds": {"plan": n / 1e5}, "parent_peak_bytes": 10**8 + 1000 * n} for n in (1000, 50_000, 200_000)
    }
    found = flat_cost.growth(runs)
    assert found["exponents"]["plan"] == pytest.approx(1)
    assert found["parent_peak_bytes_at_a_million_extrapolated"] == pytest.approx(10**8 + 10**9)


def test_ratios_are_taken_round_by_round():
    ratio = paired([{"seconds": 1.0}, {"seconds": 2.0}], [{"seconds": 3.0}, {"seconds": 4.0}])
    assert ratio == {"median": 2.5, "min": 2.0, "max": 3.0, "best_of_each": 3.0}


@pytest.mark.nightly
def test_a_build_opens_each_image_twice_whatever_the_size(tmp_path):
    """Once for its header, once for its bytes: the cost that grows with a data set, counted instead of timed."""
    script = (
        "import sys, collections; from pathlib import Path\n"
        "from benchmarks.build_speed import prepared_mmrs; from benchmarks.corpus import open_corpus\n"
        "work = prepared_mmrs(open_corpus(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3], 1)\n"
        "opened = collections.Counter()\n"
        "sys.addaudithook(lambda event, args: opened.update([str(args[0])]) if event == 'open' else None)\n"
        "work()\n"
        "print({count for path, count in opened.items() if path.endswith('.jpg')}, sum(opened.values()))"
    )
    others = []
    for files in (20, 60):
        write_corpus(tmp_path / str(files), PICTURES, files)
        words = (tmp_path / str(files), tmp_path / f"out-{files}", "L1")
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
        counts, total = done.stdout.rsplit(maxsplit=1)
        assert counts == "{2}"
        others.append(int(total) - 2 * files)
    assert others[0] == others[1]


@pytest.mark.nightly
def test_what_is_done_by_hand_is_measured_against_its_library(tmp_path, monkeypatch):
    monkeypatch.setattr(by_hand, "_CALLS", 2)
    monkeypatch.setattr(sys, "argv", ["by_hand", "--out", str(tmp_path / "result.json")])
    by_hand.main()
    pairs = json.loads((tmp_path / "result.json").read_text())["pairs"]
    assert len(pairs) == 3
    assert all(value >= 0 for pair in pairs.values() for way in pair.values() for value in way.values())
