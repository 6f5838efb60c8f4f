"""`mmrs chat`: several turns, an image at a time, boxes drawn; answers are those of the engine."""

from click.testing import CliRunner
from PIL import Image

from cli import main
from mmrs.instructions.dialects import dialect
from training.model.inputs.conversation import Conversation
from training.serving.chat import HELP, ChatSession, run_command
from training.serving.engine import Finished, Sampling, TextPiece


def said_by(engine, turns, scene, tokens):
    images = ((scene,), *[()] * (len(turns) // 2))
    return list(engine.answer(Conversation(tuple(turns), images), Sampling(tokens)))[-1].text


def test_the_command_talks_as_the_engine_does(served_folder, engine, scene, tmp_path):
    scene.save(tmp_path / "scene.png")
    typed = "Where?\n\nSure?\n/detect ship\n/unknown\n/image absent.png\n/quit\nnever\n"
    words = ["chat", str(served_folder), str(tmp_path / "scene.png"), "--max-tokens", "6", "--device", "cpu"]
    done = CliRunner().invoke(main, words, input=typed, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    first = said_by(engine, [("human", "Where?")], scene, 6)
    second = said_by(engine, [("human", "Where?"), ("gpt", first), ("human", "Sure?")], scene, 6)
    detect = ("human", "Detect ships shown in the image using horizontal bounding boxes.")
    third = said_by(
        engine, [("human", "Where?"), ("gpt", first), ("human", "Sure?"), ("gpt", second), detect], scene, 6
    )
    from mmrs.text import harmless

    expected = ["scene.png: 90 x 60 pixels", *map(harmless, (first, second, third))]
    place = 0
    for text in expected:
        assert text in done.output[place:]
        place = done.output.index(text, place) + len(text)
    assert HELP in done.output and "error: there is no image absent.png" in done.output


class Told:
    def __init__(self, text):
        self.text = text

    def answer(self, conversation, sampling):
        yield TextPiece(self.text)
        yield Finished(self.text, "stop", 1, 1)


def test_boxes_are_drawn_where_the_answer_says(tmp_path):
    Image.new("L", (100, 60), 9).save(tmp_path / "scene.png")
    session = ChatSession(Told("There is <p>one ship</p>[0.100,0.300,0.500,0.600]."), dialect("mmrs"))
    told = []
    run_command(session, f"/boxes {tmp_path / 'early.png'}", told.append)
    assert "no answer about an image yet" in told[-1]
    for line in (f"/image {tmp_path / 'scene.png'}", "Where?", f"/boxes {tmp_path / 'boxes.png'}"):
        assert run_command(session, line, told.append)
    assert told[-1].startswith("1 boxes in")
    with Image.open(tmp_path / "boxes.png") as drawn:
        assert drawn.size == (100, 60) and drawn.getpixel((10, 20)) == (255, 127, 14) != drawn.getpixel((80, 50))
    mine = (tmp_path / "scene.png").read_bytes()
    for name, reason in (("scene.png", "there already"), ("boxes", "no picture has the suffix")):
        assert run_command(session, f"/boxes {tmp_path / name}", told.append) and reason in told[-1]
    assert (tmp_path / "scene.png").read_bytes() == mine and not (tmp_path / "boxes").exists()
    assert run_command(session, f"/boxes {tmp_path / 'boxes.png'}", told.append) and told[-1].startswith("1 boxes in")
    assert run_command(session, "/reset", told.append) and session.turns == []
    assert not run_command(session, "/quit", told.append)
