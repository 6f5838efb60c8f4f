"""Text for the terminal: nothing of a stranger's name is obeyed."""

import io
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from mmrs.text import HarmlessOutput, harmless, harmless_name, table


@given(st.text(st.characters()))
def test_what_is_printed_can_be_encoded_and_moves_no_cursor(text):
    for shown in (harmless(text), harmless_name(text)):
        shown.encode()
        assert not any(
            unicodedata.category(letter) in ("Cc", "Cs") for letter in shown.replace("\t", "").replace("\n", "")
        )
    assert harmless_name(text).split() == harmless(text).replace("\t", "\\u0009").replace("\n", "\\u000a").split()


def test_marks_of_direction_are_written_out():
    for mark in (0x202E, 0x2066, 0x200F, 0x061C, 0x2028, 0x9B):
        assert harmless(f"a{chr(mark)}gpj.exe") == f"a\\u{mark:04x}gpj.exe"


def test_plain_text_of_any_language_stays():
    for text in ("Zürich 北京 القاهرة", "a\tb\nc", "e\u0301"):
        assert harmless(text) == text


def test_a_stream_writes_harmless_text_and_is_else_itself():
    stream = io.StringIO()
    output = HarmlessOutput(stream)
    print("a\x1b[31mb", file=output)
    assert stream.getvalue() == "a\\u001b[31mb\n"
    assert not output.isatty()


def test_a_cell_of_a_table_has_a_bound():
    assert len(table(["name", "count"], [["n" * 1_000_000, 1]])) < 2000
