"""How many objects training text leaves out: `python -m benchmarks.crowds --out RESULT.json [--samples FOLDER]`.

"Before" is the rule that a list with more than `max_objects_per_dialogue` objects is not written at all, whether it is
asked for all objects or for one class; "now" is what `render` writes. Both see the same records.

Generated crowds have the published numbers: DIOR's images and objects of each split, 3.3 % of the test images with more
than 60 objects and 35 % of all objects in them; training images with as large crowds, a
third as often. DOTA's training scenes have 70 objects on average, most of them few and some above 1,000, and are cut
into tiles as the `dota` source does.
Objects lie in rows and clusters, nine in ten of a crowd in one class. Of genuine sets only the annotations are read:
a grey image of the stated size stands in for each of DIOR's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.machine import describe
from converters.resolve import resolve
from mmrs.builder.objects import cut_to_window
from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.geometry import quad_from_hbb
from mmrs.imaging.windows import plan_windows
from mmrs.instructions.dialects import dialect
from mmrs.instructions.render import RenderOptions, render
from mmrs.progress import Progress
from mmrs.record import AnnotatedObject, ImageInfo, Record
from mmrs.shards.reader import ShardSet
from mmrs.source import Tiling

LIMIT = 60
OPTIONS = RenderOptions(dialect("mmrs"), frozenset({"detection-hbb"}), max_objects_per_dialogue=LIMIT)
CLASSES = ("ship", "vehicle", "airplane", "storage tank", "tennis court", "bridge", "harbor", "windmill")
# Published images and objects; share of images above the limit, published for test and a third of it for the others.
DIOR = {"train": (5862, 32592, 0.0112), "val": (5863, 35481, 0.0112), "test": (11738, 124445, 0.033)}
CROWD_MEAN = 112
DOTA_SCENES, DOTA_MEAN, DOTA_SPREAD = 300, 70, 1.58


def main() -> None:
    """Count and write one JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=Path, help="folder with dior/, dota-v1.0/, ssdd-full/ and hit-uav/")
    arguments = parser.parse_args()
    rows = {f"generated dior/{split}": summary(dior_like(split, seed)) for seed, split in enumerate(DIOR)}
    rows["generated dota/train, tiles"] = summary(dota_like(seed=7))
    if arguments.samples:
        for source, folder in (("dior", "dior"), ("dota", "dota-v1.0"), ("ssdd", "ssdd-full"), ("hit-uav", "hit-uav")):
            rows |= {f"genuine {split}": row for split, row in genuine(source, arguments.samples / folder)}
    result = {"date": date.today().isoformat(), "machine": describe(), "limit": LIMIT, "rows": rows}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(describe_rows(rows))


def summary(records: Iterable[Record]) -> dict:
    """Images, objects, crowds, and what each rule leaves out."""
    count: Counter[str] = Counter()
    for record in records:
        objects = [item for item in record.objects if not item.ignore]
        rendered = render(record, OPTIONS)
        left_before, dialogues_before = before(record)
        count["images"] += 1
        count["objects"] += len(objects)
        count["images above the limit"] += len(objects) > LIMIT
        count["objects of these"] += len(objects) if len(objects) > LIMIT else 0
        for rule, left, dialogues in (
            ("before", left_before, dialogues_before),
            ("now", rendered.objects_in_no_dialogue, len(rendered.dialogues)),
        ):
            count[f"objects in no dialogue, {rule}"] += left
            count[f"images with such objects, {rule}"] += left > 0
            count[f"dialogues, {rule}"] += dialogues
    return dict(count)


def before(record: Record) -> tuple[int, int]:
    """(objects in no dialogue, dialogues) where a list above the limit is not written."""
    if record.unread_rows:
        return sum(not item.ignore for item in record.objects), 0
    classes = Counter(item.category for item in record.objects if not item.ignore)
    total = sum(classes.values())
    all_known = bool(total or not record.objects) and "labelled_classes" not in record.metadata
    whole = all_known and total <= LIMIT
    written = int(whole) + sum(count <= LIMIT for count in classes.values())
    return 0 if whole else sum(count for count in classes.values() if count > LIMIT), written


def dior_like(split: str, seed: int) -> Iterator[Record]:
    """Images of 800 x 800 with the split's numbers of objects."""
    images, objects, crowded_share = DIOR[split]
    random = np.random.default_rng(seed)
    crowded = random.random(images) < crowded_share
    ordinary_mean = (objects / images - crowded_share * CROWD_MEAN) / (1 - crowded_share)
    few = np.minimum(random.geometric(1 / ordinary_mean, images), LIMIT)
    many = LIMIT + random.geometric(1 / (CROWD_MEAN - LIMIT), images)
    for number, count in enumerate(np.where(crowded, many, few).tolist()):
        yield record_of(f"dior/{split}/{number:05d}", 800, scattered(random, count, 800))


def dota_like(seed: int) -> Iterator[Record]:
    """Tiles with objects, of scenes of 800 to 4,000 pixels."""
    random = np.random.default_rng(seed)
    tiling = Tiling()
    counts = random.lognormal(np.log(DOTA_MEAN) - DOTA_SPREAD**2 / 2, DOTA_SPREAD, DOTA_SCENES).astype(int) + 1
    for number, count in enumerate(counts.tolist()):
        side = int(random.integers(800, 4001))
        objects = list(enumerate(scattered(random, count, side)))
        for window in plan_windows(side, side, tiling):
            shown = tuple(item for _, item in cut_to_window(objects, window, tiling.min_iof))
            if any(not item.ignore for item in shown):
                yield record_of(f"dota/train/{number:04d}__{window.x}___{window.y}", window.width, shown)


def scattered(random: np.random.Generator, count: int, side: int) -> tuple[AnnotatedObject, ...]:
    """Objects in clusters of about thirty; nine in ten of one class."""
    groups = random.uniform(0.1, 0.9, (1 + count // 30, 2)) * side
    centres = groups[random.integers(0, len(groups), count)] + random.normal(0, 60, (count, 2))
    centres = np.clip(centres, 12, side - 12)
    halves = random.uniform(4, 12, (count, 2))
    main, *others = random.permutation(CLASSES).tolist()
    names = np.where(random.random(count) < 0.9, main, random.choice(others, count)).tolist()
    boxes = np.concatenate([centres - halves, centres + halves], axis=1).tolist()
    return tuple(
        AnnotatedObject(category=name, label=name, quad=quad_from_hbb(box)[0].tolist(), hbb=tuple(box))
        for name, box in zip(names, boxes, strict=True)
    )


def record_of(name: str, side: int, objects: tuple[AnnotatedObject, ...]) -> Record:
    """A record without an image."""
    source, split, _ = name.split("/")
    image = ImageInfo(width=side, height=side, mode="RGB", sha256="0" * 64)
    return Record(
        id=name, source=source, split=split, sensor="optical", image=image, objects=objects, licence="unknown"
    )


def genuine(source: str, root: Path) -> Iterator[tuple[str, dict]]:
    """(source/split, summary) of a genuine set, as it is built."""
    quiet = Progress(quiet=True)
    with tempfile.TemporaryDirectory() as folder:
        if source == "dior":
            root = with_images(root, Path(folder) / "dior")
        asked = {"name": source, "root": str(root)} | ({"splits": ["train"]} if source == "dota" else {})
        recipe = BuildRecipe.model_validate({"sources": [asked], "quarantine_ceiling": 1, "validation": "L0"})
        build(plan_build(resolve(recipe).builds, recipe, 1, quiet), recipe, Path(folder) / "out", 1, quiet)
        data = ShardSet(Path(folder) / "out")
        for split in data.manifest.sources[source].splits:
            yield f"{source}/{split}", summary(data.record(row) for row in data.table(split).to_pylist())


def with_images(annotations: Path, root: Path) -> Path:
    """DIOR's annotations beside a grey image of 800 x 800 for each id of its lists."""
    root.mkdir()
    for name in ("Annotations", "ImageSets"):
        shutil.copytree(annotations / name, root / name, copy_function=shutil.copyfile)
    for folder, lists in (("JPEGImages-trainval", ("train", "val")), ("JPEGImages-test", ("test",))):
        (root / folder).mkdir()
        for split in lists:
            for stem in (annotations / "ImageSets/Main" / f"{split}.txt").read_text().split():
                Image.new("RGB", (800, 800), "grey").save(root / folder / f"{stem}.jpg")
    return root


def describe_rows(rows: dict[str, dict]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| set | images | objects | in images above the limit | in no dialogue before | now |",
        "|---|" + "---|" * 5,
    ]
    for name, row in rows.items():
        shares = [
            f"{row[key]:,} ({row[key] / max(row['objects'], 1):.1%})"
            for key in ("objects of these", "objects in no dialogue, before", "objects in no dialogue, now")
        ]
        lines.append(f"| {name} | {row['images']:,} | {row['objects']:,} | {' | '.join(shares)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
