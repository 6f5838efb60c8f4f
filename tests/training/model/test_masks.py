"""The pack's mask against its definition, pair by pair."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.model import PADDING, PREFIX, build_block_mask, build_position_ids

# A row is a list of images; an image is its prefix length and the lengths of its dialogues.
ROWS = st.lists(st.tuples(st.integers(1, 4), st.lists(st.integers(1, 3), max_size=3)), max_size=3)


def segments(row, padding):
    images, dialogues, positions = [], [], []
    for number, (prefix, lengths) in enumerate(row):
        for dialogue, length in enumerate([prefix, *lengths]):
            images += [number] * length
            dialogues += [dialogue] * length
            start = prefix if dialogue else 0
            positions += range(start, start + length)
    positions += [0] * padding
    return torch.tensor([images + [PADDING] * padding]), torch.tensor([dialogues + [PREFIX] * padding]), positions


@settings(deadline=None, max_examples=60)
@given(ROWS, st.integers(1, 3))
def test_mask_and_positions_follow_the_definition(row, padding):
    image_BL, dialogue_BL, positions = segments(row, padding)
    mask = build_block_mask(image_BL, dialogue_BL)[0, 0]
    image, dialogue = image_BL[0].tolist(), dialogue_BL[0].tolist()
    for query in range(len(image)):
        for key in range(len(image)):
            sees = (
                key <= query
                and image[key] == image[query] != PADDING
                and (dialogue[key] == PREFIX or dialogue[key] == dialogue[query])
            )
            assert mask[query, key].item() == (sees or key == query)
    assert build_position_ids(image_BL, dialogue_BL)[0].tolist() == positions


def test_additive_mask_leaves_no_row_without_a_key():
    image_BL = torch.tensor([[0, 0, PADDING], [PADDING] * 3])
    additive = build_block_mask(image_BL, torch.zeros_like(image_BL), dtype=torch.float32)
    assert additive.shape == (2, 1, 3, 3)
    assert torch.isfinite(torch.softmax(additive, dim=-1)).all()
    assert torch.equal(additive == 0, build_block_mask(image_BL, torch.zeros_like(image_BL)))
