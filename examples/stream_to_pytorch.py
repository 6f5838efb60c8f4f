"""Shards in a plain PyTorch loop of your own: a seeded order that workers share, and that goes on after a stop.

python examples/stream_to_pytorch.py SHARDS
"""

import sys
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

import mmrs


class Images(IterableDataset):
    """Images of the training splits with their first question and answer; `location` is a folder or a URL."""

    def __init__(self, location: str, side: int = 224) -> None:
        self.stream = mmrs.open(location).stream(seed=0)
        self.side = side

    def __iter__(self) -> Iterator[tuple[torch.Tensor, str, str]]:
        for sample in self.stream:
            image = sample.image.convert("RGB").resize((self.side, self.side))
            question, answer = sample.record.dialogues[0].turns[:2]
            yield torch.from_numpy(np.array(image)).permute(2, 0, 1), question.value, answer.value


def main(location: str) -> None:
    """Print the shape of every batch of two epochs."""
    images = Images(location)
    loader = DataLoader(images, batch_size=4, num_workers=2)
    for epoch in range(2):
        images.stream.set_epoch(epoch)
        for pixels_BCHW, questions, answers in loader:
            print(tuple(pixels_BCHW.shape), "|", questions[0], "|", answers[0])


if __name__ == "__main__":
    main(sys.argv[1])
