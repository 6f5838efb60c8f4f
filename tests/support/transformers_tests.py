"""The common tests of transformers for a model and for a processor, from its own source distribution.

`make test-nightly` puts them beside the installed packages. The distribution leaves out three modules that they import:
the helper that looks for files of the Hub on disk, and the mixins for exporters and for `generate`.
"""

import importlib
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(sys.prefix) / "transformers-tests"
PACKAGE = "transformers_tests"


def common_tests(module):
    """A module of the distribution's ``tests`` folder, such as "test_modeling_common"; skips where there is none."""
    pytest.importorskip("parameterized", reason="the common tests of transformers need parameterized")
    if not (FOLDER / PACKAGE).is_dir():
        pytest.skip(
            "the common tests of transformers are not there; make test-nightly fetches them", allow_module_level=True
        )
    if str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
    for name, contents in (
        ("fetch_hub_objects_for_ci", {"url_to_local_path": _picture}),
        (f"{PACKAGE}.exporters", {}),
        (f"{PACKAGE}.exporters.test_export", {"ExportTesterMixin": object}),
        (f"{PACKAGE}.generation", {}),
        (f"{PACKAGE}.generation.test_utils", {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})}),
    ):
        sys.modules.setdefault(name, _module(name, contents))
    return importlib.import_module(f"{PACKAGE}.{module}")


def _module(name, contents):
    module = ModuleType(name)
    vars(module).update(contents)
    return module


@cache
def _picture(url):
    """A picture on disk in the place of any of the Hub: addresses are none that a processor of ours opens."""
    path = Path(tempfile.mkdtemp()) / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    return str(path)
