"""Files, values and plug-ins that mean harm, or are damaged: one line each, and nothing of the process is changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmark.config import MAX_BYTES, parse_value, read_yaml
from benchmark.scoring.evaluation import run_sample
from benchmark.training.recipe import load_recipe
from benchmark.types import Sample
from zoo import InputSpec, plugins
from zoo.building import MAX_PARTS, build_network
from zoo.errors import BuildError, UserError, printable, shortened, shown
from zoo.inputs import regular_file
from zoo.surroundings import kept
from zoo.weights import read_checkpoint

LAUGHS = "a: [&a [x,x,x,x,x,x,x,x,x]" + "".join(
    f",&{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS + "]\n", "line 1: more than 50,000 values, aliases"),
        ("a: &x [*x]\n", "line 1: an alias .* inside the value"),
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is there twice, first in line 1"),
        ("o: {x: 1, x: 2}\n", "line 1: the key 'x' is there twice"),
        ("a: " + "[" * 5000, "line 1: more than 40 values inside each other"),
        ("a: " + "9" * 5000, "line 1: '999.* is no value of this kind"),
        ("a: 0x" + "f" * 5000, "line 1: '0xfff.* beyond 64 bits"),
        ("a: 1\nlr: .inf\n", "line 2: '.inf' is not a finite number"),
        ("a: .nan\n", "is not a finite number"),
        ("a: 1\nb: \x07\n", "line 2: not YAML .special characters"),
        ("a:\n\t- b\n", "line 2: not YAML"),
        ("a: !!python/object:os.system x\n", "line 1: could not determine a constructor for the tag"),
        ("a: !!int ''\n", "line 1: '' is no value"),
        ("a: {<<: 5}\n", "line 1: expected a mapping"),
        ("a: 1\n" * (MAX_BYTES // 4), "more than 200,000 bytes"),
        ("", "expected keys and values"),
    ],
)
def test_yaml_that_no_setting_needs_is_one_line_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_yaml(tmp_path / "s.yaml")
    assert "s.yaml" in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(tmp_path))


def test_plain_yaml_reads_as_before_with_dates_as_text(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text("b: &b {x: 1}\na: {<<: *b, x: 2}\nd: 2024-13-45\nl: [*b, *b]\n")
    assert read_yaml(tmp_path / "s.yaml") == {"b": {"x": 1}, "a": {"x": 2}, "d": "2024-13-45", "l": [{"x": 1}] * 2}
    assert parse_value("[1, true, null, 1.5, x]") == [1, True, None, 1.5, "x"]
    assert parse_value("[1,") == "[1,"
    (tmp_path / "latin.yaml").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(UserError, match="line 2: not UTF-8"):
        read_yaml(tmp_path / "latin.yaml")


@pytest.mark.parametrize("value", ["1e400", "-1e400", "nan", 10**400])
def test_rates_that_are_no_finite_number_are_refused(value: object) -> None:
    with pytest.raises(UserError, match="--set lr="):
        load_recipe("standin_raw2rgb", {"lr": value})


def test_values_in_messages_are_short_and_can_be_printed() -> None:
    deep: list = []
    deep.append(deep)
    for value in ("x" * 10**6, 10**5000, list(range(10**6)), deep, {i: [{}] * 9 for i in range(999)}, "\ud800\x1b[2J"):
        text = shown(value)
        assert len(text) < 130
        assert text.encode()
        assert text.isprintable()
    assert shortened("a\nb\x1b" + "c" * 999).startswith("a b ccc")
    assert printable(os.fsdecode(b"a\xff")) == "a\\xff"


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "loop", "missing", "long", "nul"])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "f"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("device", "loop"):
        path.symlink_to("/dev/zero" if kind == "device" else path)
    named = {"long": "x" * 5000, "nul": "a\0b"}.get(kind, path)
    for read in (read_yaml, read_checkpoint, plugins.load_file, load_recipe):
        with pytest.raises(UserError):
            read(named)
    with pytest.raises(UserError, match="expected a poem"):
        regular_file(named, "a poem")


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "raise KeyboardInterrupt",
        "raise GeneratorExit",
        "raise RuntimeError('\\ud800')",
        "from zoo import register_model\n@register_model(task='raw2rgb')\ndef unet(): ...",
    ],
)
def test_a_plug_in_neither_ends_the_process_nor_takes_a_name(tmp_path: Path, code: str) -> None:
    (tmp_path / "plug.py").write_text(code)
    with pytest.raises(UserError, match=r"plug\.py.*line \d"):
        plugins.load_file(tmp_path / "plug.py")


def test_what_a_plug_in_changes_of_the_process_is_put_back(tmp_path: Path) -> None:
    changes = "import json, os, sys, torch\nos.chdir('/'); os.umask(0); sys.stdout = None; json.dumps = None"
    changes += "\ntorch.set_default_dtype(torch.float64); torch.set_num_threads(3); os.environ['ZOO_BENCH_DATA'] = 'x'"
    (tmp_path / "plug.py").write_text(changes)
    before = os.getcwd(), sys.stdout, json.dumps, torch.get_default_dtype(), torch.get_num_threads()
    plugins.load_file(tmp_path / "plug.py")
    assert before == (os.getcwd(), sys.stdout, json.dumps, torch.get_default_dtype(), torch.get_num_threads())
    assert "ZOO_BENCH_DATA" not in os.environ
    with kept():
        torch.set_default_device("meta")
    assert not torch.empty(1).is_meta


def test_networks_beyond_any_bound_and_builds_that_leave_are_refused() -> None:
    def monster(depth: int = 1) -> nn.Module:
        return nn.Sequential(*[nn.Linear(1, 1, device="meta") for _ in range(depth)])

    assert len(build_network("monster", monster, {"depth": 3})) == 3
    with pytest.raises(UserError, match=f"monster with .*10{{8}}.* has more than {MAX_PARTS:,} layers"):
        build_network("monster", monster, {"depth": 10**8})
    for leave in (sys.exit, lambda: os._exit(0), lambda: 5):
        with pytest.raises(BuildError, match="leaver cannot be built"):
            build_network("leaver", leave, {})


def test_weights_that_hold_themselves_twice_or_too_much(tmp_path: Path) -> None:
    content: dict = {}
    content["model"] = content
    torch.save(content, tmp_path / "self.pth")
    with pytest.raises(UserError, match=r"self\.pth holds"):
        read_checkpoint(tmp_path / "self.pth")
    save_file({"a": torch.zeros(1)}, tmp_path / "twice.safetensors")
    raw = (tmp_path / "twice.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + raw[0]].strip())
    text = (json.dumps(header)[:-1] + "," + json.dumps(header)[1:]).encode()
    (tmp_path / "twice.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + raw[-4:])
    with pytest.raises(UserError, match="a key occurs twice"):
        read_checkpoint(tmp_path / "twice.safetensors")
    named = tmp_path / os.fsdecode(b"w\xff.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").rename(named)
    assert list(read_checkpoint(named).state) == ["a"]


@pytest.mark.parametrize("size", ["0x0", "1e9x1e9", "1000000000x1000000000", "9" * 5000 + "x1", "-1x5", "x", "3x3x3"])
def test_sizes_that_no_image_has_are_refused(zoo_bench, size: str) -> None:
    done = zoo_bench("profile", "bilinear", "--size", size)
    assert done.code == 2
    assert "expected HxW" in done.err
    assert len(done.err) < 300


@pytest.mark.parametrize("count", [pytest.param(14), pytest.param(600, marks=pytest.mark.slow)])
def test_mutated_files_and_values_are_one_line_each(count: int) -> None:
    command = [sys.executable, "-m", "tests.mutated_inputs", "--count", str(count), "--seed", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent.parent, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_error_of_a_model_is_not_taken_for_the_users() -> None:
    class Raising(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise UserError("--data-root: gone.")

    image = torch.rand(1, 3, 16, 16)
    with pytest.raises(RuntimeError, match="the model raised UserError: --data-root: gone"):
        run_sample(Raising(), Sample("0", image, image), InputSpec("rgb"))
