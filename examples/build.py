"""Build a data set from Python: a generated source, a recipe in code, shards, a check of every byte.

python examples/build.py FOLDER
"""

import sys
from pathlib import Path

from converters import samples
from converters.resolve import resolve
from mmrs.builder.recipe import BuildRecipe, SourceRecipe
from mmrs.builder.run import build, plan_build
from mmrs.progress import Progress
from mmrs.verify.dataset import describe_verification, verify_dataset


def main(folder: Path) -> None:
    """Write FOLDER/raw and FOLDER/shards."""
    progress = Progress(quiet=True)
    samples.write("hit-uav", folder / "raw" / "hit-uav", seed=0)
    recipe = BuildRecipe(data_root=folder / "raw", sources=(SourceRecipe(name="hit-uav", tasks={"detection-hbb"}),))

    plan = plan_build(resolve(recipe).builds, recipe, workers=2, progress=progress)
    print(f"{len(plan.tasks)} shards, {plan.planned_bytes:,} bytes planned")
    result = build(plan, recipe, folder / "shards", workers=2, progress=progress)
    print(f"data set {result.manifest.id[:16]}, {result.rebuilt} shards written, {len(result.quarantine)} findings")
    print(describe_verification(verify_dataset(folder / "shards", workers=2, progress=progress)))


# The builder's processes import this file again: without the guard each would start the whole build.
if __name__ == "__main__":
    main(Path(sys.argv[1]))
