"""`verify` finds what is wrong with a port, and nothing else: copies of small networks with names of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmark.verifying.child import compare
from benchmark.verifying.mapping import match
from benchmark.verifying.messages import Request, Verdict
from benchmark.verifying.text import verdict_text
from tests import verified_classes
from zoo import InputSpec, create_model, register_model
from zoo.card import MODELS
from zoo.errors import UserError
from zoo.plugins import find_object
from zoo.weights import save_state

CLASSES = str(Path(__file__).parent / "verified_classes.py")
EXAMPLE = str(Path(__file__).parent.parent / "examples" / "another_dncnn.py")
TINY = Path(__file__).parent / "plugins" / "tiny.py"


def verified(name: str, model: str = "tiny_net", **request: Any) -> Verdict:
    return compare(Request(model=model, against=name if ":" in name else f"{CLASSES}:{name}", **request))


def rules(found: Verdict, index: int = -1) -> set[str]:
    return {one.rule for one in found.transfers[index].mapped}


@pytest.mark.parametrize("name", ["Twin", "made", "ready", "Stubborn"])
def test_the_same_network_under_other_names_agrees(tiny, name: str) -> None:
    found = verified(name)
    assert found.agrees
    assert found.precision == "float64"
    assert found.first_difference is found.hint is None
    assert found.fingerprint_deviation == 0
    assert {one.model: one.against for one in found.layers} == {"0": "first", "2": "last"}
    assert [one.input_shape for one in found.passes] == [[1, 4, 32, 32], [2, 4, 48, 72], [1, 4, 39, 53]]


@contextmanager
def registered(build: Callable[..., nn.Module], **card: Any) -> Iterator[str]:
    register_model(task="denoise_rgb", **card)(build)
    try:
        yield build.__name__
    finally:
        del MODELS._items[build.__name__]


@pytest.fixture
def square_net():
    """Four layers whose weights nothing but names and order tells apart."""

    def square_net() -> nn.Module:
        layers = [layer for _ in range(4) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
        return nn.Sequential(*layers[:-1])

    with registered(square_net) as name:
        yield name


@pytest.fixture
def norm_net():
    """A batch norm, or, with the option ``merged``, the same network without it, which converts its weights."""

    def norm_net(merged: bool = False) -> nn.Module:
        norm = [] if merged else [nn.BatchNorm2d(8)]
        return nn.Sequential(nn.Conv2d(3, 8, 1), *norm, nn.ReLU(), nn.Conv2d(8, 3, 1))

    def merge(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if "norm.weight" not in state:
            return state
        scale = state["norm.weight"] / (state["norm.running_var"] + 1e-5).sqrt()
        bias = (state["first.bias"] - state["norm.running_mean"]) * scale + state["norm.bias"]
        merged = {"0.weight": state["first.weight"] * scale[:, None, None, None], "0.bias": bias}
        return merged | {"2.weight": state["last.weight"], "2.bias": state["last.bias"]}

    with registered(norm_net, convert_checkpoint=merge) as name:
        yield name


@pytest.fixture
def faint_net():
    """A network whose output is almost its input, with the layer names of ``Faint``."""
    with registered(faint_net_of, input=InputSpec(layout="rgb", output_scale=1.0)) as name:
        yield name


def faint_net_of() -> nn.Module:
    return verified_classes.Faint()


@pytest.mark.parametrize("name", ["Square", "Backwards"])
def test_weights_of_one_shape_are_mapped_in_the_order_in_which_they_run(square_net, name: str) -> None:
    found = verified(name, square_net)
    assert found.agrees
    assert rules(found) == {"order"}


def test_the_first_layer_that_computes_something_else_is_named_with_what_it_is(tiny) -> None:
    found = verified("Twin", init={"padding": "reflect"})
    assert not found.agrees
    assert [one.output.ok for one in found.layers] == [True, False]
    assert found.first_difference is not None
    assert "2 (theirs: last)" in found.first_difference
    assert "only within 1 pixel(s) of the border" in found.first_difference


def test_a_difference_between_two_layers_is_said_to_lie_there(tiny, square_net) -> None:
    found = verified("Twin", init={"slope": "0.01"})
    assert not found.agrees
    assert found.first_difference is not None
    assert "0 (theirs: first) agrees, and their inputs cannot be compared (shapes 1x4x32x32" in found.first_difference
    found = verified("Square", square_net, init={"slope": "0.01"})
    assert not found.agrees
    assert found.first_difference is not None
    assert "0 (theirs: net.0) agrees, and its input differs already: what has no weights" in found.first_difference


def test_an_epsilon_shows_and_is_printed(norm_net) -> None:
    found = verified("Normed", norm_net)
    assert found.agrees
    found = verified("Normed", norm_net, init={"eps": "1.1e-5"})
    assert not found.agrees
    assert found.first_difference is not None
    assert found.first_difference.startswith("1 (theirs: norm): ")
    assert "its input agrees, so it computes something else: BatchNorm2d(8, eps=1e-05" in found.first_difference
    # The user's tolerance decides alone.
    assert verified("Normed", norm_net, init={"eps": "1.1e-5"}, tolerance=1e-3).agrees


def test_a_mistake_that_fades_on_the_way_to_the_output_shows_in_its_layer(faint_net) -> None:
    found = verified("Faint", faint_net, init={"slope": "0.25"})
    assert found.agrees
    found = verified("Faint", faint_net, init={"slope": "0.24"})
    assert not found.agrees
    assert all(one.output is not None and one.output.ok for one in found.passes)
    assert found.first_difference is not None
    assert "LeakyReLU(negative_slope=0.25) against LeakyReLU(negative_slope=0.24)" in found.first_difference


@pytest.mark.parametrize(
    ("name", "convention", "hint"),
    [
        ("Ranged", {"input_range": (-1, 1)}, "2 * output + -1: if that is its range, add --output-range=-1,1"),
        ("Clipped", {}, "the class clips its output to [0, 1]"),
        ("Turned", {}, "its channels in the opposite order"),
    ],
)
def test_another_convention_of_the_output_is_recognised(tiny, name: str, convention: dict, hint: str) -> None:
    found = verified(name, convention=convention)
    assert not found.agrees
    assert found.hint is not None
    assert hint in found.hint
    assert all(one.output.ok for one in found.layers)


def test_noise_is_recognised_and_ranges_are_mapped(tiny) -> None:
    arguments = {"model": "dncnn_20_color", "name": f"{EXAMPLE}:Denoiser", "init": {"width": "8"}, "size": (32, 32)}
    assert verified(**arguments, options={"width": "8"}, convention={"noise": True}).agrees
    wrong = arguments | {"init": {"width": "8", "padding": "replicate"}}
    found = verified(**wrong, options={"width": "8"}, convention={"noise": True})
    assert found.first_difference is not None
    assert "model.0 (theirs: head)" in found.first_difference
    assert "only within 1 pixel(s) of the border" in found.first_difference
    found = verified(**arguments, options={"width": "8"})
    assert found.hint is not None
    assert "--noise" in found.hint
    assert verified("Ranged", convention={"input_range": (-1, 1), "output_range": (-1, 1)}).agrees


@pytest.mark.parametrize(
    ("how", "output"), [("one", None), ("tuple", "0"), ("tuple", "-2"), ("dict", "out.1"), ("dict", "out.-1")]
)
def test_the_image_is_found_in_what_a_class_returns(tiny, how: str, output: str | None) -> None:
    assert verified("Nested", init={"how": how}, convention={"output": output}).agrees


@pytest.mark.parametrize(
    ("name", "request_", "message"),
    [
        ("Nested", {}, r"Nested returned a tuple of .* say which is the image with --output"),
        ("Nested", {"convention": {"output": "2"}}, r"--output 2: Nested returned a tuple"),
        ("Nested", {"convention": {"output": "image.x"}}, r"--output image\.x: Nested returned"),
        ("Twin", {"convention": {"noise": True}}, "--noise: Twin returns 1x3x64x64 for 1x4x32x32"),
        ("Twin", {"init": {"breadth": "3"}}, r"unexpected keyword argument 'breadth'.*width=4, slope=0\.0"),
        ("Twin", {"renames": {"body.": ""}}, r"--map body\.: no weight of Twin begins so; it has first\.weight"),
        ("Twin", {"renames": {"last.": "x.", "first.": "x."}}, "several weights of Twin get one name"),
        ("ready", {"init": {"width": "3"}}, "leave --init out"),
        ("Twinn", {}, "has no 'Twinn'; did you mean Twin"),
        ("Faulty", {}, r"missing 1 required positional argument: 'how'.*its arguments: how"),
        ("Faulty", {"init": {"how": "build"}}, r"RuntimeError: cannot be made \(verified_classes\.py, line \d+\)"),
        ("Faulty", {"init": {"how": "cuda"}}, r"runs on the CPU, so take \.cuda\(\)"),
        ("Faulty", {"init": {"how": "exit"}}, "Faulty fails for an input of 1x4x32x32: SystemExit: done"),
        ("nothing", {}, "cannot be built: its function returns 5; expected a torch.nn.Module"),
        ("CLASSES", {}, "has no 'CLASSES'"),
        ("os:path", {}, r"os:path: it is a module; expected a class"),
        ("nowhere.at_all:Net", {}, "the module nowhere.at_all cannot be imported.*PYTHONPATH"),
        ("nowhere.py:Net", {}, r"--against: no file at nowhere\.py"),
        ("nowhere:", {}, "expected MODULE:CLASS"),
        ("Twin", {"weights": "nowhere.pth"}, "no file at nowhere.pth"),
        ("Twin", {"options": {"breadth": "3"}}, "tiny_net has no option 'breadth'"),
    ],
)
def test_bad_input_and_code_that_fails_are_one_line(tiny, name: str, request_: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        verified(name, **request_)
    assert type(caught.value) is UserError
    assert "\n" not in str(caught.value)


def test_what_cannot_be_equal_is_told_apart_from_a_wrong_layer(tiny) -> None:
    found = verified("Dropping")
    assert not found.agrees
    assert any("Dropping is random in evaluation mode too" in note for note in found.notes)
    found = verified("Faulty", init={"how": "nan"})
    assert not found.agrees
    assert "NaN" in verdict_text(found, details=False)
    found = verified("Faulty", init={"how": "shape"})
    assert not found.agrees
    assert "shapes 1x3x64x64 against 1x3x64x62" in verdict_text(found, details=False)


def test_a_class_of_float32_is_compared_in_that(tiny) -> None:
    found = verified("Single")
    assert found.agrees
    assert (found.precision, found.tolerance) == ("float32", 1e-4)
    assert any("in float64 Single returns float32" in note for note in found.notes)


def test_sizes_that_the_class_refuses_are_said_and_the_rest_is_compared(tiny) -> None:
    found = verified("Even")
    assert found.agrees
    assert [one.output is None for one in found.passes] == [False, False, True]
    assert "refused: Even fails for an input of 1x4x39x53: ValueError: only even" in verdict_text(found, details=False)
    assert [one.input_shape for one in verified("Even", size=(16, 34)).passes] == [[1, 4, 16, 34], [2, 4, 16, 34]]


def test_weights_without_a_counterpart_are_named_and_decide_nothing_by_themselves(tiny) -> None:
    found = verified("Headed")
    assert found.agrees
    assert found.transfers[-1].unfilled == ["auxiliary.weight", "auxiliary.bias"]
    text = verdict_text(found, details=False)
    assert "LEFT OVER in Headed, where they stay random: auxiliary.weight, auxiliary.bias" in text
    with pytest.raises(UserError, match=r"no weight of Narrow .* has a counterpart in tiny_net .*--map"):
        verified("Narrow")


def test_an_output_that_shows_nothing_is_no_agreement() -> None:
    def dark_net() -> nn.Module:
        network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
        nn.init.constant_(network[0].bias[:2], -99)
        nn.init.constant_(network[0].bias[2], -98)
        return network

    with registered(dark_net) as name, pytest.raises(UserError, match=r"same value everywhere.*--seed 1"):
        verified("Plain", name)


def test_norms_that_begin_as_nothing_are_random_so_that_they_show(norm_net) -> None:
    """A network without the norm is another, although the constructors make both return the same."""
    found = verified("Unnormed", norm_net)
    assert not found.agrees
    assert len(found.transfers[0].unused) == 4
    assert found.hint is not None
    assert "not all weights have a counterpart" in found.hint


def saved(path: Path, state: dict[str, torch.Tensor]) -> str:
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
    return str(path)


def test_a_file_goes_into_both_by_its_own_names(tiny, tmp_path) -> None:
    torch.manual_seed(3)
    state = create_model("tiny_net").state_dict()
    found = verified("Twin", weights=saved(tmp_path / "ours.pth", state))
    assert found.agrees
    assert found.evidence == "weights-file"
    assert [(one.source, one.target, one.strictly) for one in found.transfers] == [
        ("ours.pth", "tiny_net", True),
        ("tiny_net", "Twin", False),
    ]
    assert found.weights is not None
    assert found.weights["name"] == "ours.pth"


def test_a_file_of_the_class_is_mapped_to_a_model_that_cannot_convert_it_yet(tiny, tmp_path) -> None:
    state = {
        "first.weight": torch.rand(4, 4, 3, 3),
        "first.bias": torch.rand(4),
        "last.weight": torch.rand(12, 4, 3, 3),
        "last.bias": torch.rand(12),
    }
    found = verified("Twin", weights=saved(tmp_path / "theirs.pth", state))
    assert found.agrees
    assert [(one.source, one.target) for one in found.transfers] == [("theirs.pth", "Twin"), ("Twin", "tiny_net")]
    assert rules(found, 0) == {"name"}
    assert any("does not fit" in note for note in found.notes)
    del state["last.bias"]
    with pytest.raises(UserError, match=r"does not fit: .* By the names and shapes of Twin it does not either"):
        verified("Twin", model="unet_w8", weights=saved(tmp_path / "part.pth", state))


def test_published_weights_are_converted_for_ours_and_loaded_as_they_are_by_theirs(norm_net, tmp_path) -> None:
    """The batch norm is merged in the model and not in the class, with the weights of a file and with random ones."""
    torch.manual_seed(5)
    network = verified_classes.Normed()
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 1.5)
    state = network.state_dict()
    found = verified("Normed", norm_net, options={"merged": "true"}, weights=saved(tmp_path / "net.pth", state))
    assert found.agrees
    assert (rules(found), found.transfers[0].strictly, found.tolerance) == ({"name"}, True, 1e-5)
    found = verified("Normed", norm_net, options={"merged": "true"})
    assert found.agrees
    assert [(one.source, one.strictly) for one in found.transfers] == [("Normed", True)]
    found = verified("zoo.models.mobileie:mobileie", "mobileie", init={"form": "training"}, size=(24, 24))
    assert found.agrees
    assert found.transfers[0].strictly
    # The conversion fails with a KeyError.
    del state["norm.running_mean"]
    file = saved(tmp_path / "part.pth", state)
    with pytest.raises(
        UserError, match=r"part\.pth cannot be converted: KeyError: 'norm.running_mean'.*no counterpart"
    ):
        verified("Normed", norm_net, options={"merged": "true"}, weights=file)


def test_a_file_of_ours_for_another_model_is_refused_by_name(tiny, tmp_path) -> None:
    save_state(tmp_path / "unet.safetensors", {"a": torch.ones(1)}, {"model": "unet"})
    with pytest.raises(UserError, match="was written for unet, not for tiny_net"):
        verified("Twin", weights=str(tmp_path / "unet.safetensors"))


def test_names_are_mapped_by_the_first_rule_that_serves_a_group() -> None:
    square = (8, 8, 3, 3)
    source = {"model.0.weight": (8, 3, 3, 3), "model.2.weight": square, "model.4.weight": square, "model.4.bias": (8,)}
    same = match(source, source)
    assert {rule for _, rule in same.values()} == {"name"}
    prefixed = match(source, {f"net.{key}": shape for key, shape in source.items()})
    assert prefixed["net.model.4.weight"] == ("model.4.weight", "suffix")
    # The number 2 means another layer there: all layers of the shape go by their order, none by its name.
    others = match(source, {"model.0.weight": (8, 3, 3, 3), "model.1.weight": square, "model.2.weight": square})
    assert others["model.1.weight"] == ("model.2.weight", "order")
    assert others["model.2.weight"] == ("model.4.weight", "order")
    assert not match(source, {"a.weight": square, "b.weight": square, "c.weight": square})
    assert not match(source, {"a.weight": square, "b.weight": square}, ordered=False)
    # Only one of two biases has a counterpart: that of the layer whose weight was found.
    some = {"a.weight": square, "a.bias": (8,), "b.weight": (8, 8, 1, 1), "b.bias": (8,)}
    assert match(some, {"x.weight": square, "x.bias": (8,)})["x.bias"] == ("a.bias", "shape")
    assert match({"gain": (8,)}, {"norm.scale": (8,)}) == {"norm.scale": ("gain", "shape")}
    assert match({"attention.1.weight": (8, 8, 1, 1)}, {"fc.weight": (8, 8)}) == {
        "fc.weight": ("attention.1.weight", "shape")
    }


def test_names_that_nothing_resembles_are_mapped_by_the_user(tiny, square_net) -> None:
    found = verified("Square", square_net, renames={"net.0": "0", "net.1": "2", "net.2": "4", "net.3": "6"})
    assert found.agrees
    assert rules(found) == {"name"}
    found = verified("Square", square_net, renames={"net.0": "6", "net.1": "2", "net.2": "4", "net.3": "0"})
    assert not found.agrees


@pytest.mark.thorough
def test_stdout_is_one_document_whatever_the_class_writes() -> None:
    arguments = ("verify", "tiny_net", "--against", f"{CLASSES}:Loud", "--size", "20x24", "--json")
    line = [sys.executable, "-m", "benchmark.cli", "--plugin", str(TINY), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    document = json.loads(done.stdout)
    assert (done.returncode, document["agrees"]) == (0, True)
    assert document["fingerprint"]["sha256"]
    assert "talks" not in done.stderr


@pytest.mark.thorough
def test_the_exit_status_tells_and_the_text_says_where(zoo_bench) -> None:
    line = ["--plugin", TINY, "verify", "tiny_net", "--against", f"{CLASSES}:Twin", "--size", "20x24"]
    outcome = zoo_bench(*line, "--init", "padding=reflect")
    assert outcome.code == 1
    assert "first difference  2 (theirs: last)" in outcome.out
    assert outcome.out.endswith("DIFFERS within a relative 1e-06 (float64)\n")
    outcome = zoo_bench(*line[:4], "--against", f"{CLASSES}:Faulty", "--init", "how=leave")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "Faulty" in outcome.err


def test_a_plug_in_that_holds_both_networks_is_imported_once(tiny) -> None:
    with find_object(f"{TINY}:tiny_net", "--against") as found:
        assert found is MODELS.get("tiny_net").build


def test_a_module_of_the_working_directory_and_its_neighbours_are_found(tiny, tmp_path, monkeypatch) -> None:
    package = tmp_path / "repo" / "archs"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "parts.py").write_text("from torch import nn\nfirst = nn.Conv2d\n")
    (package / "net.py").write_text(
        "from .parts import first\nimport helper_of_repo\nfrom torch import nn\n"
        "def net(width=4):\n    import late_helper\n"
        "    return nn.Sequential(first(4, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, 12, 3, 1, 1),"
        " nn.PixelShuffle(2))\n"
    )
    for name in ("helper_of_repo", "late_helper"):
        (tmp_path / "repo" / f"{name}.py").touch()
    monkeypatch.chdir(tmp_path / "repo")
    before = list(sys.path)
    assert verified("archs.net:net").agrees
    assert sys.path == before
    with pytest.raises(UserError, match=r"net\.py, line 1: ImportError: .*start in the folder"):
        verified("archs/net.py:net")


@pytest.mark.parametrize("flag", ["--input-range=1,0", "--output-range=a", "--tolerance=0", "--init=x", "--size=3"])
def test_flags_without_meaning_are_refused(zoo_bench, flag: str) -> None:
    outcome = zoo_bench("verify", "unet", "--against", "os:path", flag)
    assert outcome.code == 2
    assert flag.partition("=")[0] in outcome.err
