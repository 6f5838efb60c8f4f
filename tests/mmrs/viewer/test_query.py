"""Every filter against the same question asked of the records themselves, one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.data_set.data_set import open_data_set
from mmrs.errors import UserError
from mmrs.viewer.answers import AnswerTable, ShownAnswer
from mmrs.viewer.catalogue import load_catalogue
from mmrs.viewer.contents import ContentsReader, sides
from mmrs.viewer.query import Finder, parse_query
from tests.mmrs.viewer.conftest import TURNED


@pytest.fixture(scope="module")
def records(viewed_set):
    return [sample.record for sample in open_data_set(viewed_set)]


@pytest.fixture(scope="module")
def finder(viewed_set):
    catalogue = load_catalogue(viewed_set)
    contents = ContentsReader(catalogue.shards)
    contents.wait()
    answers = AnswerTable(
        {
            1: [ShownAnswer("vqa", "?", "no", "yes", 0.0, ("empty",))],
            2: [ShownAnswer("vqa", "?", "no", "yes", 0.25, ()), ShownAnswer("vqa", "?", "yes", "yes", 1.0, ())],
            9: [ShownAnswer("vqa", "?", "yes", "yes", 1.0, ())],
        }
    )
    return Finder(catalogue, contents, answers, {catalogue.row(4)["id"]: "why not"})


def found(finder, **values):
    return finder.find(
        parse_query({name: v if isinstance(v, list) else [v] for name, v in values.items()})
    ).rows.tolist()


def side(item):
    return float(sides(np.array([item.quad]))[0])


WAYS = {
    "source": (["talk"], lambda r, v: r.source in v),
    "split": (["train"], lambda r, v: r.split in v),
    "sensor": (["sar"], lambda r, v: r.sensor in v),
    "task": (["captioning", "vqa"], lambda r, v: {d.task for d in r.dialogues} & set(v)),
    "class": (["ship"], lambda r, v: ({o.category for o in r.objects} | {r.label}) & set(v)),
    "objects_from": (["2"], lambda r, v: len(r.objects) >= 2),
    "objects_to": (["1"], lambda r, v: len(r.objects) <= 1),
    "size_from": (["11"], lambda r, v: any(side(o) >= 11 for o in r.objects)),
    "text": (["TANKS is"], lambda r, v: "many tanks" in r.captions),
}


@given(st.sets(st.sampled_from(sorted(WAYS)), max_size=3))
def test_a_query_is_the_question_asked_of_every_record(finder, records, names):
    asked = {name: WAYS[name][0] for name in names}
    expected = [n for n, r in enumerate(records) if all(WAYS[name][1](r, WAYS[name][0]) for name in names)]
    assert found(finder, **asked) == expected


def test_each_filter_keeps_some_and_leaves_some(finder, records):
    for name in WAYS:
        assert 0 < len(found(finder, **{name: WAYS[name][0]})) < len(records), name


def test_sizes_are_of_one_object(finder, records):
    """Not the smallest and the largest of an image: both ends are of the same one."""
    every = sorted(side(item) for record in records for item in record.objects)
    low, high = every[len(every) // 2], every[len(every) // 2 + 3]
    expected = [n for n, r in enumerate(records) if any(low <= np.float32(side(o)) <= high for o in r.objects)]
    assert found(finder, size_from=str(low - 1e-4), size_to=str(high + 1e-4)) == expected


def test_words_of_ids_and_of_other_alphabets(finder, records):
    assert found(finder, text=records[7].id.upper()) == [7]
    assert found(finder, text=TURNED) == [n for n, r in enumerate(records) if TURNED in r.captions] != []
    assert found(finder, text=".*") == []


def test_findings_answers_and_the_list(finder, records):
    assert found(finder, curation="leak") == [0]
    assert found(finder, curation="group") == [0, 5, 7] == found(finder, group_of=records[5].id)
    assert found(finder, curation=["fault", "leak"]) == [0, 3]
    assert found(finder, failure="empty") == [1] == found(finder, failure="any")
    assert found(finder, failure="none", score_to="0.5") == [2]
    assert found(finder, score_from="0.9") == [2, 9]
    assert found(finder, order="score")[:3] == [1, 2, 9] and found(finder, order="best")[:3] == [9, 2, 1]
    assert found(finder, excluded="true") == [4]


def test_orders_lose_nothing(finder, records):
    for order, value in (("objects", lambda r: len(r.objects)), ("size", lambda r: r.image.width * r.image.height)):
        rows = found(finder, order=order)
        values = [value(records[row]) for row in rows]
        assert values == sorted(values, reverse=True) and sorted(rows) == list(range(len(records)))


@pytest.mark.parametrize(
    "values", [{"nothing": ["1"]}, {"order": ["upwards"]}, {"objects_from": ["many"]}, {"text": ["x" * 501]}]
)
def test_what_is_no_query_is_told(values):
    with pytest.raises(UserError, match=next(iter(values))):
        parse_query(values)
