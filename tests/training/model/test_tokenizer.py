"""The small tokenizer: deterministic, lossless, one token per digit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.model import train_tokenizer
from training.model.tokenizer import HUNDREDTHS, hundredths_ids

CORPUS = [f"There is <p>one car</p>[0.{n:03d},0.300] in the image.\nWhat is it? golf course" for n in range(50)]


@pytest.fixture(scope="module")
def trained():
    return train_tokenizer(CORPUS, 330)


def test_same_texts_give_the_same_tokenizer(trained):
    again = train_tokenizer(iter(CORPUS), 330)
    assert again.backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()
    assert len(trained) == 294  # all merges that this corpus has


def test_every_digit_is_a_token(trained):
    tokens = trained.tokenize("[0.412,0.300]")
    assert [token for token in tokens if any(character.isdigit() for character in token)] == list("04120300")


@settings(deadline=None, max_examples=200)
@given(
    text=st.text(max_size=60) | st.lists(st.sampled_from(["<s>", "</s>", "<image>", " ", "\n", "é", "7"])).map("".join)
)
def test_any_text_comes_back(trained, text):
    ids = trained.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert trained.decode(ids) == text
    assert not set(ids) & set(trained.all_special_ids)


@pytest.fixture(scope="module")
def with_hundredths():
    return train_tokenizer(CORPUS, 400, hundredths=True)


def test_a_hundredth_is_a_token_and_a_third_decimal_another(with_hundredths):
    tokens = with_hundredths.tokenize("[0.412,1.000;0.07,10.253]")
    numbers = [token for token in tokens if any(character.isdigit() for character in token)]
    assert numbers == ["0.41", "2", "1.00", "0", "0.07", "1", "0.25", "3"]
    ids = hundredths_ids(with_hundredths)
    assert [with_hundredths.decode([number]) for number in ids] == list(HUNDREDTHS)
    assert max(ids) < len(with_hundredths) <= 400


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=60) | st.lists(st.sampled_from(["0.", "1.00", "0.5", "0.51", " ", "9", "é"])).map("".join))
def test_any_text_comes_back_through_hundredths(with_hundredths, text):
    ids = with_hundredths.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert with_hundredths.decode(ids) == text


def test_digits_have_no_hundredths(trained):
    assert hundredths_ids(trained) is None
    with pytest.raises(ValueError, match="set at least 361"):
        train_tokenizer(CORPUS, 330, hundredths=True)


def test_saved_tokenizer_is_the_same(trained, tmp_path):
    trained.save_pretrained(tmp_path)
    loaded = type(trained).from_pretrained(tmp_path)
    assert loaded.backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()
    assert loaded.padding_side == "left"
    assert loaded.all_special_tokens == trained.all_special_tokens


def test_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match="vocab_size is 259; set at least 260"):
        train_tokenizer(CORPUS, 259)
