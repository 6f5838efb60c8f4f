"""Trees of prompts hold what prompts share once, and lose nothing."""

from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.reading.prompt_tree import PromptTree, own_tokens

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=8)


@given(PROMPTS)
def test_a_path_of_the_tree_is_the_prompt_and_every_beginning_is_there_once(prompts):
    tree = PromptTree()
    paths = [tree.add(prompt) for prompt in prompts]
    assert [[tree.tokens[node] for node in path] for path in paths] == prompts
    assert len(tree.tokens) == len({tuple(prompt[:end]) for prompt in prompts for end in range(1, len(prompt) + 1)})
    for path in paths:
        assert [tree.parents[node] for node in path] == [-1, *path[:-1]]
        assert [tree.depths[node] for node in path] == list(range(len(path)))


@given(st.lists(PROMPTS, min_size=1, max_size=3))
def test_what_is_read_for_itself_is_never_more_than_reading_all_of_it(images):
    own = own_tokens(images)
    prompts = [prompt for image in images for prompt in image]
    assert 1 <= own <= min(map(len, prompts))
    trees = [PromptTree() for _ in images]
    for tree, image in zip(trees, images, strict=True):
        for prompt in image:
            tree.add(prompt[:-own])
    # A second call is worth it only where it spares more than it costs; where prompts are of one length there is none.
    if len(set(map(len, prompts))) == 1 and not any(len(image) > 1 for image in images):
        assert own == len(prompts[0])


def test_long_beginnings_in_common_are_shared_and_short_ones_are_not():
    assert own_tokens([[[*range(100), row] for row in range(1, 30)]]) == 1
    assert own_tokens([[[7, row, 8, 9] for row in range(30)]]) == 4
