"""Every source with its facts, and the options of its converter: what `mmrs sources NAME` says, on one page."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from itertools import pairwise

import converters
from converters.catalog import SourceFacts
from docs.hooks.reference.markdown import cell, sentence, table


def sources_page() -> str:
    """A table of all sources, then each with its facts."""
    facts = [converters.facts(name) for name in converters.names()]
    parts = [
        "# Sources\n",
        f"The {len(facts)} sources that can be converted. Sources for evaluation only have no training split in any "
        "build. A licence of `unknown` means that none is stated; each fact has its evidence beside it.\n",
        table(
            ("source", "title", "sensor", "tasks", "licence"),
            [(f.name, _title(f), f.sensor, ", ".join(f.tasks), f.licence) for f in facts],
        ),
    ]
    parts += [_source(fact) for fact in facts]
    return "\n".join(parts)


def _title(fact: SourceFacts) -> str:
    return f"[{fact.title}](#{fact.name})" + (" (evaluation only)" if fact.evaluation_only else "")


def _source(fact: SourceFacts) -> str:
    rows = [
        ("sensor", fact.sensor),
        ("tasks", ", ".join(fact.tasks)),
        ("splits", f"{', '.join(fact.splits)} ({fact.split_policy})"),
        ("published", f"{_published(fact)} ({fact.published_evidence})"),
        ("licence", f"{fact.licence} ({fact.licence_evidence})"),
        ("home", fact.home),
        ("cite", fact.citation),
        ("classes", ", ".join(fact.categories) or "none"),
        *((f"layout {name}", words) for name, words in fact.layouts.items()),
    ]
    parts = [f"## {fact.name}\n", f"{cell(fact.title)}\n", table(("fact", "what is known"), rows)]
    options = [(field.name, f"`{field.default!r}`", meaning) for field, meaning in documented_options(fact.name)]
    if options:
        parts.append(table(("option", "default", "meaning"), options))
    return "\n".join(parts)


def _published(fact: SourceFacts) -> str:
    parts = [
        f"{split} " + ", ".join(f"{count:,} {what}" for what, count in counts.model_dump().items() if count is not None)
        for split, counts in fact.published.items()
    ]
    return "; ".join(parts) or "not known by split"


def documented_options(name: str) -> list[tuple[dataclasses.Field, str]]:
    """Options of a source's converter, each with the sentence below it in the source, or none."""
    cls = type(converters.get(name))
    sentences: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        if dataclasses.is_dataclass(base):
            sentences |= _sentences_below_fields(base)
    return [(field, sentence(sentences.get(field.name, ""))) for field in dataclasses.fields(cls)]


def _sentences_below_fields(cls: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    return {
        field.target.id: below.value.value
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(below)
    }


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def table_by_task() -> str:
    """The rows of README.md's table: a source stands with the first of its tasks, under its sensor."""
    kinds = {
        "classification": "classification",
        "captioning": "captioning",
        "vqa": "questions and answers",
        "detection-hbb": "boxes",
        "visual-grounding": "grounding, region captions",
    }
    sensors = ("optical", "sar", "infrared")
    cells: dict[tuple[str, str], list[str]] = {}
    for fact in map(converters.facts, converters.names()):
        if fact.name != "generic":
            word = f"*`{fact.name}`*" if fact.evaluation_only else f"`{fact.name}`"
            cells.setdefault((fact.tasks[0], fact.sensor), []).append(word)
    unplaced = sorted({task for task, _ in cells} - set(kinds))
    if unplaced:
        raise LookupError(f"the table of README.md has no row for {unplaced[0]}; add one in {__file__}")
    rows = [
        f"| {kinds[task]} | " + " | ".join(" ".join(cells.get((task, one), [])) for one in sensors) + " |"
        for task in kinds
    ]
    return "".join(re.sub(r" {2,}", " ", row) + "\n" for row in rows)
