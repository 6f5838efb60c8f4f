"""Pictures that hashes tell apart, data sets of them, for copies to be planted in."""

import io
import json

import numpy as np
from PIL import Image

from mmrs.builder.recipe import BuildRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.source import SourceBuild

QUIET = Progress(quiet=True)


def picture(seed, side=160):
    rng = np.random.default_rng(seed)
    total = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24):
        layer = rng.normal(0, 1, (cells, cells, 3)) * 20
        channels = [Image.fromarray(layer[..., band].astype(np.float32)).resize((side, side)) for band in range(3)]
        total += np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return Image.fromarray(np.clip(128 + total, 0, 255).astype(np.uint8))


def put(root, split, stem, image, quality=90):
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    (folder / f"{stem}.jpg").write_bytes(buffer.getvalue())
    content = {"size": image.size, "objects": [["car", [5, 5, 40, 40]]]}
    (folder / f"{stem}.json").write_text(json.dumps(content))


def built(out, roots, sources, seed=0, **recipe):
    builds = [SourceBuild(source, root, source.splits) for source, root in zip(sources, roots, strict=True)]
    recipe = BuildRecipe.model_validate(
        {"seed": seed, "quarantine_ceiling": 1, "sources": [{"name": source.name} for source in sources]} | recipe
    )
    build(plan_build(builds, recipe, 1, QUIET), recipe, out, 1, QUIET)
    return out
