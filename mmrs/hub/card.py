"""The dataset card of a publication: YAML that ``datasets`` and the Hub read, then text that people read.

A pure function of the manifest and of what the caller knows of the sources, so equal data gives an equal card.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from mmrs.hub.configs import ALL, CardConfig, card_configs, config_yaml
from mmrs.hub.scores import CardScore
from mmrs.shards.manifest import Manifest
from mmrs.text import bytes_text

# Identifiers of the Hub's list of licences, as the Hub spells them.
_HUB_LICENCES = {
    "apache-2.0", "cc0-1.0", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
    "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0", "cc-by-nd-4.0", "mit", "odbl", "odc-by", "pddl",
}  # fmt: skip
_HUB_TASKS = {
    "classification": "image-classification",
    "captioning": "image-to-text",
    "vqa": "visual-question-answering",
    "detection-hbb": "object-detection",
    "detection-obb": "object-detection",
    "visual-grounding": "object-detection",
    "region-captioning": "image-to-text",
}
# What the build did with every image, by the recipe's `validation`.
_CHECKED = {
    "L0": " Of every image, header and end marker were checked.",
    "L1": " Every image was decoded, JPEG at 1/8 scale.",
    "L2": " Every image was decoded in full.",
}
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


@dataclass(frozen=True, slots=True)
class SourceNote:
    """What a card says of a source beyond the manifest. Plain text; empty where nothing is known."""

    title: str = ""
    home: str = ""
    licence_evidence: str = ""
    citation: str = ""


class _Flow(list):
    """A list that is written on one line: features would fill most of the card otherwise."""


class _CardDumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


_CardDumper.add_representer(_Flow, lambda d, v: d.represent_sequence("tag:yaml.org,2002:seq", v, flow_style=True))


def make_card(
    manifest: Manifest,
    repo: str,
    notes: Mapping[str, SourceNote] | None = None,
    plots: Sequence[str] = (),
    scores: Sequence[CardScore] = (),
) -> str:
    """The card (``README.md``) of a data set.

    Args:
        manifest: of the finished data set.
        repo: ``ORG/NAME``, for the title and the lines of code.
        notes: by source name; a source without one is described from the manifest alone.
        plots: paths in the repository of images to show.
        scores: of models on this data set.

    Raises:
        UserError: names of sources, splits or tasks clash.
    """
    notes = notes or {}
    configs = card_configs(manifest)
    front = yaml.dump(_front_matter(manifest, configs, repo), Dumper=_CardDumper, sort_keys=False, width=10**9)
    sections = [
        f"# {repo.rpartition('/')[2]}",
        _summary(manifest),
        _usage(manifest, configs, repo),
        _counts(manifest),
        _configurations(configs),
        licence_section(manifest, notes),
        _plots(plots),
        _scores(scores),
        _integrity(manifest),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(manifest: Manifest, configs: Sequence[CardConfig], repo: str) -> dict[str, Any]:
    entries, infos = zip(*(config_yaml(config) for config in configs), strict=True)
    for info in infos:
        info["features"] = _Flow(info["features"])
    tasks = {task for source in manifest.sources.values() for task in source.tasks}
    tags = ["remote-sensing", "earth-observation", "webdataset"]
    return {
        "pretty_name": repo.rpartition("/")[2],
        "language": ["en"],
        **licence_entries(manifest, repo),
        "task_categories": sorted({_HUB_TASKS[task] for task in tasks if task in _HUB_TASKS}),
        "tags": tags + sorted({source.sensor for source in manifest.sources.values()}),
        "size_categories": [size_category(sum(shard.records for shard in manifest.shards))],
        "configs": list(entries),
        "dataset_info": list(infos),
    }


def size_category(rows: int) -> str:
    """The Hub's word for so many rows."""
    return next((name for limit, name in _SIZES if rows < limit), "n>10M")


def licence_entries(manifest: Manifest, repo: str) -> dict[str, str]:
    """The licence of a data set as a card says it: one that the Hub lists, or a name and a link to the card's table."""
    licences = {source.licence for source in manifest.sources.values()}
    if len(licences) == 1 and (only := next(iter(licences)).lower()) in _HUB_LICENCES:
        return {"license": only}
    link = f"https://huggingface.co/datasets/{repo}#licences"
    return {"license": "other", "license_name": "per-source", "license_link": link}


def _summary(manifest: Manifest) -> str:
    counts = [part for source in manifest.sources.values() for part in source.splits.values()]
    sensors = sorted({source.sensor for source in manifest.sources.values()})
    dialogues = sum(sum(part.dialogues.values()) for part in counts)
    several = sum(sum(part.several_images.values()) for part in counts)
    told = f"; {several:,} samples have several images (`jpg`, `1.jpg` ...)" if several else ""
    return (
        f"{sum(part.images for part in counts):,} remote-sensing images ({_escaped(', '.join(sensors))}) of "
        f"{len(manifest.sources)} public data sets, with {sum(part.objects for part in counts):,} objects, "
        f"{sum(part.captions for part in counts):,} captions and {dialogues:,} rendered dialogues. WebDataset shards: "
        f"each sample is an image and one JSON record{told}. Boxes are in pixels of the stored image; "
        "`json.dialogues` holds the instruction text."
    )


def _usage(manifest: Manifest, configs: Sequence[CardConfig], repo: str) -> str:
    config = next((config for config in configs if config.name != ALL), configs[0])
    split, suffix = config.splits[0].name, config.suffixes[0]
    return (
        "```python\nfrom datasets import load_dataset\n\n"
        f'data = load_dataset("{repo}", "{config.name}", split="{split}", streaming=True)\n'
        f'for sample in data:\n    image, record = sample["{suffix}"], sample["json"]\n```'
    )


def _counts(manifest: Manifest) -> str:
    rows, unlisted = [], []
    for name, source in sorted(manifest.sources.items()):
        for split, part in source.splits.items():
            objects = (part.objects, part.ignored_objects)
            rows.append(
                (name, source.sensor, split, part.records, *objects, part.captions, sum(part.dialogues.values()))
            )
            if part.objects_in_no_dialogue:
                images = f"{part.images_with_objects_in_no_dialogue:,} images"
                unlisted.append(f"`{name}/{split}` {part.objects_in_no_dialogue:,} objects in {images}")
    header = ("source", "sensor", "split", "images", "objects", "ignored objects", "captions", "dialogues")
    left_out = f"In no dialogue, although their record has them: {'; '.join(unlisted)}." if unlisted else ""
    return "\n\n".join(part for part in ("## Counts", _table(header, rows), left_out) if part)


def _configurations(configs: Sequence[CardConfig]) -> str:
    rows = [
        (
            f"`{config.name}`",
            ", ".join(f"{split.name} {split.samples:,}" for split in config.splits),
            bytes_text(sum(split.bytes for split in config.splits)),
            ", ".join(config.sources),
        )
        for config in configs
    ]
    intro = "A configuration named after a task holds the whole shards of every source that has it: filter "
    intro += "`json.dialogues` by `task` to keep only its text.\n\n"
    return "## Configurations\n\n" + intro + _table(("name", "images by split", "size", "sources"), rows)


def licence_section(manifest: Manifest, notes: Mapping[str, SourceNote]) -> str:
    """The part of a card that names the licence of each source, with its evidence, and what is to be cited."""
    rows, citations = [], []
    for name, source in sorted(manifest.sources.items()):
        note = notes.get(name, SourceNote())
        rows.append((name, note.title or name, source.licence, note.licence_evidence, note.home))
        if note.citation:
            citations.append(f"- **{name}**: {_escaped(note.citation)}")
    text = "## Licences\n\nEach source keeps its own licence; `json.licence` repeats it in every record.\n\n"
    text += _table(("source", "title", "licence", "evidence", "home"), rows)
    return text + ("\n\n## Citations\n\n" + "\n".join(citations) if citations else "")


def _plots(plots: Sequence[str]) -> str:
    images = [f"![{path.rpartition('/')[2].partition('.')[0].replace('-', ' ')}]({path})" for path in plots]
    return "## Plots\n\n" + "\n\n".join(images) if images else ""


def _scores(scores: Sequence[CardScore]) -> str:
    if not scores:
        return ""
    header = (
        "model",
        "source",
        "split",
        "protocol",
        "metric",
        "value",
        "95 %",
        "constant answer",
        "questions",
        "failed",
    )
    rows = [
        (
            row.who,
            row.source,
            row.split,
            row.protocol,
            row.metric,
            _value(row.value),
            "" if row.interval_95 is None else "{:.3f} to {:.3f}".format(*row.interval_95),
            _value(row.constant_value),
            row.questions,
            row.failed,
        )
        for row in scores
    ]
    said = "Values of different protocols are not comparable. Answers that could not be read whole count as failed."
    return f"## Scores\n\n{_table(header, rows)}\n\n{said}"


def _value(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _integrity(manifest: Manifest) -> str:
    counts = [part for source in manifest.sources.values() for part in source.splits.values()]
    lost, excluded = sum(part.quarantined_items for part in counts), sum(part.excluded for part in counts)
    absent = sum(part.absent for part in counts)
    builds = len(manifest.parents)
    parents = f" It is put together of {builds} builds, which `manifest.json` names." if builds else ""
    missing = f" {absent} things of the sources are absent." if absent else ""
    left_out = f" {excluded} sound images were left out by name." if excluded else ""
    level = _CHECKED.get(str(manifest.recipe.get("validation", "")), "")
    trained = ", ".join(
        f"`{name}/{split}`"
        for name, source in sorted(manifest.sources.items())
        for split in source.splits
        if split in source.train_splits
    )
    return (
        "## Integrity\n\n"
        f"Data set id `{manifest.id}` (sha256 of the canonical `manifest.json`, which names every shard with its "
        f"digest); built by mmrs {_escaped(manifest.tool_version)}.{parents}{level} Beside each tar lies its index "
        f"(`.parquet`). {lost} images were found and could not be used.{missing}{left_out} `quarantine.jsonl` names "
        f"each with its reason. Meant for training: {trained or 'nothing'}; all else for evaluation. `mmrs verify "
        "FOLDER` checks a copy byte by byte."
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        cells = [f"{cell:,}" if isinstance(cell, int) else _escaped(cell) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Text of strangers on one line: no markup, no link, no picture of another host."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return re.sub(r"([|\[\]])", r"\\\1", " ".join(line.split())).replace("<", "&lt;")
