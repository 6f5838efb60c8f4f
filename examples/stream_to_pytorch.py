"""Shards in a plain PyTorch loop of your own, with random access: the index says where each image lies.

python examples/stream_to_pytorch.py SHARDS
"""

import io
import sys

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from mmrs.shards.reader import ShardSet


class Images(Dataset):
    """Images of one split with their first question and answer; `location` is a folder or a URL."""

    def __init__(self, location: str, split: str, side: int = 224) -> None:
        self.shards = ShardSet(location)
        self.rows = self.shards.table(split).to_pylist()
        self.side = side

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str, str]:
        row = self.rows[index]
        image = Image.open(io.BytesIO(self.shards.image(row))).convert("RGB").resize((self.side, self.side))
        question, answer = self.shards.record(row).dialogues[0].turns[:2]
        return torch.from_numpy(np.array(image)).permute(2, 0, 1), question.value, answer.value


def main(location: str) -> None:
    """Print the shape of every batch."""
    loader = DataLoader(Images(location, "train"), batch_size=4, shuffle=True, num_workers=2)
    for pixels_BCHW, questions, answers in loader:
        print(tuple(pixels_BCHW.shape), "|", questions[0], "|", answers[0])


if __name__ == "__main__":
    main(sys.argv[1])
