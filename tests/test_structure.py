"""The shape of the house, tested like behaviour: floors, circles, sizes of folders, names, and what no module may hold.

A rule that code in work still breaks is listed under `PENDING`, with the way out. An entry that no longer occurs fails
its test, so that the list only shrinks.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping

import pytest

from tests.support.structure import PACKAGES, ROOT, all_modules, between_parts, circles, import_graph

MODULES = all_modules()
GRAPH = import_graph(MODULES)
MOST_MODULES = 12

TARGETS = {"mmrs": {"mmrs"}, "converters": {"mmrs", "converters"}, "training": {"mmrs", "training"}}

# What lies in a package, from the ground up. A part imports from lower floors alone; "__init__" is the package's own.
FLOORS = {
    "mmrs": (
        {"text"},
        {"__init__", "errors", "geometry", "installation", "progress", "seeding"},
        {"config", "engines", "polygons", "row_tables", "storage"},
        {"record"},
        {"instructions", "source"},
        {"imaging"},
        {"shards"},
        {"data_set"},
        {"builder", "curation", "export", "fetch", "hub", "release", "report", "verify"},
        {"viewer"},
        {"commands", "model"},
        {"__main__"},
    ),
    "converters": (
        {"catalog"},
        {"base", "layout"},
        {"__init__", "formats", "options", "splits", "tiled"},
        {"boxes", "mirrors"},
        {"captioning", "classification", "detection", "grounding", "own_data", "vqa"},
        {"resolve", "samples", "wrong_folder"},
        {"scan"},
        {"describe", "downloads"},
        {"commands"},
    ),
    "training": (
        {"__init__", "recipes"},
        {"config"},
        {"model"},
        {"data"},
        {"evaluation", "stages"},
        {"serving", "step"},
        {"report"},
        {"run"},
        {"commands"},
    ),
}
# Beside the floors: these work on models and data, whoever made them, and serve the two at the top alone.
USED_BY = {"training.evaluation": {"serving", "run", "commands"}, "training.serving": {"run", "commands"}}

# Folders with one file per source, format or sample: as long as the list of these.
CATALOGUES = {
    f"converters/{name}"
    for name in ("captioning", "classification", "detection", "formats", "grounding", "samples", "vqa")
}

# One protocol that several modules implement, or a command beside what it runs: one name by right.
SHARED_NAMES = {
    "write": "each generator of converters.samples",
    "EarthGPTConfig": "mmrs.model hands it on",
    "EarthGPTForConditionalGeneration": "mmrs.model hands it on",
    "EarthGPTProcessor": "mmrs.model hands it on",
    "hugging_face_state": "each vision encoder of training.model.vision",
    "DIALECT": "each box dialect of mmrs.instructions.dialects",
}

# By rule: what still breaks it, and the way out. Names alone for the rule of names, so that a move changes nothing.
PENDING: dict[str, dict[str, str]] = {
    "floors": {},
    "circles": {},
    "sizes": {},
    "prefixes": {},
    "names": {},
    "asserts": {},
}


def check(rule: str, found: Mapping[str, object]) -> None:
    """Fails on what is found and not pending, and on what is pending and not found; `found` says where."""
    new = {name: where for name, where in found.items() if name not in PENDING[rule]}
    assert new == {}, f"against the rule of {rule}"
    assert sorted(PENDING[rule].keys() - found.keys()) == [], f"mended: take these from PENDING[{rule!r}]"


def test_packages_import_downwards():
    """cli -> training, converters -> mmrs."""
    upward = [
        f"{name} -> {target}"
        for name, targets in GRAPH.items()
        for target in targets
        if name != "cli" and target.partition(".")[0] not in TARGETS[name.partition(".")[0]]
    ]
    assert upward == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_part_of_a_package_has_a_floor(package):
    known = set().union(*FLOORS[package])
    assert sorted(between_parts(package, GRAPH).keys() - known) == [], "put it on a floor of FLOORS"


def test_floors_inside_of_packages():
    upward = {}
    for package, floors in FLOORS.items():
        level = {part: number for number, parts in enumerate(floors) for part in parts}
        for name, targets in GRAPH.items():
            for target in targets:
                if name.partition(".")[0] != package or target.partition(".")[0] != package:
                    continue
                here, there = ((f"{module}.__init__").split(".")[1] for module in (name, target))
                users = USED_BY.get(f"{package}.{there}", {here})
                if here != there and (level[there] >= level[here] or here not in users):
                    upward[f"{name} -> {target}"] = f"{here} is on floor {level[here]}, {there} on {level[there]}"
    check("floors", upward)


def test_no_circle():
    """Neither between modules nor between the parts of any folder; imports for type checkers count."""
    found = {f"modules: {', '.join(circle)}": "a circle" for circle in circles(GRAPH)}
    for folder in sorted({module.folder.replace("/", ".") for name, module in MODULES.items() if name != "cli"}):
        parts = circles(between_parts(folder, GRAPH))
        found |= {f"{folder}: {', '.join(circle)}": "a circle" for circle in parts}
    check("circles", found)


def stems_by_folder() -> dict[str, list[str]]:
    stems = defaultdict(list)
    for module in MODULES.values():
        if module.path.name != "__init__.py" and module.name != "cli":
            stems[module.folder].append(module.path.stem)
    return stems


def test_folders_are_small():
    sizes = {folder: len(stems) for folder, stems in stems_by_folder().items() if folder not in CATALOGUES}
    check("sizes", {folder: count for folder, count in sizes.items() if count > MOST_MODULES})


def test_a_prefix_of_three_files_is_a_folder():
    """But for sources whose own names share it."""
    from converters.catalog import names

    sources = {name.replace("-", "_") for name in names()}
    found: dict[str, object] = {}
    for folder, stems in stems_by_folder().items():
        prefixes = defaultdict(list)
        for stem in stems:
            prefixes[stem.partition("_")[0]].append(stem)
        found |= {f"{folder}: {p}": same for p, same in prefixes.items() if len(set(same) - sources) > 2}
    check("prefixes", found)


def test_no_public_name_has_two_meanings():
    """A name that only its module uses has an underscore. A command's function is named as what it runs."""
    modules = defaultdict(list)
    for module in MODULES.values():
        if module.name != "cli" and ".commands" not in module.name:
            for name in module.public_names() - SHARED_NAMES.keys():
                modules[name].append(module.name)
    check("names", {name: found for name, found in modules.items() if len(found) > 1})


def test_what_is_shared_by_right_is_shared():
    defined = [name for module in MODULES.values() for name in module.public_names()]
    assert [name for name in SHARED_NAMES if defined.count(name) < 2] == []


def test_no_assert_and_no_bare_except():
    """`python -O` drops an assertion, and a user should read what to do."""
    found: dict[str, object] = {}
    bare = []
    for module in MODULES.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Assert):
                found[module.name] = node.lineno
            if isinstance(node, ast.ExceptHandler) and node.type is None:
                bare.append(f"{module.name}:{node.lineno}")
    check("asserts", found)
    assert bare == []


def test_every_module_says_what_it_is():
    assert [name for name, module in MODULES.items() if not ast.get_docstring(module.tree)] == []


@pytest.mark.nightly
@pytest.mark.parametrize("target", ["training.run.train", "training.evaluation.run"])
def test_a_node_with_torch_and_transformers_alone_can_train_and_score(target):
    """Nothing of the data side is imported, nor what only a picture or an extra needs."""
    heavy = {"rasterio", "shapely", "polars", "datasets", "webdataset", "converters", "matplotlib", "tensorboard"}
    code = f"import sys, {target}; print(sorted({heavy!r} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert shown.stdout.strip() == "[]", shown.stderr
