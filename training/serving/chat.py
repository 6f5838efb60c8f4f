"""A chat on a terminal: text as it comes, several turns, an image at a time, boxes drawn on request."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw

from mmrs.errors import RunFailure, UserError
from mmrs.instructions import prompts
from mmrs.instructions.dialects import Dialect
from mmrs.storage.atomic import write_atomic
from training.model.inputs.conversation import ChatTurn, Conversation
from training.serving.engine import AnswerEngine, Finished, PromptTooLong, Sampling
from training.serving.found_boxes import NamedBox, found_boxes
from training.serving.pictures import open_file

HELP = """/image PATH     look at another image; a new conversation begins
/detect NAME    detect one class: /detect ship
/boxes OUT.png  draw the boxes of the last answer
/reset          begin again with the same image
/quit           leave"""


@dataclass
class ChatSession:
    """A conversation with one engine.

    Args:
        engine: that answers.
        dialect: in which the model writes boxes.
        sensor: of the images.
        sampling: of every answer.
    """

    engine: AnswerEngine
    dialect: Dialect
    sensor: str = "optical"
    sampling: Sampling = field(default_factory=Sampling)
    picture: Image.Image | None = None
    turns: list[ChatTurn] = field(default_factory=list)
    _drawn: set[Path] = field(default_factory=set)

    def look(self, path: Path) -> str:
        """Take another image and begin anew; says what it is. Raises UserError where it cannot be read."""
        self.picture = open_file(path, self.sensor).whole()
        self.turns.clear()
        return f"{path.name}: {self.picture.width} x {self.picture.height} pixels"

    def ask(self, question: str) -> Iterator[str]:
        """The answer as it comes; it is part of the conversation once it is whole.

        Raises:
            UserError: the conversation is too long for the model.
            RunFailure: the model failed.
        """
        turns = (*self.turns, ("human", question))
        questions = (len(turns) + 1) // 2
        first = () if self.picture is None else (self.picture,)
        conversation = Conversation(turns, (first, *[()] * (questions - 1)))
        try:
            for event in self.engine.answer(conversation, self.sampling):
                if not isinstance(event, Finished):
                    yield event.text
                elif event.reason == "failed":
                    raise RunFailure(f"the model failed: {event.text}")
                else:
                    self.turns = [*turns, ("gpt", event.text)]
        except PromptTooLong as error:
            raise UserError(f"{error}; type /reset to begin again") from error

    def boxes(self) -> list[NamedBox]:
        """Those of the last answer, in pixels of the image. Raises UserError without answer or image."""
        if self.picture is None or not self.turns:
            raise UserError("there is no answer about an image yet; type /image PATH, then /detect ship")
        return found_boxes(self.turns[-1][1], self.picture.width, self.picture.height, self.dialect)

    def draw(self, out: Path) -> int:
        """Write the image with the boxes of the last answer; returns their number.

        Raises:
            UserError: as `boxes`; a file is there that this chat did not draw, or no picture has such a suffix.
        """
        boxes = self.boxes()
        if os.path.lexists(out) and out not in self._drawn:
            raise UserError(f"{out} is there already, and not of this chat; name a new file")
        form = Image.registered_extensions().get(out.suffix.lower())
        if form not in Image.SAVE:
            raise UserError(f"{out}: no picture has the suffix {out.suffix!r}; name a .png")
        drawn = self.picture.convert("RGB") if self.picture is not None else Image.new("RGB", (1, 1))
        drawing = ImageDraw.Draw(drawn)
        width = max(1, round(max(drawn.size) / 400))
        for box in boxes:
            drawing.polygon([*box.quad], outline="#ff7f0e", width=width)
            drawing.text(box.quad[0], box.name, fill="#ff7f0e")
        content = BytesIO()
        drawn.save(content, form)
        write_atomic(out, content.getvalue())
        self._drawn.add(out)
        return len(boxes)


def run_command(session: ChatSession, line: str, say: Callable[[str], None]) -> bool:
    """Obey one line of a user; False where the chat ends. Mistakes are said and end nothing."""
    word, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    try:
        if word in ("/quit", "/exit"):
            return False
        if word == "/image" and rest:
            say(session.look(Path(rest).expanduser()) + "\n")
        elif word == "/boxes" and rest:
            say(f"{session.draw(Path(rest).expanduser())} boxes in {rest}\n")
        elif word == "/reset":
            session.turns.clear()
        elif word == "/detect" and rest:
            _say_answer(session, prompts.DETECTION_CLASS["detection-hbb"].format(plural=prompts.plural(rest)), say)
        elif word.startswith("/"):
            say(HELP + "\n")
        elif line.strip():
            _say_answer(session, line.strip(), say)
    except (UserError, RunFailure, OSError, ValueError) as error:
        say(f"error: {error}\n")
    return True


def _say_answer(session: ChatSession, question: str, say: Callable[[str], None]) -> None:
    for text in session.ask(question):
        say(text)
    say("\n")
