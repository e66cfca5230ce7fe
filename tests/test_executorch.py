"""Programs for ExecuTorch: what they say about themselves, which operators XNNPACK runs, threads, files that fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmark.counting.trace import trace
from tests.test_export import settings
from tests.test_models import side_of
from zoo import get_card, list_models
from zoo.errors import UserError
from zoo.hyper import HyperConv2d
from zoo.splitting import FrozenNetwork, split

pytest.importorskip("executorch")


def noise(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


class Small(nn.Module):
    """A hyper-network: the filters of its second convolution are predicted from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.hyper = HyperConv2d(4, 3, embedding_channels=3, hidden=5, pool=1)

    def forward(self, x):
        return self.hyper(self.first(x), x)


def lowered(network: nn.Module, planes: torch.Tensor):
    from benchmark.backends.capture import capture
    from benchmark.backends.executorch import lower

    return lower(capture(network, [planes]))


def test_xnnpack_takes_convolutions_with_frozen_filters_and_no_others() -> None:
    from benchmark.backends.executorch import pass_of, to_pte
    from benchmark.backends.placement import placement_of

    network, planes = Small().eval(), noise(1, 3, 8, 12)
    computed = placement_of(lowered(network, planes))
    (left,) = [one for one in computed["portable_operators"] if one["operation"] == "aten.convolution"]
    assert (left["calls"], left["layers"]) == (1, ["hyper"])
    assert left["reason"] == "Expected weight to be a static param"
    assert left["macs"] == computed["portable"]["macs"] == 8 * 12 * 4 * 3 * 9
    # Each multiply-accumulate that the tool counts is somewhere.
    total = computed["delegate"]["macs"] + computed["portable"]["macs"]
    assert total == trace(network, planes).macs
    assert computed["delegated_share"] == pytest.approx(1 - left["macs"] / total)

    with torch.inference_mode():
        frozen = FrozenNetwork(network, split(network).filters(planes))
        program = lowered(frozen, planes)
        placement = placement_of(program, "inner.network")
        assert placement["delegated_share"] == 1
        assert placement["delegate"]["operators"]["aten.convolution"] == 2
        assert placement["portable_operators"] == []
        (output,) = pass_of(to_pte(program), 1)([planes])
        torch.testing.assert_close(output, network(planes), rtol=0, atol=1e-5)


def test_batch_norms_without_weights_are_not_mixed_up() -> None:
    from benchmark.backends.executorch import pass_of, to_pte

    layers = [nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)]
    network, planes = nn.Sequential(*layers), noise(1, 3, 8, 8)
    with torch.no_grad():
        network(3 * noise(2, 3, 8, 8))
    (output,) = pass_of(to_pte(lowered(network.eval(), planes)), 1)([planes])
    torch.testing.assert_close(output, network(planes), rtol=0, atol=1e-5)


def test_a_pass_that_fails_is_named_and_no_operation() -> None:
    from benchmark.backends.capture import conversion_error

    error = Exception("An error occurred when running the 'Merge' pass after the following passes: []")
    error.__cause__ = RuntimeError("expected 4 channels, found 3\n\nWhile executing torch.ops.aten.mul")
    assert str(conversion_error(error, "ExecuTorch")) == (
        "ExecuTorch cannot convert the network: its pass Merge fails (expected 4 channels, found 3)."
    )


def test_programs_with_other_numbers_of_threads_take_turns() -> None:
    from benchmark.backends.executorch import pass_of, portable_lib, to_pte

    network, planes = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), noise(1, 3, 16, 16)
    content = to_pte(lowered(network, planes))
    one, two = pass_of(content, 1), pass_of(content, 2)
    for run, threads in ((one, 1), (two, 2), (one, 1)):
        (output,) = run([planes])
        torch.testing.assert_close(output, network(planes), rtol=0, atol=1e-5)
        assert portable_lib._threadpool_get_thread_count() == threads


def test_a_program_of_open_size_says_what_it_is_and_is_compared_at_two_sizes(zoo_bench, tmp_path, capfd) -> None:
    from benchmark.backends.executorch import Runtime, open_file

    file = tmp_path / "p.pte"
    outcome = zoo_bench("export", "plainunet_8", "--to", "executorch", "-o", file, "--dynamic", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert document["parity"]["ok"]
    assert document["parity"]["runtime"].startswith("executorch ")
    assert [one["input_shape"][2:] for one in document["parity"]["sizes"]] == [[224, 224], [216, 212]]
    assert "takes planes up to 224x224" in document["notes"][0]
    (one,) = document["files"]
    assert one["bytes"] == file.stat().st_size
    assert sum(one["operations"].values()) == sum(
        sum(one["placement"][part]["operators"].values()) for part in ("delegate", "portable")
    )
    reasons = {(two["operation"], two["reason"]) for two in one["placement"]["portable_operators"]}
    assert ("aten.upsample_bilinear2d", "dynamic output sizes are not supported") in reasons
    program = Runtime.get().load_program(file)
    assert program.load_method("zoo_bench.model").execute([]) == ["plainunet_8"]
    assert b".py" not in file.read_bytes()

    content = file.read_bytes()
    for broken, message in (
        (content[: len(content) // 2], "ExecuTorch cannot load the program"),
        (content[:4] + b"ET11" + content[8:], "expected a program of ExecuTorch with the format ET12"),
        (b"", "expected a program of ExecuTorch"),
    ):
        file.write_bytes(broken)
        capfd.readouterr()
        with pytest.raises(UserError, match=message) as caught:
            open_file(file, [], 1)
        assert str(caught.value).startswith(f"{file}: ")
        assert "\n" not in str(caught.value)
        # The runtime's own lines are hidden.
        assert capfd.readouterr().err == ""


def test_a_written_program_is_compared_again_and_its_parts_are_timed(zoo_bench, tmp_path) -> None:
    file = tmp_path / "p.pte"
    assert zoo_bench("export", "plainunet_8", "--to", "executorch", "-o", file, "--size", "32x32").code == 0
    outcome = zoo_bench("export", "plainunet_8", "--check", file, "--measure", "--json")
    assert outcome.code == 0, outcome.err
    document = json.loads(outcome.out)
    assert (document["precision"], document["parity"]["ok"]) == ("fp32", True)
    assert document["parity"]["sizes"][0]["input_shape"] == [1, 4, 32, 32]
    times = document["times_ms"]
    assert 0 < times["delegate"] < times["pass"]
    assert zoo_bench("export", "plainunet_8", "--seed", "1", "--check", file).code == 1
    for model, content, message in (
        ("unet_w8", file.read_bytes(), "holds plainunet_8, not unet_w8"),
        ("plainunet_8", b"1234ET11", "it is of another version"),
    ):
        file.write_bytes(content)
        outcome = zoo_bench("export", model, "--check", file)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert message in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "m.onnx", "--to", "executorch"], "-o m.onnx: expected a name that ends with .pte, or --to onnx"),
        (["-o", "m.pte"], "-o m.pte: expected a name that ends with .onnx, or --to executorch"),
        (["-o", "m.pte", "--to", "executorch", "--opset", "20"], "--opset 20: only ONNX has operator sets"),
        (["--check", "no.pte"], "--check no.pte: expected a file that `export` wrote"),
        (["--check", "no", "-o", "m.onnx"], "-o m.onnx: --check writes no file"),
        (["-o", "m.onnx", "--measure"], "--measure: only programs for ExecuTorch have two parts"),
        (["-o", "no/m.pte", "--to", "executorch"], "-o no/m.pte: its folder cannot be made"),
    ],
)
def test_bad_input_is_one_line(zoo_bench, tmp_path, monkeypatch, arguments: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("no").write_text("a file")
    outcome = zoo_bench("export", "plainunet_8", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_every_model_agrees_with_torch(zoo_bench, tmp_path, name: str) -> None:
    size = f"{side_of(get_card(name).input)}x{side_of(get_card(name).input)}"
    call = ["export", name, "--to", "executorch", "-o", tmp_path / "m.pte", "--size", size, "--json", *settings(name)]
    outcome = zoo_bench(*call)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["parity"]["relative_error"] <= 1e-4
