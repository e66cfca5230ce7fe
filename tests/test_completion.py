"""Completion in shells and the version, as a user's shell sees them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from benchmark.host import environment

ASK = """
eval "$(zoo-bench completion bash)"
complete -p zoo-bench
ask() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
_zoo_bench_completion zoo-bench; echo "${COMPREPLY[*]}"; }
ask zoo-bench comp
ask zoo-bench run --data
ask zoo-bench completion f
"""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_a_script(zoo_bench, shell: str) -> None:
    outcome = zoo_bench("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"_ZOO_BENCH_COMPLETE={shell}_complete" in outcome.out


@pytest.mark.parametrize(("name", "said"), [("zhs", "did you mean zsh?"), ("powershell", "bash, fish, zsh")])
def test_an_unknown_shell_is_one_line(zoo_bench, name: str, said: str) -> None:
    outcome = zoo_bench("completion", name)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_verbs_options_and_shells() -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", ASK], capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False, timeout=60
    )
    registered, verbs, options, shells = done.stdout.splitlines()
    assert done.stderr == ""
    assert registered.startswith("complete ")
    assert verbs.split() == ["compare", "completion"]
    assert options.split() == ["--dataset", "--data-root"]
    assert shells.split() == ["fish"]


def test_the_version_names_torch_and_the_commit(zoo_bench, monkeypatch) -> None:
    monkeypatch.setattr(environment, "_git_state", lambda: ("0123456789abcdef", True))
    outcome = zoo_bench("--version")
    assert (outcome.code, outcome.err) == (0, "")
    start = f"zoo-bench {metadata.version('zoo-bench')} (torch {torch.__version__}, Python "
    assert outcome.out.startswith(start)
    assert outcome.out.endswith(", commit 0123456789ab with changes)\n")
    monkeypatch.setattr(environment, "_git_state", lambda: (None, None))
    assert "commit" not in zoo_bench("--version").out


def test_the_version_stands_in_one_place() -> None:
    root = Path(__file__).parent.parent
    (version,) = re.findall(r'^version = "(.+)"$', (root / "pyproject.toml").read_text(), re.M)
    assert metadata.version("zoo-bench") == version
    assert f"\n## {version}" in (root / "CHANGELOG.md").read_text(encoding="utf-8")
