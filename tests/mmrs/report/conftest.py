"""A small data set with boxes, labels, captions and questions, built once for the tests of the reports."""

from dataclasses import dataclass

import pytest

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.record import Annotations, AnsweredQuestion, Expression
from tests.support.sources import ToySource, toy_build, write_toy

QUIET = Progress(quiet=True)
HOSTILE = '</script><img src=x onerror="alert(1)"> & "quotes"'


@dataclass(frozen=True)
class TalkingSource(ToySource):
    """Every image also has a label, two captions, a question and an expression, with text that must be escaped."""

    tasks: tuple[str, ...] = ("classification", "captioning", "vqa", "detection-hbb", "visual-grounding")

    def read(self, item):
        found = super().read(item).model_dump() | {
            "label": "storage tanks",
            "captions": ("many tanks", HOSTILE),
            "questions": (AnsweredQuestion(question=f"What is {HOSTILE}?", answer="no", type="presence"),),
            "expressions": (Expression(text="the left one", object=0),),
        }
        return Annotations.model_validate(found)


@pytest.fixture(scope="session")
def report_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_toy(folder / "toy", images=30)
    write_toy(folder / "talk", images=9, seed=1, suffix="png", size=(300, 200))
    names = [{"name": "toy"}, {"name": "talk"}]
    recipe = BuildRecipe.model_validate({"sources": names, "shard_bytes": 30_000})
    talk = TalkingSource(name="talk", sensor="sar", categories=("car", "ship"))
    sources = [toy_build(folder / "toy"), toy_build(folder / "talk", talk)]
    build(plan_build(sources, recipe, 1, QUIET), recipe, folder / "out", 1, QUIET)
    return folder / "out"
