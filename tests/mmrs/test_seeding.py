"""What is drawn from a seed: complete, independent of the listing, and the same in every version.

A change of a pinned value would silently rebuild shards, move images between splits, or reorder a resumed run.
"""

import hashlib
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.seeding import is_in_share, permutation, random_words, seeded_choice, seeded_order, seeded_shares

names = st.lists(st.text(min_size=1), unique=True, max_size=60)
seeds = st.integers(0, 2**31)
SHARES = st.lists(st.integers(1, 20), min_size=1, max_size=6).map(lambda parts: [part / sum(parts) for part in parts])

ORDER = [2, 0, 7, 3, 5, 4, 6, 1]
PARTS = [[7, 5, 6, 3], [0, 2], [1, 4]]
CHOICES = [0, 0, 0, 4, 1, 1, 1, 3]
IN_HALF = [True, True, True, False, True, False, False, True]
WORDS = [14624479635961928203, 4124613389258359813]


def sha(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def shuffled(values, random):
    values = list(values)
    random.shuffle(values)
    return values


@given(names, seeds, st.randoms(use_true_random=False))
def test_an_order_is_a_permutation_that_ignores_the_listing(names, seed, random):
    order = [names[i] for i in seeded_order(names, seed, "order")]
    assert sorted(order) == sorted(names)
    assert order == sorted(names, key=lambda name: (sha(f"{seed}\0order\0{name}"), name))
    other = shuffled(names, random)
    assert [other[i] for i in seeded_order(other, seed, "order")] == order


@given(names, seeds, SHARES, st.randoms(use_true_random=False))
def test_shares_hold_every_name_once_and_ignore_the_listing(names, seed, shares, random):
    parts = [[names[i] for i in part] for part in seeded_shares(names, seed, shares)]
    assert len(parts) == len(shares)
    assert list(itertools.chain(*parts)) == sorted(names, key=lambda name: sha(f"{seed}:{name}"))
    for part, share in zip(parts, shares, strict=True):
        assert abs(len(part) - share * len(names)) <= 1
    other = shuffled(names, random)
    assert [[other[i] for i in part] for part in seeded_shares(other, seed, shares)] == parts


def test_a_share_too_small_by_rounding_loses_no_name():
    """Shares may differ from 1 in sum by a millionth, which is an image of a million."""
    parts = seeded_shares([str(number) for number in range(1_000_000)], 0, [0.5, 0.499999])
    assert sum(map(len, parts)) == 1_000_000


@given(st.integers(1, 50), seeds, st.text())
def test_a_choice_is_in_range_and_of_its_key_alone(count, seed, name):
    chosen = seeded_choice(count, seed, "template", name)
    assert 0 <= chosen < count
    assert chosen == int.from_bytes(sha(f"{seed}\0template\0{name}")[:8], "big") % count


@given(seeds, st.text(), st.floats(0, 1))
def test_a_larger_share_holds_the_smaller(seed, name, share):
    assert not is_in_share(0, seed, "empty", name) and is_in_share(1, seed, "empty", name)
    assert is_in_share(share, seed, "empty", name) <= is_in_share(min(1, share * 2), seed, "empty", name)


def test_a_share_is_about_as_large_as_it_says():
    assert 280 < sum(is_in_share(0.3, 7, "empty", str(number)) for number in range(1000)) < 320


@given(st.integers(0, 300), seeds)
@settings(max_examples=50, deadline=None)
def test_a_permutation_holds_every_number_once(count, seed):
    assert sorted(permutation(count, "x", seed).tolist()) == list(range(count))


def test_what_is_drawn_is_pinned():
    letters = list("abcdefgh")
    assert seeded_order(letters, 0, "order") == ORDER
    assert seeded_shares(letters, 0, [0.5, 0.3, 0.2]) == PARTS
    assert [seeded_choice(5, 0, "template", letter) for letter in letters] == CHOICES
    assert [is_in_share(0.5, 0, "empty", letter) for letter in letters] == IN_HALF
    assert permutation(10, "key", 0).tolist() == [2, 1, 9, 5, 6, 7, 3, 0, 4, 8]
    assert random_words(2, "key", 0).tolist() == WORDS
