"""The page that says where a change goes names files that are there, and registries as they are."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "where.md").read_text()


def named_paths() -> list[str]:
    return [
        path for path in re.findall(r"`((?:mmrs|converters|training)/[^`]+)`", PAGE) if not re.search("[A-Z]{4}", path)
    ]


def test_every_named_file_exists():
    paths = named_paths()
    assert len(paths) >= 15
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_folders_with_a_registration_register_each_of_their_objects():
    for folder, word in (
        ("mmrs/instructions/dialects", "register_dialect("),
        ("training/evaluation/tasks", "register_task("),
        ("training/evaluation/layouts", "register_layout("),
        ("training/evaluation/adapters", "register_adapter("),
        ("training/model/vision", "import "),
        ("training/model/language", "import "),
    ):
        assert f"`{folder}/`, registration" in PAGE
        assert word in (ROOT / folder / "__init__.py").read_text()
