"""What a suite is: a YAML list of benchmarks, each with its protocol and with published values and where they stand."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from mmrs.config import StrictModel, parse_yaml
from mmrs.errors import UserError
from mmrs.text import nearest
from training.evaluation.tasks import check_protocols, find_task

_Text = Annotated[str, Field(min_length=1)]


class Published(StrictModel):
    """A value that somebody published, in the unit of its benchmark.

    `source` says where it stands; `note` what makes it another thing than ours, if anything.
    """

    value: float
    who: _Text
    year: int
    source: _Text
    note: str = ""


class Benchmark(StrictModel):
    """One value of one task of one source.

    `detail` names a number among the protocol's details, by dotted keys, where the published value is none of the
    protocol's main one; `scale` makes ours the published unit.
    """

    name: _Text
    source: _Text
    split: _Text = "test"
    task: _Text
    protocol: _Text
    detail: str = ""
    metric: _Text
    scale: float = 100.0
    earthgpt: Published | None = None
    best: Published | None = None
    note: str = ""


class Suite(StrictModel):
    """A named list of benchmarks."""

    title: _Text
    about: _Text
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1)


def suite_names() -> list[str]:
    """The suites that come with the package."""
    return sorted(
        path.name.removesuffix(".yaml") for path in files(__package__).iterdir() if path.name.endswith(".yaml")
    )


def load_suite(name: str) -> Suite:
    """A suite of the package by its name, or of a YAML file.

    Raises:
        UserError: neither; or the file is no suite; or it names a task or a protocol that is not known.
    """
    if name in suite_names():
        text, where = (files(__package__) / f"{name}.yaml").read_text(encoding="utf-8"), name
    elif Path(name).is_file():
        text, where = Path(name).read_text(encoding="utf-8"), name
    else:
        known = suite_names()
        raise UserError(
            f"suite {name!r} is not known{nearest(name, known)}; choose {', '.join(known)}, or a YAML file."
        )
    try:
        suite = Suite.model_validate(parse_yaml(text))
    except (ValidationError, yaml.YAMLError) as error:
        raise UserError(f"suite {where}: {error}") from error
    for benchmark in suite.benchmarks:
        task = find_task(benchmark.task)
        check_protocols((benchmark.protocol,))
        if benchmark.protocol not in [protocol.name for protocol in task.protocols]:
            raise UserError(
                f"suite {where}: {benchmark.name}: {benchmark.protocol} is no protocol of {benchmark.task}."
            )
    return suite
