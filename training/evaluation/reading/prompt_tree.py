"""The beginnings that prompts of one image have in common, as a tree of tokens: each node is read once.

Of every prompt the last tokens, as many for all, are its own: they are read as a batch. What comes before them is a
path of the tree of its image. So rows of a batch need no padding between what was read and what is to be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

# Measured in tokens of the batch: what one more call of the model costs, and as many pairs of positions as one token.
_CALL_TOKENS = 64
_PAIRS_A_TOKEN = 512


@dataclass
class PromptTree:
    """Tokens behind an image; a node's parent comes before it, -1 where that is the image itself.

    `depths` counts the nodes above each.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    _children: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, tokens: Sequence[int]) -> list[int]:
        """The nodes of a path from the image on; those that are not there yet are made."""
        path: list[int] = []
        parent = -1
        for depth, token in enumerate(tokens):
            node = self._children.setdefault((parent, token), len(self.tokens))
            if node == len(self.tokens):
                self.tokens.append(token)
                self.parents.append(parent)
                self.depths.append(depth)
            path.append(node)
            parent = node
        return path


def own_tokens(prompts: Sequence[Sequence[Sequence[int]]]) -> int:
    """How many tokens at the end of each prompt are best read for itself; at most those of the shortest.

    Args:
        prompts: for each image those of its prompts.
    """
    lengths = [len(prompt) for own in prompts for prompt in own]
    nodes = [_nodes_left(own, max(lengths)) for own in prompts]

    def cost(count: int) -> float:
        widest = max(left[count] for left in nodes)
        shared = len(prompts) * (widest + widest * widest / _PAIRS_A_TOKEN)
        return len(lengths) * count + shared + (_CALL_TOKENS if widest else 0)

    return min(range(1, min(lengths) + 1), key=cost)


def _nodes_left(prompts: Sequence[Sequence[int]], longest: int) -> list[int]:
    """Nodes of the tree of the prompts without their last n tokens, for n from 0 to the longest prompt's length."""
    tree, behind = PromptTree(), list[int]()
    for prompt in prompts:
        path = tree.add(prompt)
        behind += [0] * (len(tree.tokens) - len(behind))
        for node in path:
            behind[node] = max(behind[node], len(prompt) - tree.depths[node] - 1)
    left = [0] * (longest + 1)
    for count in behind:
        left[count] += 1
    for count in range(longest - 1, -1, -1):
        left[count] += left[count + 1]
    return left
