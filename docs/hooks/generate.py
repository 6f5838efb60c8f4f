"""Pages and drawings that are made from the code whenever the site is built, so that they cannot grow old.

The reference (`reference.pages`) and the notebooks are whole pages; the drawings take the place of
``<!-- drawing: NAME -->`` in a page. Nothing of it is committed. `mkdocs-gen-files` would add the pages alike; mkdocs
itself can since 1.6, so it is no dependency.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

# mkdocs loads a hook by its path; what lies beside it and the project itself are found from the project's folder.
sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.hooks.drawings import DRAWINGS
from docs.hooks.notebooks import notebook_pages
from docs.hooks.reference.pages import PAGES

_PLACE = re.compile(r"<!-- drawing: ([\w-]+) -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from the code."""
    for name, page in PAGES.items():
        files.append(File.generated(config, name, content=page()))
    for name, content in notebook_pages().items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the drawings into their places. Raises `PluginError` for one that there is not."""
    return _PLACE.sub(_drawing, markdown)


def _drawing(place: re.Match[str]) -> str:
    name = place[1]
    if name not in DRAWINGS:
        raise PluginError(f"there is no drawing {name!r}; docs/hooks/drawings.py has {', '.join(DRAWINGS)}")
    return f'<div class="drawing">{DRAWINGS[name]()}</div>'
