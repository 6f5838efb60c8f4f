"""Where the sources can be downloaded, what of them has arrived, and what to type then.

The facts are in ``facts/downloads/*.yaml``, one entry per source of the catalogue and one for the released archive; the
machinery that fetches them knows no source (`mmrs.fetch`).
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

import converters
from converters.layout import build_command
from mmrs.builder.recipe import BuildRecipe, load_recipe
from mmrs.errors import UserError
from mmrs.fetch.catalogue import SourceDownload, load_downloads
from mmrs.fetch.plan import SourceRequest
from mmrs.installation import shipped_recipes
from mmrs.storage.atomic import replace_own
from mmrs.storage.plain_files import reading_below
from mmrs.text import nearest

DOWNLOADS = Path(__file__).with_name("facts") / "downloads"
RELEASE = "mmrs-1m-release"
RECIPE_FILE = "recipe.yaml"
_RECIPE_MARK = b"# Written by `mmrs fetch`"


@cache
def source_downloads(folder: Path = DOWNLOADS) -> dict[str, SourceDownload]:
    """Name -> where it comes from. Raises ValueError for malformed facts."""
    return load_downloads(folder)


def requests_for(
    words: Sequence[str], variants: Mapping[str, str], folder: Path = DOWNLOADS
) -> tuple[SourceRequest, ...]:
    """What the words of a command ask for: sources, the released archive, or a shipped recipe with all of its sources.

    Args:
        variants: source -> variant, where the first one, or that of the recipe's options, is not meant.

    Raises:
        UserError: an unknown word, or a variant that its source does not have.
    """
    known = source_downloads(folder)
    recipes = shipped_recipes("mmrs.builder")
    asked: dict[str, str] = {}
    for word in words:
        if word in recipes:
            for entry in load_recipe(recipes[word]).sources:
                if entry.name in known:
                    asked.setdefault(entry.name, _variant_of(known[entry.name], entry.options))
        elif word in known:
            asked.setdefault(word, next(iter(known[word].variants), ""))
        else:
            raise UserError(
                f"nothing to fetch is called {word!r}{nearest(word, [*known, *recipes])}. `mmrs sources` lists the "
                f"sources; mmrs-1m means all of its recipe, and {RELEASE} the released archive."
            )
    for name, variant in variants.items():
        if name not in asked:
            raise UserError(f"--variant {name}={variant}: {name} is not among the sources that are fetched.")
        offered = list(known[name].variants)
        if variant not in offered:
            raise UserError(f"--variant {name}={variant}: {name} has {', '.join(offered) or 'no variants'}.")
        asked[name] = variant
    return tuple(_request(known[name], variant) for name, variant in asked.items())


def _variant_of(download: SourceDownload, options: Mapping[str, Any]) -> str:
    """The variant that a recipe's options mean, else the first."""
    for name, variant in download.variants.items():
        if variant.options and all(str(options.get(key)) == value for key, value in variant.options.items()):
            return name
    return next(iter(download.variants), "")


def _request(download: SourceDownload, variant: str) -> SourceRequest:
    if download.name == RELEASE:
        return SourceRequest(download, variant, "unknown", "none stated with the archive; each source has its own")
    facts = converters.facts(download.name)
    return SourceRequest(download, variant, facts.licence, facts.licence_evidence)


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a source's converter finds: split -> images; empty where it finds nothing. `options` are for the converter.

    `reason` says why nothing was found.
    """

    request: SourceRequest
    root: Path
    images: Mapping[str, int]
    reason: str = ""

    @property
    def options(self) -> Mapping[str, str]:
        variants = self.request.download.variants
        return variants[self.request.variant].options if self.request.variant else {}

    @property
    def scan_command(self) -> str:
        """The command that looks at it closely."""
        options = (word for key, value in self.options.items() for word in ("--option", f"{key}={value}"))
        return shlex.join(["mmrs", "scan", self.request.name, str(self.root), *options])


def arrivals(data: Path, requests: Sequence[SourceRequest]) -> tuple[Arrival, ...]:
    """Ask each source's converter what it finds in its folder. No image is opened, no annotation parsed."""
    return tuple(_arrival(data, request) for request in requests if request.name != RELEASE)


def _arrival(data: Path, request: SourceRequest) -> Arrival:
    root = data / request.name
    known = Arrival(request, root, {})
    if not root.is_dir():
        return Arrival(request, root, {}, "nothing was fetched yet")
    source = converters.get(request.name, **known.options)
    images: dict[str, int] = {}
    reason = ""
    try:
        for split in source.splits_in(root):
            try:
                with reading_below(root):
                    count = len(source.discover(root, split).items)
            except UserError as error:
                reason = reason or str(error).splitlines()[0]
                continue
            if count:
                images[split] = count
    except UserError as error:
        reason = str(error).splitlines()[0]
    return Arrival(request, root, images, "" if images else reason or "no image was found")


def describe_arrivals(data: Path, found: Sequence[Arrival], recipe: str | None) -> str:
    """What arrived, and the command that builds it; a recipe of it is written where there are several sources.

    Args:
        recipe: name of the shipped recipe that was asked for, whose rows are kept.
    """
    there = [arrival for arrival in found if arrival.images]
    lines = []
    for arrival in found:
        what = ", ".join(f"{split} {count:,}" for split, count in arrival.images.items())
        said = f"images {what}; look closer with `{arrival.scan_command}`" if what else f"not there: {arrival.reason}"
        lines.append(f"{arrival.request.name}: {said}")
    if len(there) == 1 and recipe is None:
        arrival = there[0]
        lines.append(f"next: `{build_command(arrival.request.name, arrival.root, arrival.options)}`")
    elif there:
        path = _write_recipe(data, there, recipe)
        lines.append(f"next: `{shlex.join(['mmrs', 'build', str(path), '--out', 'DIR'])}`")
    elif found:
        lines.append("nothing is there to build yet")
    return "\n".join(lines)


def _write_recipe(data: Path, there: Sequence[Arrival], recipe: str | None) -> Path:
    """The recipe of what is there: the shipped one without the sources that are not, or one row for each source."""
    rows: dict[str, dict[str, Any]] = {}
    content: dict[str, Any] = {}
    if recipe is not None:
        shipped = load_recipe(shipped_recipes("mmrs.builder")[recipe])
        content = _changed(shipped)
        rows = {entry.name: entry.model_dump(mode="json", exclude_defaults=True) for entry in shipped.sources}
    content["data_root"] = str(data.resolve())
    names = [name for name in rows if any(arrival.request.name == name for arrival in there)]
    names += [arrival.request.name for arrival in there if arrival.request.name not in rows]
    options = {arrival.request.name: dict(arrival.options) for arrival in there}
    content["sources"] = [_row(name, rows.get(name, {}), options[name]) for name in names]
    head = _RECIPE_MARK.decode() + ": the sources that were found here. It is written again by the next fetch.\n"
    text = head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    path = data / RECIPE_FILE
    replace_own(path, text.encode(), _RECIPE_MARK)
    return path


def _changed(recipe: BuildRecipe) -> dict[str, Any]:
    return recipe.model_dump(mode="json", exclude_defaults=True, exclude={"sources", "data_root"})


def _row(name: str, row: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    merged = {**options, **row.get("options", {})}
    return {"name": name, **row, **({"options": merged} if merged else {})}
