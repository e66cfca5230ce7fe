"""Imports go one way, and each outside package has one door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "zoo").rglob("*.py"), *(ROOT / "benchmark").rglob("*.py")])

# From the bottom up, folders and the few files beside them. A file imports what lies in lower layers, and of its own
# folder what does not import it back.
LAYERS = [
    {"cleaning", "reporting", "replacing", "cache", "config", "counting", "units"},
    {"types"},
    {"host", "imaging", "profilers", "protocols", "results"},
    {"backends", "metrics", "standin"},
    {"conditions", "layout"},
    {"datasets"},
    {"costs"},
    {"leaderboard", "selection"},
    # Measuring and scoring run images in tiles.
    {"fullres"},
    {"htmlpage", "scoring", "timing"},
    {"datacheck", "regression", "training"},
    {"catalogue", "running", "sweeping"},
    {"cli"},
]
DOORS = {
    "click": {"benchmark.cli"},
    "yaml": {"benchmark.config"},
    "tabulate": {"benchmark.leaderboard", "benchmark.regression.rendering"},
    "rich": {"benchmark.cli.console"},
    "pydantic": {
        "benchmark.types",
        "benchmark.config",
        "benchmark.results.records",
        "benchmark.leaderboard.published",
        "benchmark.regression.baseline",
        "benchmark.regression.thresholds",
        "benchmark.training.recipe",
        "benchmark.sweeping.settings",
    },
    "filelock": {
        "benchmark.results.jsonl",
        "benchmark.results.store",
        "benchmark.standin.cache",
        "benchmark.sweeping.sweep",
    },
    "platformdirs": {"benchmark.cache"},
    "safetensors": {"zoo.weights"},
    "thop": {"benchmark.costs.audit"},
    "ptflops": {"benchmark.costs.audit"},
    "fvcore": {"benchmark.costs.audit"},
    "pytorch_msssim": {"benchmark.training.losses"},
    "skimage": {"benchmark.standin.photographs"},
    "h5py": {"benchmark.imaging.matfiles"},
    "lightning_fabric": {"benchmark.training"},
    "jinja2": {"benchmark.htmlpage.page"},
    "markupsafe": {"benchmark.htmlpage.page"},
    "plotly": {"benchmark.htmlpage.page"},
    "matplotlib": {"benchmark.training.logbook", "benchmark.sweeping.figures"},
    "ray": {"benchmark.sweeping.engines"},
    "timm": {"benchmark.training.losses", "benchmark.training"},
    "cv2": {"benchmark.scoring.fastmetrics"},
    "onnxruntime": {"benchmark.backends.onnxruntime"},
    "openvino": {"benchmark.backends.openvino"},
}
PIECES = ("zoo.models", "benchmark.datasets", "benchmark.metrics", "benchmark.profilers")


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = node.module or ""
            found.add(module)
            found |= {
                f"{module}.{a.name}" for a in node.names if (ROOT / module.replace(".", "/") / f"{a.name}.py").exists()
            }
    return found


def part_of(module: str) -> str:
    """The folder of ``benchmark``, or the file beside them, that a module belongs to; empty for all others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "benchmark" and len(parts) > 1 else ""


def layer_of(part: str) -> int:
    found = [index for index, names in enumerate(LAYERS) if part in names]
    assert found, f"benchmark/{part} has no layer; give it one in this test and say why"
    return found[0]


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_go_down(file: Path) -> None:
    module = module_of(file)
    if module.startswith("zoo"):
        assert not [name for name in imports_of(file) if name.split(".")[0] == "benchmark"]
        return
    own = part_of(module)
    for other in {part_of(name) for name in imports_of(file)} - {own, ""}:
        assert layer_of(other) < layer_of(own), f"{module} imports benchmark.{other}, which is not below it"


@pytest.mark.parametrize("file", sorted([*FILES, *ROOT.glob("tests/*.py"), *ROOT.glob("speed/*.py")]), ids=module_of)
def test_own_modules_that_are_imported_exist(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("benchmark", "zoo"):
            path = ROOT / str(node.module).replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__init__.py").exists(), f"{file}: no {node.module}"


def test_no_circle_of_imports_in_a_folder() -> None:
    modules = {module_of(file): file for file in FILES}
    left = {
        module: {name for name in imports_of(file) if name in modules and name != module and not is_package(name)}
        for module, file in modules.items()
    }
    while free := {module for module, needs in left.items() if not needs & left.keys()}:
        left = {module: needs for module, needs in left.items() if module not in free}
    assert not left, f"these import each other in a circle: {sorted(left)}"


def is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/") / "__init__.py").exists()


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_pieces_never_import_each_other(file: Path) -> None:
    module = module_of(file)
    for package in PIECES:
        if module.startswith(package + "."):
            siblings = [n for n in imports_of(file) if n.startswith(package + ".") and n != module]
            siblings = [n for n in siblings if (ROOT / (n.replace(".", "/") + ".py")).exists()]
            assert not siblings, f"{module} imports its sibling {siblings}; move what both need up"


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_each_outside_package_has_one_door(file: Path) -> None:
    module = module_of(file)
    for name in imports_of(file):
        doors = DOORS.get(name.split(".")[0])
        inside = doors is None or any(module == door or module.startswith(door + ".") for door in doors)
        assert inside, f"{module} imports {name}; its door is {sorted(doors or [])}"
