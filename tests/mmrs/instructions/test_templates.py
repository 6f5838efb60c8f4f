"""Template sets: wordings that keep their parts, chosen by seed and id alone; answers are those of the release."""

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrs.errors import UserError
from mmrs.instructions import prompts
from mmrs.instructions.dialects import DIALECTS
from mmrs.instructions.render import RenderOptions, render
from mmrs.instructions.templates import FIELDS, TEMPLATES, TemplateSet, template_set
from mmrs.record import AnnotatedObject, AnsweredQuestion, Expression, ImageInfo, Record

ALL_TASKS = frozenset(
    [
        *("classification", "captioning", "vqa", "visual-grounding"),
        *("region-captioning", "detection-hbb", "detection-obb"),
    ]
)
DIVERSE = TEMPLATES["diverse"]


def record(name="dior/train/00001"):
    boxes = [((1, 2), (30, 2), (30, 40), (1, 40)), ((50, 50), (80, 50), (80, 70), (50, 70))]
    return Record(
        id=name,
        source="dior",
        split="train",
        sensor="optical",
        image=ImageInfo(width=100, height=90, mode="RGB", sha256="0" * 64),
        objects=tuple(AnnotatedObject(category="ship", label="ship", quad=quad) for quad in boxes),
        label="harbor",
        captions=("A {plural} and 50 % more.", "Two ships lie in a port."),
        questions=(
            AnsweredQuestion(question="Is there a ship?", answer="yes"),
            AnsweredQuestion(question="W?", answer="x", type="verbatim"),
        ),
        expressions=(Expression(text="the ship on the {box} left", object=0),),
        licence="unknown",
    )


def rendered(name="dior/train/00001", templates=DIVERSE, seed=0):
    options = RenderOptions(DIALECTS["mmrs"], ALL_TASKS, templates=templates, seed=seed)
    return render(record(name), options).dialogues


def test_every_kind_has_several_wordings_the_released_one_among_them():
    for kind, (released,) in TEMPLATES["mmrs1m"].wordings.items():
        texts = DIVERSE.wordings[kind]
        assert released in texts
        assert len(set(texts)) == len(texts) >= 5


@given(st.sampled_from(sorted(FIELDS)), st.integers(0, 2**32), st.text(max_size=20), st.integers(0, 100))
def test_a_prompt_holds_its_parts_as_they_are(kind, seed, name, number):
    parts = {field: "<{strange} text>" for field in FIELDS[kind]}
    prompt = DIVERSE.prompt(kind, seed, name, number, **parts)
    assert prompt.count("<{strange} text>") == len(parts)
    assert prompt == DIVERSE.prompt(kind, seed, name, number, **parts)


def test_answers_do_not_depend_on_the_wording():
    plain, diverse = rendered(templates=TEMPLATES["mmrs1m"]), rendered()
    assert [(d.task, d.turns[1].value) for d in plain] == [(d.task, d.turns[1].value) for d in diverse]
    assert [d.turns[0].value for d in plain] != [d.turns[0].value for d in diverse]


def test_wordings_follow_from_seed_and_id_and_are_spread_evenly():
    assert rendered() == rendered()
    assert rendered(seed=1) != rendered()
    names = [f"dior/train/{number:05d}" for number in range(1200)]
    first = Counter(rendered(name)[0].turns[0].value for name in names)
    assert first.keys() == set(DIVERSE.wordings["classification"])
    assert all(150 < count < 250 for count in first.values())
    two = [[d.turns[0].value for d in rendered(name) if d.task == "captioning"] for name in names[:300]]
    assert sum(one == other for one, other in two) < 100


def test_what_must_not_be_reworded_is_not():
    dialogues = {d.task: d for d in rendered()}
    assert dialogues["vqa"].turns[0].value == "W?"
    for seed in range(20):
        for dialogue in rendered(seed=seed):
            boxes = re.findall(r"\[[^\]]*\]", dialogue.turns[0].value)
            assert len(boxes) == (dialogue.task == "region-captioning")


def test_the_release_has_one_wording():
    assert rendered(templates=TEMPLATES["mmrs1m"])[0].turns[0].value == prompts.CLASSIFICATION
    options = RenderOptions(DIALECTS["mmrs"], ALL_TASKS)
    assert options.state() == RenderOptions(DIALECTS["mmrs"], ALL_TASKS, seed=5).state()
    diverse = [RenderOptions(DIALECTS["mmrs"], ALL_TASKS, templates=DIVERSE, seed=seed).state() for seed in (0, 5)]
    assert diverse[0] != diverse[1]


def test_broken_sets_are_refused():
    wordings = dict(TEMPLATES["mmrs1m"].wordings)
    with pytest.raises(ValueError, match="must hold"):
        TemplateSet("bad", wordings | {"vqa": ("{question} {question}",)})
    with pytest.raises(ValueError, match="must hold"):
        TemplateSet("bad", wordings | {"region-captioning": ("What is this?",)})
    with pytest.raises(ValueError, match="must have wordings of"):
        TemplateSet("bad", {"vqa": ("{question}",)})
    with pytest.raises(UserError, match="diverse, mmrs1m"):
        template_set("divers")
