"""A sentence that tells a user what to do stands in one module: the next one who needs it calls that."""

import ast
import re
from collections import defaultdict
from pathlib import Path

CONVERTERS = Path(__file__).resolve().parents[2] / "converters"
ADVICE = re.compile(
    r"(`mmrs |\b(add|choose|delete|download|get|install|mend|move|name|put|read|remove|rename|run|set|take|unpack|use"
    r"|wait|write) )",
    re.IGNORECASE,
)


def messages(tree):
    """Texts of a module that are no docstrings; what varies in them is ``{}``."""
    bodies = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documented = [node.body[0] for node in ast.walk(tree) if isinstance(node, bodies) and node.body]
    left_out = {id(part.value) for part in documented if isinstance(part, ast.Expr)}
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    left_out |= {id(value) for node in joined for value in node.values}
    for node in joined:
        yield "".join(str(value.value) if isinstance(value, ast.Constant) else "{}" for value in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in left_out:
            yield node.value


def test_no_advice_is_written_twice():
    found = defaultdict(set)
    for path in CONVERTERS.rglob("*.py"):
        for message in messages(ast.parse(path.read_text(encoding="utf-8"))):
            for sentence in re.split(r"(?<=[.;:])\s+|\n", message):
                if len(re.findall(r"[A-Za-z]{2,}", sentence)) >= 4 and ADVICE.search(sentence):
                    found[sentence.strip(" .;:,").lower()].add(path.relative_to(CONVERTERS).as_posix())
    assert {sentence: sorted(paths) for sentence, paths in found.items() if len(paths) > 1} == {}
    assert sum("download it again" in sentence for sentence in found) <= 3
