"""The built wheel, installed in a clean environment, works without the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("zoo", "benchmark", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel without network, install it into a new environment, return that one's Python."""
    base = tmp_path_factory.mktemp("wheel")
    for part in PARTS:
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, base / part)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    offline = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", "--no-build-isolation", *offline, "-w", str(base / "dist"), str(base)]
    subprocess.run(build, check=True, timeout=120)
    venv.create(base / "venv", with_pip=False)
    python = base / "venv" / "bin" / "python"
    (wheel,) = (base / "dist").glob("*.whl")
    subprocess.run([*pip, "--python", str(python), "install", *offline, str(wheel)], check=True, timeout=120)
    # What the wheel depends on comes from this environment; behind the new one's own packages on the path.
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(purelib) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def call(python: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    script = python.with_name("zoo-bench")
    return subprocess.run([script, *arguments], capture_output=True, text=True, cwd=folder, timeout=180, check=False)


@pytest.mark.thorough
def test_both_packages_and_nothing_else_are_in_the_wheel(python: Path, tmp_path) -> None:
    code = "import zoo, benchmark, benchmark.datasets, zoo.models; print(zoo.__file__, benchmark.__file__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert all(str(python.parent.parent) in path for path in done.stdout.split())
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", next((python.parents[2] / "dist").glob("*.whl"))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = {line.split()[0].split("/")[0] for line in listing.splitlines()[1:] if line.strip()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"zoo", "benchmark"}
    assert "LICENSE" in listing


@pytest.mark.thorough
def test_the_installed_command_lists_and_runs(python: Path, tmp_path) -> None:
    names = [model["name"] for model in json.loads(call(python, tmp_path, "list", "models", "--json").stdout)]
    assert {"bilinear", "unet", "hyperunet_32_16_2048"} <= set(names)
    recipes = json.loads(call(python, tmp_path, "list", "recipes", "--json").stdout)
    assert {"paper_large", "standin_raw2rgb"} <= {recipe["name"] for recipe in recipes}
    done = call(python, tmp_path, "run", "--dataset", "zrr", "--models", "bilinear", "--limit", "1", "--json")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)["results"]
    assert (record["dataset"], record["status"]) == ("zrr-standin", "ok")
    assert Path(record["pictures"]).is_relative_to(tmp_path)
    assert os.path.exists(tmp_path / "zoo-bench-out" / "leaderboards" / "zrr-standin.md")
    page = call(python, tmp_path, "leaderboard", "--results", "zoo-bench-out", "--html", "page.html")
    assert page.returncode == 0, page.stderr
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.thorough
def test_shipped_weights_and_settings_are_in_the_wheel(python: Path, tmp_path) -> None:
    version = call(python, tmp_path, "--version").stdout
    assert version.startswith("zoo-bench ")
    assert "commit" not in version
    done = call(
        python, tmp_path, "run", "--suite", "quick", "--models", "plainunet_8", "--limit", "1", "--sizes", "none"
    )
    assert done.returncode == 0, done.stderr
    assert "plainunet_8  ●" in done.stdout
    assert call(python, tmp_path, "show", "sweep", "double_descent_toy").returncode == 0


def test_the_source_distribution_makes_the_same_wheel(python: Path, tmp_path) -> None:
    base = python.parents[2]
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=base, check=True, capture_output=True, timeout=120)
    (source,) = tmp_path.glob("*.tar.gz")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "wheel", "--no-build-isolation"]
    subprocess.run([*pip, "--no-deps", "--no-index", "-w", tmp_path, source], check=True, timeout=120)
    names = [set(ZipFile(next(folder.glob("*.whl"))).namelist()) for folder in (base / "dist", tmp_path)]
    assert names[0] == names[1]


def test_an_entry_point_registers_a_model(python: Path, tmp_path) -> None:
    site = tmp_path / "site"
    (site / "their_zoo-1.0.dist-info").mkdir(parents=True)
    (site / "their_zoo-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: their-zoo\nVersion: 1.0\n")
    (site / "their_zoo-1.0.dist-info" / "entry_points.txt").write_text("[zoo_bench.plugins]\ntheirs = their_zoo\n")
    (site / "their_zoo.py").write_text(
        "from torch import nn\nfrom zoo import register_model\n\n"
        "@register_model(task='denoise_rgb')\ndef their_net() -> nn.Module:\n    return nn.Conv2d(3, 3, 1)\n"
    )
    done = subprocess.run(
        [python.with_name("zoo-bench"), "list", "models"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        check=True,
        timeout=120,
    )
    assert "their_net" in done.stdout


def test_type_checkers_see_the_names_of_the_installed_packages(python: Path, tmp_path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "script.py").write_text(
        "from benchmark import load_results, profile, run\nfrom zoo import create_model, list_models\n\n"
        "results = run('zrr', models=['bilinear'])\n"
        "reveal_type(results[0].measurements['macs'].value)\n"
        "reveal_type(list_models())\nreveal_type(load_results)\nreveal_type(create_model)\nreveal_type(profile)\n"
        "run('zrr', modells=['bilinear'])\n"
    )
    # What other packages say of their names takes long to read, and is not ours.
    others = "torch.*,numpy.*,scipy.*,pydantic.*,pydantic_core.*,PIL.*,cv2.*,skimage.*,matplotlib.*,safetensors.*"
    (tmp_path / "mypy.ini").write_text(
        f"[mypy]\nignore_missing_imports = True\nfollow_imports = silent\n[mypy-{others}]\nfollow_imports = skip\n"
    )
    command = [sys.executable, "-m", "mypy", "--python-executable", python, "--config-file", "mypy.ini", "script.py"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=180)
    lines = [line for line in done.stdout.splitlines() if line.startswith("script.py")]
    expected = [
        'Revealed type is "int | float | None"',
        'Revealed type is "list[str]"',
        "results: str | pathlib.Path | benchmark.types.Result",
        "(name: str, *, pretrained: bool | None =, **options: Any)",
        "input: zoo.convention.InputSpec | None =",
        'Unexpected keyword argument "modells" for "run"',
    ]
    assert len(lines) >= len(expected), done.stdout + done.stderr
    for line, words in zip(lines, expected):
        assert words in line
