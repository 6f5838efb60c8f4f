"""How a dialogue is written: in EarthGPT's plain form, or as an instruct model was taught by its own chat template.

One sequence is: BOS, `opening`, the image's slots if there is one, then the turns. The image stands behind the opening,
for all dialogues of one image share what precedes them. A chat template is rendered once, when a model is assembled,
and cut into the pieces around its texts: a template can hold today's date, and a run must read the same every day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

PLAIN, CHAT = "plain", "chat"
# A piece of text, and whether special tokens are read in it: in none that a user wrote.
Piece = tuple[str, bool]
_QUESTION, _ANSWER, _NEXT = "FirstQuestion7", "FirstAnswer7", "SecondQuestion7"
_MOST_CHARACTERS = 20_000


@dataclass(frozen=True)
class DialogueForm:
    """What stands around the texts of a dialogue; the token `stop` ends each answer, the tokenizer's EOS where it is
    empty."""

    opening: str = ""
    before_question: str = "Human: "
    after_question: str = "\nAssistant:"
    before_answer: str = " "
    between: str = ""
    stop: str = ""
    with_tokens: bool = False
    """Whether the pieces hold special tokens, and are read apart from the texts."""

    def question(self, text: str, first: bool) -> list[Piece]:
        """A human's turn up to where the answer begins.

        Args:
            first: it is the dialogue's first.
        """
        if not self.with_tokens:
            return [(f"{self.before_question}{text}{self.after_question}", False)]
        before = [] if first else [(self.between, True)]
        return [*before, (text, False), (self.after_question, True)]

    def question_parts(self, text: str, first: bool, asks: bool) -> tuple[list[Piece], list[Piece]]:
        """A human's turn as what stands before its images, and what stands behind them.

        Args:
            first: it is the dialogue's first.
            asks: up to where the answer begins; otherwise to the end of its text.
        """
        pieces = self.question(text, first)
        before = pieces[:-2]
        if asks:
            return before, pieces[len(before) :]
        return before, [(f"{self.before_question}{text}", False)]

    def answer(self, text: str) -> str:
        """An answer without the token that ends it."""
        return f"{self.before_answer}{text}"


PLAIN_FORM = DialogueForm()


def stored_form(fields: Mapping[str, Any]) -> DialogueForm:
    """The form of the plain data in a processor's file. Raises ValueError where it is none."""
    known = {name: str for name in ("opening", "before_question", "after_question", "before_answer", "between", "stop")}
    kinds: dict[str, type] = known | {"with_tokens": bool}
    if fields.keys() != kinds.keys() or any(not isinstance(fields[name], kind) for name, kind in kinds.items()):
        raise ValueError(f"chat has the fields {', '.join(sorted(fields))}; copy the model's folder again")
    return DialogueForm(**fields)


def chat_form(tokenizer: PreTrainedTokenizerBase) -> DialogueForm | None:
    """The form of a tokenizer's own chat template, cut at its texts; None where it has no template.

    Raises:
        ValueError: the template does not write every turn alike, or no token ends an answer.
    """
    if not tokenizer.chat_template:
        return None
    asked = [{"role": "user", "content": _QUESTION}]
    answered = [*asked, {"role": "assistant", "content": _ANSWER}]
    prompt = _rendered(tokenizer, asked, prompt=True)
    opening, after_question = _cut(prompt, _QUESTION)
    _, answer_side = _cut(_rendered(tokenizer, answered, prompt=False), _QUESTION)
    before_answer, _ = _cut(answer_side, _ANSWER)
    followed = _rendered(tokenizer, [*answered, {"role": "user", "content": _NEXT}], prompt=True)
    _, rest = _cut(followed, _ANSWER)
    between, again = _cut(rest, _NEXT)
    if again != after_question:
        raise ValueError(f"its chat template asks a second time by {again!r} and at first by {after_question!r}")
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    stop = max((token for token in special if between.startswith(token)), key=len, default="")
    if not stop:
        raise ValueError(f"no special token ends an answer in its chat template, but {between[:20]!r}")
    return DialogueForm(
        opening=opening.removeprefix(str(tokenizer.bos_token or "")),
        before_question="",
        after_question=after_question,
        before_answer=before_answer.removeprefix(after_question) if before_answer.startswith(after_question) else "",
        between=between.removeprefix(stop),
        stop=stop,
        with_tokens=True,
    )


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], prompt: bool) -> str:
    try:
        text = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=prompt,
            enable_thinking=False,
            date_string="26 Jul 2024",
        )
    except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"its chat template cannot be rendered: {type(error).__name__} {error}"[:300]) from error
    if not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
        raise ValueError("its chat template writes no text, or one of more than 20,000 characters")
    return text


def _cut(text: str, word: str) -> tuple[str, str]:
    before, found, after = text.partition(word)
    if not found or word in after:
        raise ValueError(f"its chat template writes a turn {text.count(word)} times, not once")
    return before, after
