"""Patterns of the PTB tokenizer, and how each token is written: found by asking the jar, not by reading its grammar.

The order decides between patterns that match equally far. `training.evaluation.captions.ptb` applies them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# Code points beyond ASCII, hexadecimal: symbols, which are tokens of their own, and the marks of scripts, which stand
# inside words. The jar's Unicode is that of 2012; what it does not know is dropped.
_SYMBOL_RANGES = """
    a1 a5-a9 ac ae-b4 b6-b9 bf d7 f7 37e 387 589 5be 5c0 5c3 5c6 5f3-5f4 600-603 606-60c 614 61b 61e-61f 66a 66d
    6d4 700-70d 7f6-7f8 964-965 e3f e4f 1fbd 2016-2017 201a 201e-2023 2030-2038 203b 203e-2042 2070 2074-207e
    2080-208e 20a4 2100-2101 2103-2106 2108-2109 2114 2116-2118 211e-2123 2125 2127 2129 212e 213a-213b 2140-2144
    214a-214d 214f 2155-215e 2190-2bff 3001-3002 3012 30fb ff01-ff0f ff1a-ff20 ff3b-ff40 ff5b-ff65 ffe0-ffe1
    ffe5-ffe6
"""
_MARK_RANGES = """
    2c2-2c5 2d2-2df 2e5-2eb 2ed 2ef-36f 375 378-379 384-385 3f6 483-487 55a-55f 591-5bd 5bf 5c1-5c2 5c4-5c5 5c7
    615-61a 64b-65e 670 6d6-6e4 6e7-6ed 6fd-6fe 70f 711 730-74c 7a6-7b0 7eb-7f3 900-903 93c 93e-94e 951-955
    962-963 981-983 9bc 9be-9c4 9c7-9c8 9cb-9cd 9d7 9e2-9e3 a01-a03 a3c a3e-a4f a81-a83 abc abe-acf b82 bbe-bc2
    bc6-bc8 bca-bcd c01-c03 c3e-c56 d3e-d44 d46-d48 e31 e34-e3a e47-e4e eb1 eb4-ebc ec8-ecd
"""


def _characters(ranges: str) -> str:
    """Hexadecimal ranges as the inside of a character class."""
    ends = [part.split("-") for part in ranges.split()]
    return "".join(f"\\u{first:0>4}-\\u{last:0>4}" for first, *rest in ends for last in [*rest, first][:1])


def _either(words: str) -> str:
    return "|".join(words.split())


_SYMBOLS = _characters(_SYMBOL_RANGES) + r"$\-'*>\\^`|~&#%+@<=/"
_MARKS = _characters(_MARK_RANGES)

# Tokens that are written otherwise.
_SPELLINGS = {
    "¼": "1/4", "½": "1/2", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "¢": "cents", "£": "#",
    "\x80": "$", "¤": "$", "₠": "$", "€": "$",
    "&amp;": "&", "&lt;": "<", "&gt;": ">",
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
}  # fmt: skip

_QUOTES = "‘-‟‹›«»\x91-\x94"
_QUOTES_AS_ASCII = {
    **dict.fromkeys("‘‛‹\x91", "`"), **dict.fromkeys("’›\x92", "'"),
    **dict.fromkeys("“«\x93", "``"), **dict.fromkeys("”»\x94", "''"),
}  # fmt: skip
_APOSTROPHE = r"(?:['’\x92]|&apos;)"
_ANY_APOSTROPHE = r"(?:['’\x92`‘‛\x91]|&apos;)"
_NO_LETTERS = r"\W\d_²³¹¼-¾⁰-₎⅐-↋①-⓿❶-➓〇〡-〩"
_LETTER = rf"[^{_NO_LETTERS}\x00]"
_WORD_LETTER = rf"(?:[^{_NO_LETTERS}\x00]|[{_MARKS}\u00ad]|&[aeiouAEIOU](?:acute|grave|uml);)"
_SPACE = r"[ \t\u00a0\u2000-\u200a\u3000]"
_HYPHEN = "[-_\u058a\u2010\u2011]"

_WORD = rf"{_WORD_LETTER}(?:{_WORD_LETTER}|\d)*(?:[.!?]{_WORD_LETTER}(?:{_WORD_LETTER}|\d)*)*"
_PART = rf"(?:[dDoOlL]{_ANY_APOSTROPHE}(?=(?:{_LETTER}|\d){{2}}))?(?:{_LETTER}|\d)+"
_HYPHENATED = rf"{_PART}(?:{_HYPHEN}{_PART})*"
_ACRONYM = r"[A-Za-z](?:\.[A-Za-z])*"
_LONG_ACRONYM = r"[A-Za-z](?:\.[A-Za-z])+"
_COMPOUND = rf"[A-Za-z0-9][A-Za-z0-9.,\u00ad]*(?:-(?:{_LONG_ACRONYM}\.|[A-Za-z0-9\u00ad]+))+"
_SLASHED_PART = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_SLASHED = rf"{_SLASHED_PART}(?:\\?/{_SLASHED_PART}){{1,2}}"
_NUMBER = r"[-+]?(?:\d*(?:[.:,\u00ad\u066b\u066c]\d+)+|\d+)"
_FRACTION = r"(?:\d{1,4}[- \u00a0])?\d{1,4}(?:\\?/|\u2044)\d{1,4}"
_DATE = r"\d{1,2}[-/]\d{1,2}[-/]\d{2,4}"
_TELEPHONE = (
    r"(?:\(\d{2,3}\)[ \u00a0]?|(?:\+\+?)?(?:\d{2,4}[- \u00a0])?\d{2,4}[- \u00a0])\d{3,4}[- \u00a0]?\d{3,5}"
    r"|(?:(?:\+\+?)?\d{2,4}\.)?\d{2,4}\.\d{3,4}\.\d{3,5}"
)
_CLITIC = rf"{_APOSTROPHE}(?:[msdMSD]|[rR][eE]|[vV][eE]|[lL][lL])"

_ATTRIBUTE = r"[A-Za-z][A-Za-z0-9_:.-]*(?:[ ]*=[ ]*(?:'[^'\"\n]*'|\"[^'\"\n]*\"))?"
_TAG = rf"<(?:[!?][A-Za-z-][^>\n]*|/?[A-Za-z][A-Za-z0-9:.-]*(?:[ ]+(?:{_ATTRIBUTE}|/))*[ ]*/?)>"

# A full stop after these belongs to them: titles and the like, and words that may also end a sentence.
_TITLES = """
    cf dr ft lt mr ms mt ph st vs wm adj adm adv ave cie col cpl det drs ens gen gov hon jos maj mme mrs pfc pvt rep
    rev sen sfc sgt spc ste alex asst atty attys brig capt cmdr comdr dept elec govs insp invt lieut messrs mlle
    msgr natl pres prof profs reps sens supt supts assoc
"""
_ABBREVIATIONS = """
    al co ct ga jr ky md mo rd rt sq sr va vt ala apr aug bhd cos dak dec esq est etc ext feb fla fri inc ind jan
    jul jun kan ltd mar mon neb nev nov oct plc sep seq sys tel thu tue wed wis wyo ariz assn bldg blvd bros calif
    colo conn corp intl kans mich minn mont okla penn sept tenn thurs tues univ wisc bancorp
"""
# These too where they begin with a capital, and where they do not end with one.
_CAPITALISED = "az la pa ark del ill ore tex mass miss wash"
_UNCAPITALISED = "mfg mtg pte pty ppte ppty ptes ptys"
# These only before a number.
_BEFORE_NUMBERS = "ca fig figs prop no nos art pp op"
_FIRST_CAPITAL = "|".join(f"{word[0].upper()}(?i:{word[1:]})" for word in _CAPITALISED.split())
_FIRST_ANY = "|".join(f"[{word[0]}{word[0].upper()}]{word[1:]}" for word in _UNCAPITALISED.split())
_ABBREVIATION = rf"(?:(?i:ed|ph)\.[dD]|(?i:{_either(_ABBREVIATIONS)})|{_FIRST_CAPITAL}|{_FIRST_ANY})\."
# A single letter with a full stop before one of these ends a sentence.
_SENTENCE_STARTS = """
    A About According After An As At But Earlier He Her Here However If In It Last Many More Mr\\. Ms\\. Now Once One
    Other Our She Since So Some Such That The Their Then There These They This We What When While Yet You
"""


def _as_it_is(text: str) -> str:
    return text


def _without_soft_hyphens(text: str) -> str:
    return text.replace("\u00ad", "")


def _with_parentheses(text: str) -> str:
    """Parentheses by name, blanks inside of a token as the blank that does not break."""
    return text.replace("(", "-lrb-").replace(")", "-rrb-").replace(" ", "\u00a0")


def _respelt(text: str) -> str:
    return _SPELLINGS[text.lower() if text.startswith("&") else text]


def _plain_apostrophe(text: str) -> str:
    return text.replace("’", "'").replace("\x92", "'").replace("&apos;", "'")


def _ascii_quotes(text: str) -> str:
    return "".join(_QUOTES_AS_ASCII.get(character, character) for character in text)


def _hyphen(text: str) -> str:
    """Punctuation, which the COCO tools remove: which mark it was is the same to them."""
    return "-"


@dataclass(frozen=True, slots=True)
class TokenRule:
    """A token (group ``t`` where the pattern looks ahead, else all of it) and how it is written."""

    pattern: re.Pattern[str]
    written: Callable[[str], str]


def _rule(pattern: str, written: Callable[[str], str] = _without_soft_hyphens) -> TokenRule:
    return TokenRule(re.compile(pattern), written)


RULES = (
    _rule(_TAG, _with_parentheses),
    _rule(r"&(?i:md|mdash|ndash);|[\x96\x97–—―]|-{2,4}(?!-)", _hyphen),
    _rule(r"-{5,}"),
    _rule(r"&(?i:amp|lt|gt);", _respelt),
    _rule(r"&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|#\d+);"),
    # Clitics and words that are two.
    _rule(r"(?P<t>(?i:can))(?i:not)(?![A-Za-z])"),
    _rule(r"(?P<t>(?i:gon|wan))(?i:na)(?![A-Za-z])"),
    _rule(r"(?P<t>(?i:got))(?i:ta)(?![A-Za-z])"),
    _rule(r"(?P<t>(?i:gim|lem))(?i:me)(?![A-Za-z])"),
    _rule(r"(?P<t>'[tT])(?i:is|was)"),
    _rule(rf"(?P<t>{_WORD}|{_HYPHENATED}){_CLITIC}"),
    _rule(rf"(?P<t>[A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*)[nN]{_ANY_APOSTROPHE}[tT]"),
    _rule(rf"(?P<t>{_CLITIC})[^A-Za-z]", _plain_apostrophe),
    _rule(rf"[nN]{_ANY_APOSTROPHE}[tT]", _plain_apostrophe),
    _rule(
        rf"{_APOSTROPHE}(?i:n){_APOSTROPHE}?|(?i:[ldj]|dunkin|somethin|ol){_APOSTROPHE}"
        rf"|{_APOSTROPHE}(?i:em|till?|cause)|(?i:c{_APOSTROPHE}mon|c{_APOSTROPHE}est|o{_APOSTROPHE}clock)"
        rf"|['’\x92]\d0[sS]|[oO]{_APOSTROPHE}[oO]"
    ),
    # Before a word of two letters this opens a quotation.
    _rule(r"(?P<t>')[A-Za-z][^ \t\n\u00a0]", _hyphen),
    _rule(_CLITIC, _plain_apostrophe),
    _rule(rf"(?P<t>{_APOSTROPHE}\d\d)(?:{_SPACE}|\n)"),
    _rule(rf"(?P<t>[yY]{_APOSTROPHE})[A-Za-z]"),
    _rule(rf"[A-HJ-XZn]{_ANY_APOSTROPHE}{_LETTER}{{2,}}"),
    _rule(rf"{_LETTER}+[aeiouyAEIOUY]{_ANY_APOSTROPHE}[aeiouA-Z]{_LETTER}*"),
    # Addresses and names.
    _rule(r"https?://[^ \t\n\f\r\"<>|(){}]+[^ \t\n\f\r\"<>|.!?(){},-]", _as_it_is),
    _rule(
        r"(?:www\.(?:[^ \t\n\f\r\"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}"
        r"|(?:[^ \t\n\f\r\"`'<>|!?(){},-_$]+\.)+(?:com|net|org|edu))"
        r"(?:/[^ \t\n\f\r\"<>|()]+[^ \t\n\f\r\"<>|.!?(){},-])?",
        _as_it_is,
    ),
    _rule(
        r"(?:&lt;|<)?[a-zA-Z0-9][^ \t\n\f\r\"<>|(){}\u00a0]*@(?:[^ \t\n\f\r\"<>|(){}.\u00a0]+\.)*"
        r"[^ \t\n\f\r\"<>|(){}.\u00a0]+(?:&gt;|>)?",
        _as_it_is,
    ),
    _rule(rf"@[a-zA-Z_][a-zA-Z_0-9]*|#{_WORD_LETTER}+", _as_it_is),
    _rule(
        rf"(?:{_LETTER}|\d)+(?:\.(?:{_LETTER}|\d)+)*"
        r"\.(?i:bat|bmp|c|cgi|class|cpp|dll|docx?|exe|gif|gz|html?|h|jar|java|jpe?g|mov|pdf|php|pl|png|ppt|ps|py|sql|tar|txt"
        r"|wav|xml|x|zip)(?=[ \t\n\u00a0.?!,\"<])"
    ),
    # Numbers.
    _rule(_TELEPHONE, _with_parentheses),
    _rule(rf"{_DATE}|{_FRACTION}", _with_parentheses),
    _rule(_NUMBER),
    _rule(r"[\u207a\u207b\u208a\u208b]?(?:[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+)"),
    _rule(r"[A-Z]*\$|#+"),
    # Words.
    _rule(_WORD),
    _rule(_HYPHENATED),
    _rule(rf"(?i:{_either(_TITLES)})\."),
    # What two characters follow decides: as long as a word of six letters is "inc." before two more.
    _rule(rf"(?P<t>{_ABBREVIATION})(?s:..)"),
    _rule(rf"(?P<t>(?i:{_either(_BEFORE_NUMBERS)})\.){_SPACE}?\d"),
    _rule(rf"{_ACRONYM}\."),
    _rule(rf"(?P<t>[A-Za-z])\.{_SPACE}+(?:{_either(_SENTENCE_STARTS)}|{_TAG})(?:{_SPACE}|\n)"),
    _rule(rf"(?P<t>(?:{_WORD}|{_HYPHENATED}|{_COMPOUND})\.)[,;:、]"),
    _rule(r"[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+", lambda text: text.replace("&amp;", "&")),
    _rule(_SLASHED),
    _rule(_COMPOUND),
    _rule(r"[cC]\+\+|[cCfF]#"),
    # Faces.
    _rule(r"(?P<t>[<>]?[:;=][-o*']?[()\[\]{DPdpO\\@|])[^A-Za-z0-9]", _with_parentheses),
    _rule(
        r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)",
        _with_parentheses,
    ),
    # Punctuation and symbols.
    _rule(rf"[`{_QUOTES}]{{1,2}}", _ascii_quotes),
    _rule(r"\.{3,5}|(?:\.[ \u00a0]){2,4}\.|''|[…\x85.,;:\"'-]|&(?:apos|quot);", _hyphen),
    _rule(r"[!?]+"),
    _rule(r"\*+|_+|@+|(?:\\\*)+|<<|>>|&(?:APOS|QUOT);"),
    _rule(r"[()\[\]{}¢£\x80¤₠€¼½¾⅓⅔]", _respelt),
    _rule(rf"[{_SYMBOLS}]"),
)

BLANKS = re.compile(rf" {_SPACE}*")
SKIPPED = re.compile(rf"{_SPACE}+|\x00|(?i:&nbsp;)")
# Most words of most captions: letters up to a blank, and none of the words that are two.
PLAIN_WORD = re.compile(r"(?!(?i:cannot|gonna|wanna|gotta|gimme|lemme)\b)[A-Za-z]+(?=,?[ \n])")
KNOWN_CHARACTER = re.compile(
    rf"{_LETTER}|\d|[{_MARKS}{_SYMBOLS}{_QUOTES}]|{_SPACE}|{_HYPHEN}"
    r"|[\u00ad\x80\x85\x96\x97\u2013-\u2015\u2026\u066b\u066c\u2044¢£¤\u20a0\u20ac¼½¾⅓⅔]"
)
