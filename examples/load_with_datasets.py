"""Shards through `datasets` alone: what somebody does who has never heard of mmrs.

python examples/load_with_datasets.py SHARDS
"""

import sys
from pathlib import Path

import datasets


def main(shards: Path) -> None:
    """Print the size of each image and its first question."""
    files = {"train": sorted(str(path) for path in shards.glob("*/train-*.tar"))}
    for sample in datasets.load_dataset("webdataset", data_files=files, split="train", streaming=True):
        turns = sample["json"]["dialogues"][0]["turns"]
        print(sample["__key__"], sample["jpg"].size, "|", turns[0]["value"], "|", turns[1]["value"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
