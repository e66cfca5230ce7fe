"""Imports go one way, and each outside package has one door."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "zoo").rglob("*.py"), *(ROOT / "benchmark").rglob("*.py")])

# From the bottom up: a file may import files of lower layers, and of its own only where that is a package's inside.
LAYERS = [
    {"benchmark.reporting"},
    {"benchmark.types"},
    {
        "benchmark.trace",
        "benchmark.filters",
        "benchmark.jsonl",
        "benchmark.config",
        "benchmark.environment",
        "benchmark.machine",
        "benchmark.imagefiles",
        "benchmark.matfiles",
        "benchmark.alignment",
        "benchmark.paired",
    },
    {"benchmark.backends"},
    {"benchmark.conditions", "benchmark.pipeline", "benchmark.records"},
    {
        "benchmark.protocols",
        "benchmark.conventions",
        "benchmark.published",
        "benchmark.sampling",
        "benchmark.worker",
        "benchmark.standin",
    },
    {"benchmark.layout", "benchmark.conflicts"},
    {
        "benchmark.datasets",
        "benchmark.metrics",
        "benchmark.profilers",
        "benchmark.audit",
        "benchmark.engine",
        "benchmark.losses",
    },
    {"benchmark.turns"},
    {
        "benchmark.store",
        "benchmark.profiling",
        "benchmark.roofline",
        "benchmark.opening",
        "benchmark.pictures",
        "benchmark.shift_plots",
        "benchmark.fastmetrics",
        "benchmark.fingerprint",
    },
    {"benchmark.selection", "benchmark.doctoring", "benchmark.prediction", "benchmark.upkeep"},
    {"benchmark.fullres"},
    {"benchmark.evaluation", "benchmark.leaderboard", "benchmark.measure", "benchmark.regression"},
    {"benchmark.measuring", "benchmark.doctor", "benchmark.work", "benchmark.training"},
    {"benchmark.recording"},
    {
        "benchmark.runner",
        "benchmark.scoring",
        "benchmark.inference",
        "benchmark.paper_tables",
        "benchmark.htmlpage",
        "benchmark.fullscale",
        "benchmark.catalogue",
        "benchmark.submission",
        "benchmark.console",
        "benchmark.sweeping",
    },
    {"benchmark.sweep", "benchmark.exporting", "benchmark.publishing"},
    {"benchmark.cli"},
]
DOORS = {
    "click": {"benchmark.cli"},
    "yaml": {"benchmark.config"},
    "tabulate": {"benchmark.leaderboard", "benchmark.regression.rendering"},
    "rich": {"benchmark.console"},
    "pydantic": {
        "benchmark.types",
        "benchmark.config",
        "benchmark.records",
        "benchmark.published",
        "benchmark.regression.baseline",
        "benchmark.regression.thresholds",
        "benchmark.training.recipe",
        "benchmark.sweeping.settings",
    },
    "filelock": {"benchmark.jsonl", "benchmark.store", "benchmark.standin.cache", "benchmark.sweep"},
    "platformdirs": {"benchmark.standin.cache"},
    "safetensors": {"zoo.weights"},
    "thop": {"benchmark.audit"},
    "ptflops": {"benchmark.audit"},
    "fvcore": {"benchmark.audit"},
    "pytorch_msssim": {"benchmark.losses"},
    "skimage": {"benchmark.standin.photographs"},
    "h5py": {"benchmark.matfiles"},
    "lightning_fabric": {"benchmark.training"},
    "jinja2": {"benchmark.htmlpage.page"},
    "markupsafe": {"benchmark.htmlpage.page"},
    "plotly": {"benchmark.htmlpage.page"},
    "matplotlib": {"benchmark.training.logbook", "benchmark.sweeping.figures"},
    "ray": {"benchmark.sweeping.engines"},
    "timm": {"benchmark.losses", "benchmark.training"},
    "cv2": {"benchmark.fastmetrics"},
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


def layer_of(module: str) -> int | None:
    for index, names in enumerate(LAYERS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return index
    return None


@pytest.mark.parametrize("file", FILES, ids=module_of)
def test_imports_go_down(file: Path) -> None:
    module = module_of(file)
    imported = imports_of(file)
    if module.startswith("zoo"):
        assert not [name for name in imported if name.split(".")[0] == "benchmark"]
        return
    if module == "benchmark":
        return
    own = layer_of(module)
    assert own is not None, f"{module} has no layer; give it one in this test and say why"
    for name in imported:
        other = layer_of(name)
        inside = name.rpartition(".")[0] == module.rpartition(".")[0] and module.count(".") > 1
        package = module.startswith(name + ".") or name.startswith(module + ".")
        if other is not None and not inside and not package and name != module:
            assert other < own, f"{module} imports {name}, which is not below it"


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
