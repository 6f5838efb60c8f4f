"""A training run from Python: the shipped recipe `tiny`, cut to a few steps.

python examples/train.py SHARDS RUN
"""

import sys

from mmrs.installation import shipped_recipes
from mmrs.progress import Progress
from training.config import load_config
from training.run.train import train


def main(shards: str, out: str) -> None:
    """Train, or go on with what is in RUN already."""
    changes = (f"data.folders={shards}", f"out={out}", "epochs=null", "max_steps=4", "tokens_per_step=1024")
    result = train(load_config(shipped_recipes("training")["tiny"], changes), Progress(quiet=True))
    print(f"{result.steps} steps, final loss {result.final_loss:.3f}, model in {result.model}")


if __name__ == "__main__":
    main(*sys.argv[1:])
