"""Packing, pointer and resume, drawn from what the planner really does with a toy data set."""

from __future__ import annotations

from functools import cache

import numpy as np

from docs.hooks.drawn.svg import arrow, drawing, rectangle, text
from training.data.planning.plan import Lengths, Plan, PlanSettings, epoch_plan
from training.data.planning.sequence import rank_share

_DIALOGUES = ((5, 4), (7,), (3, 3, 4), (9,), (6, 2), (4,), (8, 3), (5,))
_PREFIX, _PACK = 5, 26
_KINDS = ("data", "model", "store", "third", "fourth", "fifth", "data", "model")
_UNIT = 13.0


@cache
def _planned() -> tuple[Lengths, Plan]:
    row = np.repeat(np.arange(len(_DIALOGUES)), [len(tokens) for tokens in _DIALOGUES])
    tokens = np.array([size for sizes in _DIALOGUES for size in sizes])
    lengths = Lengths(row, tokens, tokens, np.zeros(len(_DIALOGUES), np.int64))
    settings = PlanSettings(
        data_set_id="toy",
        tokenizer_digest="toy",
        seed=1,
        tokens_per_pack=_PACK,
        prefix_tokens=_PREFIX,
        max_positions=_PACK,
        shuffle_block_samples=2,
        shuffle_window_blocks=4,
        packing_window_units=16,
    )
    return lengths, epoch_plan(lengths, settings, epoch=0)


def packing() -> str:
    """Images with their dialogues above, the packs that the planner makes of them below, and what one pack sees."""
    lengths, plan = _planned()
    parts = [text(10, 20, "Images of the selection, each with its dialogues", "title")]
    x, y = 10.0, 34.0
    for image, sizes in enumerate(_DIALOGUES):
        width = (_PREFIX + sum(sizes)) * _UNIT
        if x + width > 1060:
            x, y = 10.0, y + 36
        parts += _unit(x, y, image, list(sizes))
        x += width + 18
    y += 66
    parts.append(text(10, y, f"Packs of {_PACK} tokens", "title"))
    masked_x = 560.0
    shown = max(range(len(plan)), key=lambda number: sum(len(entries) for _, entries in plan.pack(number)))
    parts.append(text(masked_x, y, f"What a token of pack {shown} sees (dark)", "title"))
    for number in range(len(plan)):
        top = y + 16 + number * 44
        parts.append(text(10, top + 18, str(number), "name"))
        parts.append(rectangle(30, top, _PACK * _UNIT, 26, "empty", 2))
        x = 30.0
        for image, entries in plan.pack(number):
            sizes = [int(lengths.tokens[entry]) for entry in entries]
            parts += _unit(x, top, image, sizes)
            x += (_PREFIX + sum(sizes)) * _UNIT
    height = y + 16 + max(len(plan) * 44, _PACK * 8 + 20)
    parts += _mask(plan.pack(shown), lengths, masked_x, y + 16)
    caption = "dark: prefix (begin token and visual tokens), coloured: dialogues, dashed: padding"
    parts.append(text(10, height + 20, caption, "small"))
    return drawing(1080, int(height + 34), "How dialogues of several images share packs of a fixed length", parts)


def _unit(x: float, y: float, image: int, sizes: list[int]) -> list[str]:
    parts = [rectangle(x, y, _PREFIX * _UNIT, 26, "prefix", 2), text(x + 6, y + 18, f"image {image}", "small")]
    x += _PREFIX * _UNIT
    for size in sizes:
        parts.append(rectangle(x, y, size * _UNIT, 26, _KINDS[image], 2))
        x += size * _UNIT
    return parts


def _mask(units: list[tuple[int, np.ndarray]], lengths: Lengths, x: float, y: float) -> list[str]:
    """The visible pairs of one pack: queries downwards, keys to the right."""
    import torch

    from training.model.masks import PADDING, PREFIX, build_block_mask

    image_segment, dialogue_segment = [], []
    for number, (_, entries) in enumerate(units):
        image_segment += [number] * (_PREFIX + int(lengths.tokens[entries].sum()))
        dialogue_segment += [PREFIX] * _PREFIX
        for dialogue, entry in enumerate(entries, 1):
            dialogue_segment += [dialogue] * int(lengths.tokens[entry])
    rest = _PACK - len(image_segment)
    image_BL = torch.tensor([image_segment + [PADDING] * rest])
    dialogue_BL = torch.tensor([dialogue_segment + [PADDING] * rest])
    visible = build_block_mask(image_BL, dialogue_BL)[0, 0].tolist()
    cell = 8
    parts = [rectangle(x, y, _PACK * cell, _PACK * cell, "", 0)]
    for query, row in enumerate(visible):
        for start, stop in _runs(row):
            where = f'x="{x + start * cell}" y="{y + query * cell}" width="{(stop - start) * cell}" height="{cell}"'
            parts.append(f'<rect class="seen" {where}/>')
    parts.append(text(x + _PACK * cell + 14, y + 20, "down: the token that asks", "small"))
    parts.append(text(x + _PACK * cell + 14, y + 38, "right: what it may look at", "small"))
    parts.append(text(x + _PACK * cell + 14, y + 66, "Images never see each other;", "small"))
    parts.append(text(x + _PACK * cell + 14, y + 84, "dialogues of one image share", "small"))
    parts.append(text(x + _PACK * cell + 14, y + 102, "its prefix and nothing else.", "small"))
    return parts


def _runs(row: list[bool]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.array([0, *map(int, row), 0])))
    return [(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def pointer() -> str:
    """The stream of packs over two epochs, its steps, and one run that two ranks begin and four ranks go on with."""
    packs, of_epoch, per_step = 20, 11, 4
    width, left, top = 47, 20, 40
    parts = [text(left, 20, "The stream: the packs of epoch 0, then of epoch 1, without end", "title")]
    for pack in range(packs):
        epoch, number = divmod(pack, of_epoch)
        x = left + pack * width
        parts.append(rectangle(x + 2, top, width - 4, 30, "store" if epoch == 0 else "third", 3))
        parts.append(text(x + width / 2, top + 20, str(number), "", "middle"))
    boundary = left + of_epoch * width
    parts.append(f'<line class="arrow" x1="{boundary}" y1="{top - 8}" x2="{boundary}" y2="{top + 38}"/>')
    parts.append(
        text(boundary - 6, top - 8, "epoch 0", "small", "end") + text(boundary + 6, top - 8, "epoch 1", "small")
    )
    for label, first_step, steps, ranks, y in (("2 ranks", 0, 2, 2, top + 70), ("4 ranks", 2, 3, 4, top + 150)):
        parts.append(text(left, y - 10, f"{label}, {per_step} packs a step", "name"))
        for step in range(first_step, first_step + steps):
            of_step = list(range(step * per_step, (step + 1) * per_step))
            x = left + step * per_step * width
            parts.append(rectangle(x + 1, y, per_step * width - 2, 44, "", 4))
            parts.append(text(x + per_step * width / 2, y + 40, f"step {step}", "small", "middle"))
            for rank in range(ranks):
                for pack in rank_share(of_step, rank, ranks):
                    parts.append(rectangle(left + pack * width + 5, y + 4, width - 10, 22, _KINDS[rank], 2))
                    parts.append(text(left + pack * width + width / 2, y + 19, f"r{rank}", "small", "middle"))
    x = left + 2 * per_step * width
    parts.append(arrow([(x, top + 122), (x, top + 34)]))
    words = "pointer: epoch 0, next pack 8. No rank, no worker, no random state is in it"
    parts.append(text(x + 8, top + 132, words, "name"))
    return drawing(980, 260, "Steps, ranks and the pointer into the stream of packs", parts)


def resume() -> str:
    """A run that is asked to stop, one that is killed, and a build that is killed; what is lost has a dashed border."""
    parts = [text(10, 20, "What a stop costs", "title")]
    for y, name, stretches, marks in _STOPS:
        parts.append(text(10, y + 20, name, "name"))
        for start, stop, words, kind in stretches:
            parts.append(rectangle(_place(start), y, (stop - start) * _SCALE, 30, kind, 3))
            parts.append(text(_place((start + stop) / 2), y + 20, words, "small", "middle"))
        for at, words, anchor in marks:
            parts.append(arrow([(_place(at), y + 52), (_place(at), y + 32)]))
            parts.append(text(_place(at), y + 66, words, "small", anchor))
    return drawing(1060, 310, "What is kept and what is repeated when a run or a build is stopped", parts)


_SCALE = 7.6
# Height, name, stretches of work (start, stop, words, kind) and marks (where, words, anchor).
_STOPS = (
    (
        40,
        "training, SIGTERM",
        [(0, 46, "steps 1 to 460", "model"), (52, 106, "steps 461 to 1000", "model")],
        [(40, "checkpoint 400", "end"), (46, "checkpoint 460, exit code 75: nothing is done twice", "start")],
    ),
    (
        130,
        "training, killed",
        [
            (0, 40, "steps 1 to 400", "model"),
            (40, 46, "", "empty"),
            (52, 112, "steps 401 to 1000, the same packs", "model"),
        ],
        [(40, "checkpoint 400", "end"), (52, "the steps since are done again, alike", "start")],
    ),
    (
        220,
        "build, killed",
        [
            (0, 40, "shards 0 to 7, each with its done-file", "data"),
            (40, 46, "", "empty"),
            (52, 92, "shards 8 to 15", "data"),
            (92, 104, "manifest", "store last"),
        ],
        [(43, "shard 8 has none: it does not exist", "end"), (98, "last of all", "middle")],
    ),
)


def _place(at: float) -> float:
    return 190 + at * _SCALE
