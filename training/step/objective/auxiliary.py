"""Auxiliary heads: what the visual positions are asked in training beside the text, and when.

Few tokens of an answer depend on places, so encoders with random weights learn slowly from text. Here each visual
position, as the language model gets it, answers through linear layers of its own: whether the centre of an object lies
in its cell, where that object's box is (offset of its centre from the cell's, logarithms of its sides, all in cells),
and what it is called; the mean over positions says which words the answer has, for tasks whose answer is about the
image as a whole. Targets are those of the record, turned as the image is. Words are learnt as in Mahajan et al. (arXiv
1805.00932): softmax over the vocabulary, the mass shared among the words that occur. Objectness has the focal loss of
RetinaNet (arXiv 1708.02002); boxes have GIoU (arXiv 1902.09630) and an L1 term. The heads are in checkpoints alone.

Every sum is divided by a count of the whole step, over all packs and ranks, so the gradient depends neither on how
images lie in packs nor on the number of ranks.

Shape suffixes: N images, T visual tokens, D width, K vocabulary, B objects, T targets of a pack where it is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from training.config import AuxiliaryConfig
from training.data.collate import Pack
from training.step.ranks import Ranks

HEADS = "auxiliary."
IMAGE_SIDE = ("model.vision.", "model.projector.")
WORD_TASKS = ("classification", "captioning")
"""Tasks whose answer is about the whole image and does not depend on the question."""
PRIOR = 0.02
# Of the logarithm of a side in cells.
LIMIT = 4.0


@dataclass(frozen=True)
class Phase:
    """What a step computes: `text` the language model's loss, `heads` that of the heads; whether the image side learns.

    `done` of `steps` steps of its part of the run come before it, which the schedule follows.
    """

    done: int
    steps: int
    text: bool = True
    heads: bool = False
    image_side: bool = True

    def trains(self, name: str) -> bool:
        """Whether a parameter of that full name learns."""
        if name.startswith(HEADS):
            return self.heads
        return self.image_side if name.startswith(IMAGE_SIDE) else self.text


def phase_of(config: AuxiliaryConfig | None, done: int, total_steps: int) -> Phase:
    """The phase of the step after `done` of `total_steps`."""
    if config is None:
        return Phase(done, total_steps)
    alone = round(config.alone_share * total_steps)
    if done < alone:
        return Phase(done, alone, text=False, heads=True)
    learns = not (config.frozen_after and alone)
    return Phase(done - alone, total_steps - alone, heads=learns, image_side=learns)


NAMES = ("objectness", "box", "name", "words")


class AuxiliaryHeads(nn.Module):
    """Linear layers on visual tokens; they start at zero, so no random numbers are drawn."""

    def __init__(self, width: int, vocab_size: int):
        super().__init__()
        self.cells = nn.Linear(width, 5)
        self.names = nn.Linear(width, vocab_size)
        self.words = nn.Linear(width, vocab_size)
        for layer in (self.cells, self.names, self.words):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.cells.bias[0] = math.log(PRIOR / (1 - PRIOR))

    def forward(self, tokens_NTD: torch.Tensor, pack: Pack, tasks: Sequence[str], eos_id: int) -> torch.Tensor:
        """Summed losses of a pack in the order of `NAMES`, (4,) fp32.

        Args:
            tokens_NTD: what fills the slots of the pack's images, without the two end vectors.
            tasks: names of the tasks that the pack numbers.
            eos_id: ends answers and is no word.
        """
        objectness, box, name = self._objects(tokens_NTD, pack)
        images_M, words_M = image_words(pack, tasks, eos_id)
        log_NK = functional.log_softmax(self.words(tokens_NTD.mean(1)).float(), -1)
        return torch.stack((objectness, box, name, _shared_mass(log_NK, images_M, words_M)))

    def _objects(self, tokens_NTD: torch.Tensor, pack: Pack) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        grid = math.isqrt(tokens_NTD.shape[1])
        cells_NT5 = self.cells(tokens_NTD).float()
        chosen_B, cell_B = assigned(pack.object_boxes_B4, pack.object_images_B, grid)
        image_B = pack.object_images_B[chosen_B]
        is_object_NT = torch.zeros_like(cells_NT5[..., 0]).index_put((image_B, cell_B), cells_NT5.new_ones(()))
        plain = functional.binary_cross_entropy_with_logits(cells_NT5[..., 0], is_object_NT, reduction="none")
        focal_NT = (1 - (-plain).exp()) ** 2 * plain
        wanted_B4 = offsets(pack.object_boxes_B4[chosen_B], cell_B, grid)
        found_B4 = cells_NT5[image_B, cell_B, 1:].clamp(-LIMIT, LIMIT)
        box = _one_minus_giou(found_B4, wanted_B4).sum() + (found_B4 - wanted_B4).abs().sum()
        log_BK = functional.log_softmax(self.names(tokens_NTD[image_B, cell_B]).float(), -1)
        place_M, word_M = (pack.object_names_BK[chosen_B] >= 0).nonzero(as_tuple=True)
        name = _shared_mass(log_BK, place_M, pack.object_names_BK[chosen_B][place_M, word_M])
        return focal_NT[pack.known_N].sum(), box, name


def auxiliary_counts(packs: Sequence[Pack], tasks: Sequence[str], eos_id: int, ranks: Ranks, grid: int) -> torch.Tensor:
    """What the sums of a step are divided by, 1 at least, in the order of `NAMES`; a collective."""
    counts = torch.zeros(2, dtype=torch.int64)
    for pack in packs:
        counts[0] += len(assigned(pack.object_boxes_B4, pack.object_images_B, grid)[0])
        counts[1] += len(image_words(pack, tasks, eos_id)[0].unique())
    objects, images = ranks.total(counts).clamp(min=1).tolist()
    return torch.tensor([objects, objects, objects, images], dtype=torch.float32)


def assigned(boxes_B4: torch.Tensor, images_B: torch.Tensor, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of the objects that a cell answers for, and the number of that cell: the one where the object's centre
    lies. Of several in one cell it is the smallest, the first of equal ones."""
    centre_B2 = (boxes_B4[:, :2] + boxes_B4[:, 2:]) / 2
    place_B2 = (centre_B2 * grid).long().clamp(0, grid - 1)
    cell_B = place_B2[:, 1] * grid + place_B2[:, 0]
    order_B = (boxes_B4[:, 2:] - boxes_B4[:, :2]).prod(-1).argsort(stable=True)
    key_B = (images_B * grid**2 + cell_B)[order_B]
    by_cell_B = key_B.argsort(stable=True)
    order_B, key_B = order_B[by_cell_B], key_B[by_cell_B]
    first_B = torch.ones_like(key_B, dtype=torch.bool)
    first_B[1:] = key_B[1:] != key_B[:-1]
    chosen_B = order_B[first_B]
    return chosen_B, cell_B[chosen_B]


def offsets(boxes_B4: torch.Tensor, cell_B: torch.Tensor, grid: int) -> torch.Tensor:
    """Boxes as a cell says them (B, 4): centre from the cell's centre, logarithms of the sides, in cells."""
    centre_B2 = (boxes_B4[:, :2] + boxes_B4[:, 2:]) / 2 * grid
    cell_B2 = torch.stack((cell_B % grid, cell_B // grid), -1) + 0.5
    sides_B2 = (boxes_B4[:, 2:] - boxes_B4[:, :2]) * grid
    return torch.cat((centre_B2 - cell_B2, sides_B2.clamp(min=math.exp(-LIMIT)).log()), -1)


def said_boxes(said_T4: torch.Tensor) -> torch.Tensor:
    """Boxes (..., T, 4) as fractions of the square of what all cells say; the way back from `offsets`."""
    grid = math.isqrt(said_T4.shape[-2])
    cell_T = torch.arange(grid**2, device=said_T4.device)
    centre_T2 = said_T4[..., :2] + torch.stack((cell_T % grid, cell_T // grid), -1) + 0.5
    half_T2 = said_T4[..., 2:].clamp(-LIMIT, LIMIT).exp() / 2
    return torch.cat((centre_T2 - half_T2, centre_T2 + half_T2), -1) / grid


def image_words(pack: Pack, tasks: Sequence[str], eos_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs (image, token id), each once: the words of answers to `WORD_TASKS` about one image."""
    numbers = torch.tensor([number for number, task in enumerate(tasks) if task in WORD_TASKS], dtype=torch.int64)
    ids_T, tasks_T = pack.target_ids_T, pack.target_tasks_T
    image_T = pack.unit_images_U[pack.target_units_T]
    told_T = torch.isin(tasks_T, numbers.to(tasks_T.device)) & (image_T >= 0) & (ids_T != eos_id)
    pairs_M2 = torch.stack((image_T[told_T], ids_T[told_T]), -1).unique(dim=0)
    return pairs_M2[:, 0], pairs_M2[:, 1]


def _shared_mass(log_RK: torch.Tensor, row_M: torch.Tensor, word_M: torch.Tensor) -> torch.Tensor:
    """Cross-entropy summed over rows, each one's mass shared among its words."""
    words_R = torch.bincount(row_M, minlength=len(log_RK)).clamp(min=1)
    return -(log_RK[row_M, word_M] / words_R[row_M]).sum()


def _one_minus_giou(found_B4: torch.Tensor, wanted_B4: torch.Tensor) -> torch.Tensor:
    low, high, areas = [], [], []
    for said_B4 in (found_B4, wanted_B4):
        sides_B2 = said_B4[:, 2:].exp()
        low.append(said_B4[:, :2] - sides_B2 / 2)
        high.append(said_B4[:, :2] + sides_B2 / 2)
        areas.append(sides_B2.prod(-1))
    shared_B = (torch.minimum(*high) - torch.maximum(*low)).clamp(min=0).prod(-1)
    hull_B = (torch.maximum(*high) - torch.minimum(*low)).prod(-1)
    union_B = areas[0] + areas[1] - shared_B
    return 2 - shared_B / union_B - union_B / hull_B
