"""What to do where a source is not found: another option, another folder, or another source reads what is there.

Sources come in forms (two products, three releases, boxes of two kinds) of which an option reads one, and generic
layouts such as PASCAL VOC's are those of many sources. What would read is found by trying, for all sources alike:
folder names do not tell, but a few annotations with known classes do.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import converters
from converters.base import Converter
from converters.layout import LayoutError, SeveralPlaces
from mmrs.errors import BadItem, UserError
from mmrs.source import Absent, Item, SourceBuild
from mmrs.storage.plain_files import follows_links, reading_below

_TRIED, _SHOWN = 20, 2
DESCRIBED = "generic"


def explain(error: UserError, source: Converter, root: Path, splits: Sequence[str], prefix: str = "") -> UserError:
    """The error of a source that was not found under `root`, with the command that reads what is there, if any.

    Errors of another kind, and those that say the command themselves, stay what they are.

    Args:
        prefix: what stands before an option's name, ``SOURCE.`` where a recipe has several.
    """
    is_open = isinstance(error, LayoutError) and not error.is_explained
    if not is_open or source.key == DESCRIBED or reads(source, root, splits):
        return error
    if isinstance(error, SeveralPlaces):
        own = [place for place in error.places if reads(source, place, splits)]
        if own:
            listed = " or ".join(f"`{_scan_command(source, place)}`" for place in own)
            return UserError(f"{source.name}: {root} has several folders like its layout; look at {listed}.")
    elif option := _other_option(source, root, splits):
        return UserError(f"{error}\n  here:     `--option {shlex.quote(prefix + option)}` reads what is there")
    others = reads_as(root, source.key)
    if not others:
        return error
    listed = " or ".join(f"`{_scan_command(converters.get(name), root)}`" for name in others)
    return UserError(
        f"{source.name}: {root} holds another source, {' or '.join(others)}: look at it with {listed}, or at an "
        f"example of {source.name} with `mmrs sample {source.name} --out DIR`."
    )


def explain_build(error: UserError, builds: Sequence[SourceBuild]) -> UserError:
    """The same for the source of a build that was not found."""
    for build in builds:
        if isinstance(build.source, Converter):
            prefix = f"{build.source.name}." if len(builds) > 1 else ""
            explained = explain(error, build.source, build.root, build.splits, prefix)
            if explained is not error:
                return explained
    return error


def reads(source: Converter, root: Path, splits: Sequence[str]) -> bool:
    """Whether a source understands what is under `root`."""
    return any(_images_read(source, root, split) for split in splits)


def reads_as(root: Path, besides: str) -> tuple[str, ...]:
    """The sources besides one that read what is under `root`, most images first; at most `_SHOWN`."""
    found = {}
    for name in converters.names():
        if name in (besides, DESCRIBED):
            continue
        source = converters.get(name)
        if images := sum(_images_read(source, root, split) for split in source.splits_in(root)):
            found[name] = images
    return tuple(sorted(found, key=lambda name: (-found[name], name))[:_SHOWN])


def _scan_command(source: Converter, root: Path) -> str:
    options = (word for pair in source.changed_options().items() for word in ("--option", "=".join(map(str, pair))))
    return shlex.join(["mmrs", "scan", source.key, str(root), *options])


def _other_option(source: Converter, root: Path, splits: Sequence[str]) -> str:
    """``NAME=VALUE`` with which the source reads what is there, or nothing."""
    return next(
        (
            f"{name}={value}"
            for name, value in _other_values(source)
            if reads(replace(source, **{name: value}), root, splits)
        ),
        "",
    )


def _other_values(source: Converter) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(type(source))
    for field in fields(source):
        # An option that only says how files are found is no form of the source: its own message names it.
        if get_origin(hints[field.name]) is Literal and field.name not in source.finding_options:
            own = getattr(source, field.name)
            yield from ((field.name, value) for value in get_args(hints[field.name]) if value != own)


def _images_read(source: Converter, root: Path, split: str) -> int:
    """Number of images of a split of which the first few are understood; 0 where more are bad than found."""
    with suppress(UserError), reading_below(root, follows_links()):
        found = source.discover(root, split)
        bad = sum(not isinstance(problem, Absent) for problem in (*found.problems, *found.shared_problems))
        if bad <= len(found.items) and sum(_verdict(source, item) for item in found.items[:_TRIED]) > 0:
            return len(found.items)
    return 0


def _verdict(source: Converter, item: Item) -> int:
    """1 for an image that is understood, -1 for one that is not, 0 where nothing is said of it."""
    try:
        known = source.read(item)
    except BadItem:
        return -1
    if known.unread:
        return -1
    return int(bool(known.label or known.objects or known.captions or known.questions))
