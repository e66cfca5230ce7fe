"""Imports go one way, and each outside package has one door: one test for each rule, which lists what breaks it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent

# From the bottom up, folders and the few files beside them. A file imports what lies in lower layers, and of its own
# folder what does not import it back.
LAYERS = [
    {"record", "units"},
    {"sensor"},
    {"cleaning", "reporting", "replacing", "cache", "config", "counting"},
    {"conditions", "fetching", "fitting"},
    {"types"},
    {"measured"},
    {"host", "imaging", "profilers", "protocols", "results"},
    {"backends", "losses", "metrics", "standin"},
    {"layout", "placing"},
    {"pairing"},
    {"datasets"},
    {"costs", "opening", "probing"},
    {"leaderboard", "selection"},
    # Measuring and scoring run images in tiles.
    {"fullres"},
    {"htmlpage", "scoring", "timing"},
    {"datacheck", "regression", "training"},
    {"importing", "modelcard", "running", "sweeping", "verifying"},
    {"catalogue"},
    {"cli"},
]
DOORS = {
    "click": {"benchmark.cli"},
    "yaml": {"benchmark.config"},
    "tabulate": {"benchmark.leaderboard", "benchmark.regression.rendering"},
    "rich": {"benchmark.cli.console"},
    "pydantic": {
        "benchmark.record",
        "benchmark.conditions",
        "benchmark.measured",
        "benchmark.types",
        "benchmark.config",
        "benchmark.running.suite",
        "benchmark.results.records",
        "benchmark.leaderboard.published",
        "benchmark.leaderboard.row_costs",
        "benchmark.regression.baseline",
        "benchmark.regression.thresholds",
        "benchmark.training.checkpoints",
        "benchmark.training.recipe",
        "benchmark.sweeping.settings",
    },
    "huggingface_hub": {"benchmark.fetching", "benchmark.modelcard"},
    "filelock": {
        "benchmark.results.jsonl",
        "benchmark.results.journal",
        "benchmark.standin.cache",
        "benchmark.sweeping.session",
    },
    "platformdirs": {"benchmark.cache"},
    "safetensors": {"zoo.weights"},
    "thop": {"benchmark.costs.audit"},
    "ptflops": {"benchmark.costs.audit"},
    "fvcore": {"benchmark.costs.audit"},
    "pytorch_msssim": {"benchmark.losses.structure"},
    "skimage": {"benchmark.standin.photographs", "benchmark.imaging.noise", "benchmark.metrics.colour"},
    "torchmetrics": {"benchmark.metrics.perceptual"},
    "torchvision": {"benchmark.metrics.perceptual"},
    "h5py": {"benchmark.imaging.matfiles", "zoo.matconvnet"},
    "lightning_fabric": {"benchmark.training"},
    "jinja2": {"benchmark.htmlpage.page"},
    "markupsafe": {"benchmark.htmlpage.page"},
    "plotly": {"benchmark.htmlpage.page"},
    "pandas": {"benchmark.leaderboard.frames"},
    "matplotlib": {"benchmark.training.logbook", "benchmark.leaderboard.figures"},
    "ray": {"benchmark.host.executors"},
    "timm": {"benchmark.training.losses", "benchmark.training"},
    "cv2": {"benchmark.scoring.fastmetrics"},
    "onnxruntime": {"benchmark.backends.onnxruntime", "benchmark.running.quantizing.qdq"},
    "openvino": {"benchmark.backends.openvino", "benchmark.running.quantizing.ir"},
    "nncf": {"benchmark.running.quantizing.ir"},
    "executorch": {f"benchmark.backends.{name}" for name in ("executorch", "placement", "pt2e")},
    "rawpy": {"benchmark.imaging.mosaics"},
}
PIECES = ("zoo.models", "benchmark.datasets", "benchmark.losses", "benchmark.metrics", "benchmark.profilers")


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def is_package(module: str) -> bool:
    return (ROOT / module.replace(".", "/") / "__init__.py").exists()


def imports_of(file: Path) -> set[str]:
    """The modules that a file imports anywhere; of a relative import, the dots in front too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            names = {f"{module}.{alias.name}" for alias in node.names}
            found |= {module} | {name for name in names if is_module(name) and not is_package(name)}
    return found


def of_folders(*patterns: str) -> dict[str, set[str]]:
    """The imports of each file, by its module; every file is read once."""
    return {module_of(file): imports_of(file) for pattern in patterns for file in sorted(ROOT.glob(pattern))}


PACKAGES = of_folders("zoo/**/*.py", "benchmark/**/*.py")
OTHERS = of_folders("tests/*.py", "speed/*.py")


def part_of(module: str) -> str:
    """The folder of ``benchmark``, or the file beside them, that a module belongs to; empty for all others."""
    parts = module.split(".")
    return parts[1] if parts[0] == "benchmark" and len(parts) > 1 else ""


def layer_of(part: str) -> int:
    found = [index for index, names in enumerate(LAYERS) if part in names]
    assert found, f"benchmark/{part} has no layer; give it one in this test and say why"
    return found[0]


def test_there_are_files_to_judge() -> None:
    assert len(PACKAGES) > 150
    assert len(OTHERS) > 50
    assert {"zoo.card", "benchmark.types", "benchmark.cli"} <= PACKAGES.keys()


def test_imports_go_down() -> None:
    wrong = [
        f"{module} imports {name}, which is not below it"
        for module, names in PACKAGES.items()
        for name in names
        if not is_below(module, name)
    ]
    assert not wrong, "\n".join(wrong)


def is_below(module: str, other: str) -> bool:
    if module.split(".")[0] == "zoo":
        return other.split(".")[0] != "benchmark"
    own, part = part_of(module), part_of(other)
    return part in (own, "") or layer_of(part) < layer_of(own)


def test_no_import_is_relative() -> None:
    wrong = [f"{module} imports {name}" for module, names in PACKAGES.items() for name in names if name[0] == "."]
    assert not wrong, "\n".join(wrong)


def test_own_modules_that_are_imported_exist() -> None:
    wrong = [
        f"{module} imports {name}, which is not there"
        for module, names in {**PACKAGES, **OTHERS}.items()
        for name in names
        if name.split(".")[0] in ("benchmark", "zoo") and not is_module(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports_in_a_folder() -> None:
    left = {
        module: {name for name in names if name in PACKAGES and name != module and not is_package(name)}
        for module, names in PACKAGES.items()
    }
    while free := {module for module, needs in left.items() if not needs & left.keys()}:
        left = {module: needs for module, needs in left.items() if module not in free}
    assert not left, f"these import each other in a circle: {sorted(left)}"


def test_pieces_never_import_each_other() -> None:
    wrong = [
        f"{module} imports its sibling {name}; move what both need up"
        for module, names in PACKAGES.items()
        for name in names
        if any(module.startswith(f"{p}.") and name.startswith(f"{p}.") for p in PIECES)
        and name != module
        and is_module(name)
        and not is_package(name)
    ]
    assert not wrong, "\n".join(wrong)


def test_each_outside_package_has_one_door() -> None:
    wrong = [
        f"{module} imports {name}; its door is {sorted(DOORS[name.split('.')[0]])}"
        for module, names in PACKAGES.items()
        for name in names
        if not any(f"{module}.".startswith(f"{door}.") for door in DOORS.get(name.split(".")[0], {module}))
    ]
    assert not wrong, "\n".join(wrong)
