"""Greedy or sampled generation that cannot leave an answer grammar. An option, never part of a reported score.

A token is allowed where what was generated so far, with the token's bytes after it, is the beginning of a match; the
end token where it is a match. The vocabulary is a tree by bytes: a branch that cannot match is left at its first byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import regex  # type: ignore[import-untyped]
import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

from training.model.processing import EarthGPTProcessor, framed


@dataclass
class _Node:
    children: dict[int, _Node] = field(default_factory=dict)
    ids: list[int] = field(default_factory=list)


class AnswerGrammar:
    """Which tokens may follow what has been generated.

    Args:
        processor: its tokenizer is byte-level or has byte fallback, as those of all LLaMA-family models are.

    Raises:
        ValueError: a tokenizer of another kind.
    """

    def __init__(self, processor: EarthGPTProcessor):
        self.bytes_of = token_bytes(processor.tokenizer)
        self.eos_token_id = processor.tokenizer.eos_token_id
        self._tree = _Node()
        for number, content in enumerate(self.bytes_of):
            if content:
                node = self._tree
                for byte in content:
                    node = node.children.setdefault(byte, _Node())
                node.ids.append(number)
        lead = processor.tokenizer.encode(framed("gpt", "0"), add_special_tokens=False, split_special_tokens=True)
        self._lead = self.text(lead).removesuffix(b"0")
        self._known: dict[tuple[str, bytes], list[int]] = {}

    def text(self, ids: Sequence[int]) -> bytes:
        """The bytes that ids stand for; special tokens stand for none."""
        return b"".join(self.bytes_of[number] or b"" for number in ids)

    def allowed(self, pattern: str, generated: bytes) -> list[int]:
        """Ids that may come next in an answer that is to match `pattern`."""
        key = (pattern, generated)
        if key not in self._known:
            # `regex` keeps compiled patterns, so this is a look-up.
            self._known[key] = self._search(regex.compile(regex.escape(self._lead) + pattern.encode()), generated)
        return self._known[key]

    def _search(self, pattern: regex.Pattern, generated: bytes) -> list[int]:
        found = [self.eos_token_id] if pattern.fullmatch(generated) else []
        pending = [(self._tree, generated)]
        while pending:
            node, text = pending.pop()
            found += node.ids
            for byte, child in node.children.items():
                longer = text + bytes([byte])
                if pattern.fullmatch(longer, partial=True):
                    pending.append((child, longer))
        return found


class GrammarLogitsProcessor(LogitsProcessor):
    """Sets the scores of all tokens to -inf that would leave a row's grammar.

    Args:
        grammar: of the model's tokenizer.
        patterns: for each row what its answer must match, None for free text. Beams are not supported.
        prompt_length: ids that are no answer.
    """

    def __init__(self, grammar: AnswerGrammar, patterns: Sequence[str | None], prompt_length: int):
        self.grammar = grammar
        self.patterns = list(patterns)
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(B, L) and (B, K) -> (B, K).

        Raises:
            ValueError: another number of rows than patterns.
        """
        if len(input_ids) != len(self.patterns):
            raise ValueError(f"{len(input_ids)} rows for {len(self.patterns)} patterns; generate without beams")
        limited: Any = scores.clone()
        for row, pattern in enumerate(self.patterns):
            ids = input_ids[row, self.prompt_length :].tolist()
            if pattern is None or self.grammar.eos_token_id in ids:
                continue
            allowed = torch.tensor(self.grammar.allowed(pattern, self.grammar.text(ids)), device=scores.device)
            if not len(allowed):
                continue
            kept = limited[row, allowed]
            limited[row] = -torch.inf
            limited[row, allowed] = kept
        return limited


def token_bytes(tokenizer: PreTrainedTokenizerBase) -> list[bytes | None]:
    """What each token of the vocabulary adds to a text; None for special tokens and unused ids.

    Raises:
        ValueError: the tokenizer is neither byte-level nor has byte fallback.
    """
    decoder = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])
    if "ByteLevel" in decoder:
        alphabet = _byte_level_alphabet()
        convert = lambda token: bytes(alphabet[character] for character in token)  # noqa: E731
    elif "ByteFallback" in decoder:
        convert = _with_fallback
    else:
        raise ValueError("the tokenizer is neither byte-level nor has byte fallback; generate without a grammar")
    added = tokenizer.added_tokens_decoder
    contents: list[bytes | None] = [None] * (1 + max(tokenizer.get_vocab().values()))
    for token, number in tokenizer.get_vocab().items():
        if number not in added:
            contents[number] = convert(token)
    return contents


def _with_fallback(token: str) -> bytes:
    byte = regex.fullmatch(r"<0x([0-9A-F]{2})>", token)
    return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()


def _byte_level_alphabet() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level vocabulary (GPT-2's convention)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}
