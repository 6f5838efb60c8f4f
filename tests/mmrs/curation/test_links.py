"""Links by key, and the groups that links make."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmrs.curation.links import LinkKind, components, joined, links_by_key, make_links


def naive_components(rows, pairs):
    labels = list(range(rows))
    changed = True
    while changed:
        changed = False
        for first, second in pairs:
            low = min(labels[first], labels[second])
            if labels[first] != low or labels[second] != low:
                labels[first] = labels[second] = low
                changed = True
    return labels


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2)))))
def test_components_are_those_of_repeated_merging(case):
    rows, pairs = case
    links = make_links(LinkKind.COPY, [a for a, _ in pairs], [b for _, b in pairs], [""] * len(pairs))
    assert components(rows, links).tolist() == naive_components(rows, pairs)


def test_a_long_chain_is_one_component():
    order = np.random.default_rng(0).permutation(5000)
    links = make_links(LinkKind.COPY, order[:-1], order[1:], [""] * 4999)
    assert not components(5000, links).any()


def test_links_by_key_are_a_star_from_the_first_row():
    links = links_by_key(LinkKind.SCENE, ["a", None, "b", "a", None, "a"], "of {key} as")
    assert links.first.tolist() == [0, 0]
    assert links.second.tolist() == [3, 5]
    assert links.reasons == ("of a as", "of a as")


def test_counts_by_kind():
    links = joined([links_by_key(LinkKind.BYTES, ["x", "x"], ""), make_links(LinkKind.COPY, [0], [1], [""])])
    assert links.counts() == {"bytes": 1, "original": 0, "scene": 0, "copy": 1, "centre": 0}
