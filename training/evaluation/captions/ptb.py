"""Tokens of captions as the COCO tools have them, without Java: Stanford's PTBTokenizer 3.4.1 on lines of their own, in
lower case, then without punctuation.

At each place the longest of all patterns wins, the first of equals, as in any generated lexer; what a pattern looks
ahead counts as its length. What no pattern knows is dropped: the jar knows the first 65,536 code points alone, so
emoji vanish. A test holds this to the jar. There a caption that ends with an abbreviation is read on into the next;
here each caption is alone, followed by a line of small letters. pycocoevalcap's tokenizer needs Java, and starts it
anew for each call.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache

from training.evaluation.captions.ptb_rules import BLANKS, KNOWN_CHARACTER, PLAIN_WORD, RULES, SKIPPED

# Removed by pycocoevalcap. Brackets stay: its list has them in capitals, and the tokens are in lower case.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
_UNKNOWN = "\x00"


class _KnownCharacters(dict[int, str]):
    """For `str.translate`: what the tokenizer does not know becomes NUL."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        known = code < 128 or (code < 0x10000 and KNOWN_CHARACTER.match(character))
        self[code] = character if known else _UNKNOWN
        return self[code]


_CHARACTERS = _KnownCharacters({ord(character): " " for character in "\n\r\x0b\x0c\u2028\u2029"})


@lru_cache(maxsize=1 << 16)
def tokenize_ptb(caption: str) -> str:
    """Tokens of one caption, joined by single blanks; empty where nothing but punctuation was said."""
    text = caption.translate(_CHARACTERS) + "\n\n"  # what looks ahead sees the end of a line
    tokens: list[str] = []
    place = 0
    while place < len(caption):
        if blanks := BLANKS.match(text, place):
            place = blanks.end()
        elif plain := PLAIN_WORD.match(text, place):
            tokens.append(plain[0])
            place = plain.end()
        else:
            token, place = _longest(caption, text, place)
            tokens.append(token)
    return " ".join(token for token in map(str.lower, tokens) if token and token not in PUNCTUATION)


def _longest(caption: str, text: str, place: int) -> tuple[str, int]:
    """The token of the caption at `place`, empty where there is none, and where the next may begin."""
    skipped = SKIPPED.match(text, place)
    best, length, written = None, skipped.end() if skipped else place, None
    for rule in RULES:
        found = rule.pattern.match(text, place)
        if found is not None and found.end() > length:
            best, length, written = found, found.end(), rule.written
    if best is None or written is None:
        return "", max(length, place + 1)
    end = best.end("t") if "t" in best.re.groupindex else best.end()
    return written(caption[place:end]), end


def common_words(said: str, wanted: str) -> float:
    """F1 of the words of two texts: 2 c / (a + b) for c common ones of a in the first and b in the second."""
    first, second = (Counter(tokenize_ptb(text).split()) for text in (said, wanted))
    common = (first & second).total()
    return 2 * common / (first.total() + second.total()) if common else 0.0
