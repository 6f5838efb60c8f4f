"""Plain words: what looks like a number or a truth value only to YAML 1.1 stays the word that is written."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mmrs.config import load_yaml, parse_words, parse_yaml
from mmrs.errors import UserError

WORDS = ("on", "off", "Yes", "no", "y", "n", "0737", "0x1F", "0b11", "12:30", "2024-01-05", "1_000", "+.e3", "1e", "-")


@pytest.mark.parametrize("word", WORDS[:-1])
def test_only_plain_numbers_and_true_and_false_are_values(word):
    assert parse_yaml(f"{word}: [{word}, '{word}']") == {word: [word, word]} == parse_words(f"{word}: [{word}, {word}]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7), ("-3", -3), ("0", 0), ("1.0", 1.0), ("1.", 1.0), (".5", 0.5), ("1e3", 1000.0), ("2.5e-3", 0.0025),
        ("true", True), ("False", False), (".inf", float("inf")), ("-.INF", float("-inf")),
    ],
)  # fmt: skip
def test_values_and_the_words_that_they_are(text, value):
    found = parse_yaml(text)
    assert found == value and type(found) is type(value)
    assert parse_words(text) == text


@pytest.mark.parametrize("text", ["", "~", "null", "NULL", "a:", "a: ~"])
def test_null_is_null_in_both(text):
    assert parse_yaml(text) == parse_words(text) and not (parse_words(text) or {}).get("a")
    assert parse_words("'null'") == "null"


@pytest.mark.parametrize("text", ["a: 1\na: 2", "{on: 1, on: 2}", "a: {b: 1, b: 2}"])
def test_a_key_that_is_written_twice_is_refused(text):
    for parse in (parse_yaml, parse_words):
        with pytest.raises(yaml.YAMLError, match="is written twice"):
            parse(text)


def test_merged_keys_may_be_overruled():
    assert parse_yaml("base: &b {x: 1, y: 2}\nown: {<<: *b, x: 3}")["own"] == {"x": 3, "y": 2}


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system [x]", "!!python/name:os.system", "!own x"])
def test_tags_make_no_objects(text):
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


@given(st.recursive(st.integers() | st.booleans() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(
    st.from_regex(r"[a-z]{1,4}", fullmatch=True), inner)))  # fmt: skip
def test_what_pyyaml_writes_of_plain_values_is_read_back(value):
    assert parse_yaml(yaml.safe_dump(value)) == value


def bomb(line: str) -> str:
    """Nine lines, each with nine aliases of the one before."""
    return "".join(f"a{i}: &a{i} " + line.format(", ".join(["x" if not i else f"*a{i - 1}"] * 9)) for i in range(9))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (bomb("[{}]\n"), "more than 100,000 values"),
        ("a0: &a0 {k: v}\n" + "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 9)),
         "more than 100,000 values"),
        pytest.param("[" + "a," * 3_000_000 + "]", "more than 100,000 values", marks=pytest.mark.nightly),
        ("a: " + "[" * 3000 + "]" * 3000, "more than 100 levels deep"),
        ("a: " + "{a: " * 3000 + "}" * 3000, "more than 100 levels deep"),
        ("- " * 3000 + "x", "more than 100 levels deep"),
        ("a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 3000)), "levels"),
        ("a: &a [*a]", "an alias of what it stands in"),
        ("9" * 5000, "digits"),
    ],
)  # fmt: skip
def test_work_of_a_document_is_bounded(text, reason):
    with pytest.raises(yaml.YAMLError, match=reason):
        parse_yaml(text)


def test_aliases_within_the_bounds_are_what_they_name():
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]\nc: &c {x: *a}\nd: *c") == {
        "a": [1, 2], "b": [[1, 2], [1, 2]], "c": {"x": [1, 2]}, "d": {"x": [1, 2]}}  # fmt: skip


def test_a_recipe_that_is_a_bomb_is_a_user_s_mistake(tmp_path):
    recipe = tmp_path / "r.yaml"
    for text in (bomb("[{}]\n"), "[" * 3000, "a: " + "9" * 5000):
        recipe.write_text(text)
        with pytest.raises(UserError, match=r"r\.yaml cannot be read"):
            load_yaml(recipe)
