"""Seeded generators that write a small fake of each source in its true layout: for tests, documentation, the demo."""

from __future__ import annotations

import importlib
import inspect
import shlex
from pathlib import Path
from typing import Any

from pydantic import ValidationError, validate_call

from converters import catalog
from mmrs.errors import UserError


def write(name: str, out: Path, **options: Any) -> dict[str, Any]:
    """Write a fake of source `name` into the new or empty folder `out`.

    Args:
        name: a source of the catalogue.
        out: becomes the source's root.
        options: keyword options of that source's generator; all take ``seed``.

    Returns:
        A summary of plain values: images and objects per split, and what else the generator counts.

    Raises:
        UserError: unknown source or option, a value that an option does not take, or a folder that is not empty.
    """
    generator = importlib.import_module(catalog.facts(name).samples).write
    known = [key for key in inspect.signature(generator).parameters if key != "root"]
    for option in options:
        if option not in known:
            raise UserError(
                f"the sample of {name} has no option {option!r}{catalog.nearest(option, known)}; "
                f"it has {', '.join(known)}. `mmrs sample --help` shows the common ones."
            )
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"{out} is not an empty folder; name a new one: `mmrs sample {name} --out {shlex.quote(f'{out}-new')}`."
        )
    out.mkdir(parents=True, exist_ok=True)
    try:
        return validate_call(generator)(out, **options)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(
            f"the sample of {name}: option {first['loc'][0]} = {first['input']!r}: {first['msg']}. "
            "`mmrs sample --help` shows the common ones."
        ) from error
