"""Tasks of evaluation and the protocols that score them, from their registry."""

from __future__ import annotations

import inspect

from docs.hooks.reference.markdown import prose, sentence, table

_INTRODUCTION = """
`mmrs eval` and `mmrs score` score a task by its first protocol that is for the source; `--protocol NAME`, as often as
one likes, names others. Values of two protocols are never compared. Every row has the number of images, questions and
answers that could not be read, by reason; all stay in the denominator. Intervals draw images, not questions. The
constant value is what answers get that do not look at the images.
"""


def protocols_page() -> str:
    """A section for each task, with a row for each protocol."""
    from training.evaluation.tasks import find_task, task_names

    parts = ["# Tasks and protocols\n", prose(_INTRODUCTION)]
    for name in task_names():
        task = find_task(name)
        asked = (
            f"Asked where `--task {name}` names it, of sources built for {task.built_for}.\n" if task.built_for else ""
        )
        rows = [
            (
                each.name,
                each.metric,
                _for(each.sources),
                sentence(each.rule) + (f" {sentence(each.warning)}" if each.warning else ""),
            )
            for each in task.protocols
        ]
        parts += [
            f"## {name}\n",
            prose(inspect.getdoc(type(task)) or "") + asked,
            table(("protocol", "value", "sources", "rule"), rows),
        ]
    return "\n".join(parts)


def _for(sources: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}*`" for name in sources) or "all"
