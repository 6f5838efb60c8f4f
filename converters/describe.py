"""What the command line says of the sources, and the samples it writes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import yaml

import converters
from converters import samples
from converters.options import option_texts
from mmrs.errors import UserError
from mmrs.hub.card import SourceNote
from mmrs.text import table


def describe_sources(name: str | None, as_json: bool) -> str:
    """All sources as a table, one source in full, or either as JSON.

    Raises:
        UserError: unknown source.
    """
    facts = [converters.facts(name)] if name else [converters.facts(known) for known in converters.names()]
    if as_json:
        full = [_as_json(fact) for fact in facts]
        return orjson.dumps(full[0] if name else full, option=orjson.OPT_INDENT_2).decode()
    if name:
        return _one(name)
    rows = [(fact.name, fact.sensor, ", ".join(fact.tasks), _use(fact), fact.licence, fact.home) for fact in facts]
    return table(("source", "sensor", "tasks", "splits in a build", "licence", "home"), rows)


def _as_json(fact: converters.SourceFacts) -> dict[str, Any]:
    options = [asdict(option) for option in option_texts(converters.get(fact.name))]
    return fact.model_dump(mode="json") | {"categories": list(fact.categories), "options": options}


def _use(fact: converters.SourceFacts) -> str:
    if not fact.evaluation_only:
        return ", ".join(fact.splits)
    return ", ".join(split for split in fact.splits if split != "train") + " (evaluation only)"


def _one(name: str) -> str:
    fact = converters.facts(name)
    published = ", ".join(
        f"{split} " + " / ".join(f"{count} {what}" for what, count in counts.model_dump().items() if count is not None)
        for split, counts in fact.published.items()
    )
    lines = [
        f"{fact.name}: {fact.title}",
        f"  sensor     {fact.sensor}",
        f"  tasks      {', '.join(fact.tasks)}",
        f"  splits     {', '.join(fact.splits)} ({fact.split_policy})",
        f"  published  {published or 'not known by split'} ({fact.published_evidence})",
        f"  licence    {fact.licence} ({fact.licence_evidence})",
        f"  home       {fact.home}",
        f"  cite       {fact.citation}",
        f"  classes    {', '.join(fact.categories) or 'none'}",
    ]
    lines += [f"  layout     {layout}: {text}" for layout, text in fact.layouts.items()]
    for option in option_texts(converters.get(name)):
        lines.append(f"  option     {option.name}: {option.sentence}")
        lines.append(f"             {option.values} (default {option.default}); `--option {option.name}=VALUE`")
    return "\n".join(lines)


def source_notes() -> dict[str, SourceNote]:
    """What a data set's card says of each source, by name."""
    facts = [converters.facts(name) for name in converters.names()]
    return {fact.name: SourceNote(fact.title, fact.home, fact.licence_evidence, fact.citation) for fact in facts}


def write_sample(name: str, out: Path, seed: int, options: Mapping[str, str]) -> str:
    """Write a generated stand-in of a source and say what to do with it.

    Raises:
        UserError: unknown source or option, or a folder that is not empty.
    """
    if "seed" in options:
        raise UserError(f"seed is an option of its own: `mmrs sample {name} --out {out} --seed {options['seed']}`.")
    values = {key: _value(text) for key, text in options.items()}
    summary = samples.write(name, out, seed=seed, **values)
    facts = ", ".join(f"{key} {value}" for key, value in summary.items())
    command = ["mmrs scan", name, shlex.quote(str(out))]
    if "description" in summary:
        command.append(f"--option {shlex.quote('description=' + summary['description'])}")
    return f"generated {name} in {out}: {facts}\nnext: `{' '.join(command)}`"


def _value(text: str) -> Any:
    # Lists and mappings are YAML; plain text stays text, or a release named 2.0 would become a number.
    value = yaml.safe_load(text)
    return value if isinstance(value, list | dict) else text
