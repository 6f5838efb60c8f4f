"""Notebooks as pages: text, code, and the outputs that they were saved with. A test runs them, not the site.

mkdocs-jupyter does the same; its pages fetch scripts of others when they are read, which ours must not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def notebook_pages() -> dict[str, str]:
    """Place in the site -> Markdown, for every notebook."""
    return {f"notebooks/{path.stem}.md": notebook_page(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


def notebook_page(path: Path) -> str:
    """One notebook as Markdown."""
    notebook: Any = nbformat.read(path, as_version=4)
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
        else:
            parts.append(f"```python\n{cell.source}\n```")
            parts += [_output(output) for output in cell.outputs]
    return "\n\n".join(parts) + "\n"


def _output(output: Any) -> str:
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```"
    data = output.get("data", {})
    if "image/png" in data:
        return f"![Output of the cell above](data:image/png;base64,{data['image/png'].strip().replace(chr(10), '')})"
    return f"```text\n{data.get('text/plain', '').rstrip()}\n```"
