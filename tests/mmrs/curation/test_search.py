"""The search finds exactly what comparing all pairs under all variants finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrs.curation.search import DEFAULT_LIMIT, EXACT_BITS, bit_distance, near_pairs
from mmrs.imaging.hashing import HASH_BITS, VARIANTS, turned_hashes


def random_hashes(rng, count, used_bands=16):
    """Random hashes; with few `used_bands` the buckets of the others hold every row."""
    bands = rng.integers(0, 1 << 16, (count, 16), dtype=np.uint16)
    bands[:, used_bands:] = 7
    return bands.view(np.uint64)


def flipped(rng, hashes, bits):
    """Each row with `bits` distinct bits changed."""
    changed = np.zeros((len(hashes), HASH_BITS), np.uint8)
    for row in changed:
        row[rng.choice(HASH_BITS, bits, replace=False)] = 1
    return hashes ^ np.packbits(changed, axis=1, bitorder="little").view(np.uint64)


def brute_force(hashes, others=None):
    """{(i, j): smallest distance under any variant}; i < j when searched among themselves."""
    targets = hashes if others is None else others
    nearest = np.full((len(hashes), len(targets)), HASH_BITS)
    for variant in VARIANTS:
        turned = turned_hashes(hashes, variant)
        nearest = np.minimum(nearest, bit_distance(turned[:, None], targets[None]))
    rows, columns = np.nonzero(nearest <= DEFAULT_LIMIT)
    pairs = zip(rows.tolist(), columns.tolist(), strict=True)
    return {(i, j): nearest[i, j] for i, j in pairs if others is not None or i < j}


def found_pairs(pairs):
    rows = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
    return dict(zip(rows, pairs.distance.tolist(), strict=True))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(0, DEFAULT_LIMIT + 3), st.sampled_from([3, 16]), st.integers(0, 7))
def test_complete_up_to_the_exact_radius_and_never_beyond_the_limit(seed, bits, used_bands, variant):
    rng = np.random.default_rng(seed)
    hashes = random_hashes(rng, 30, used_bands)
    copies = flipped(rng, turned_hashes(hashes[:10], VARIANTS[variant]), bits)
    hashes = np.concatenate([hashes, copies])
    truth, found = brute_force(hashes), found_pairs(near_pairs(hashes))
    # Equal hashes are named by their first row only, so a pair may be known through it.
    first_row = {row.tobytes(): place for place, row in reversed(list(enumerate(hashes)))}
    for (i, j), distance in truth.items():
        if distance <= EXACT_BITS:
            named = tuple(sorted((first_row[hashes[i].tobytes()], first_row[hashes[j].tobytes()])))
            assert found.get((i, j)) == distance or found.get(named) == distance
    assert all(truth.get(pair) == distance for pair, distance in found.items())


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(0, EXACT_BITS))
def test_two_sets(seed, bits):
    rng = np.random.default_rng(seed)
    hashes = random_hashes(rng, 20)
    others = np.concatenate([random_hashes(rng, 5), flipped(rng, hashes[:6], bits)])
    found = found_pairs(near_pairs(hashes, others))
    assert {pair for pair, distance in brute_force(hashes, others).items() if distance <= EXACT_BITS} <= found.keys()
    assert {(row, 5 + row) for row in range(6)} <= found.keys()


def test_the_variant_says_how_the_first_must_be_turned():
    hashes = random_hashes(np.random.default_rng(1), 8)
    for number, variant in enumerate(VARIANTS):
        pairs = near_pairs(np.concatenate([hashes, turned_hashes(hashes, variant)]))
        assert pairs.variant.tolist() == [number] * 8
        assert pairs.second.tolist() == [row + 8 for row in pairs.first.tolist()]


def test_equal_hashes_make_a_star_not_all_pairs():
    hashes = np.repeat(random_hashes(np.random.default_rng(2), 1), 500, axis=0)
    pairs = near_pairs(hashes)
    assert pairs.first.tolist() == [0] * 499
    assert pairs.second.tolist() == list(range(1, 500))


def test_opposite_hashes_are_far():
    hashes = random_hashes(np.random.default_rng(3), 1)
    assert bit_distance(hashes, ~hashes).tolist() == [HASH_BITS]


def test_no_hashes_no_pairs():
    assert len(near_pairs(np.empty((0, 4), np.uint64))) == 0


def test_refuses_what_it_cannot_search():
    with pytest.raises(ValueError, match="limit 3"):
        near_pairs(np.empty((0, 4), np.uint64), limit=3)
    with pytest.raises(ValueError, match="uint64"):
        near_pairs(np.zeros((2, 3), np.int64))


@pytest.mark.parametrize("among_others", [False, True])
def test_the_same_pairs_for_any_number_of_processes(monkeypatch, among_others):
    monkeypatch.setattr("mmrs.curation.search._ROWS_WORTH_A_PROCESS", 0)
    rng = np.random.default_rng(3)
    hashes = random_hashes(rng, 300)
    copies = flipped(rng, turned_hashes(hashes[:40], VARIANTS[5]), 9)
    hashes = np.concatenate([hashes, copies])
    others = hashes[::2] if among_others else None
    one, two = near_pairs(hashes, others, workers=1), near_pairs(hashes, others, workers=2)
    assert len(one) >= 40 or among_others
    for name in ("first", "second", "variant", "distance"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
