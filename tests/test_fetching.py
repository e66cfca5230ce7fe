"""Weights by address: a hub and a web server on this machine; kept, checked by digest, refused, never half used."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import fetching
from benchmark.fetching import fetch_weights
from zoo import UserError
from zoo.official import official_files
from zoo.trained import shipped_weights


class FakeHub(http.server.ThreadingHTTPServer):
    """Serves ``files`` {path: bytes} as the hub does below /owner/net/resolve/REVISION, and as they are elsewhere."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        commit = hashlib.sha1(repr(self.server.files).encode()).hexdigest()
        path = self.path.replace(f"/resolve/{commit}/", "/resolve/main/")
        self.server.asked.append(f"{self.command} {self.path}")
        content = self.server.files.get(path)
        self.send_response(404 if content is None else 200)
        if content is None and "/resolve/" in path:
            self.send_header("X-Error-Code", "EntryNotFound" if "/main/" in path else "RevisionNotFound")
        self.send_header("Content-Length", str(len(content or b"")))
        self.send_header("ETag", f'"{hashlib.sha256(content or b"").hexdigest()}"')
        self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if with_body:
            self.wfile.write(content or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine, and a cache of its own for huggingface_hub."""
    from huggingface_hub import constants

    server = FakeHub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "cache" / "assets"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield server
    server.shutdown()
    server.server_close()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_of_the_hub_is_fetched_once_and_then_needs_no_network(hub: FakeHub) -> None:
    hub.files["/owner/net/resolve/main/sub/w.safetensors"] = b"weights"
    address = f"hf://owner/net/sub/w.safetensors@main#sha256={digest(b'weights').upper()}"
    file = fetch_weights(address)
    assert (file.name, file.read_bytes()) == ("w.safetensors", b"weights")
    assert any(one.startswith("GET ") for one in hub.asked)
    hub.asked.clear()
    assert fetch_weights(address) == file
    assert not hub.asked


def test_a_file_of_the_web_is_fetched_once_and_kept_by_its_digest(hub: FakeHub) -> None:
    hub.files["/files/a%20b.pth"] = b"weights"
    file = fetch_weights(f"{hub.url}/files/a%20b.pth#sha256={digest(b'weights')}")
    assert (file.name, file.read_bytes()) == ("a b.pth", b"weights")
    hub.files.clear()
    assert fetch_weights(f"{hub.url}/files/a%20b.pth#sha256={digest(b'weights')}") == file


@pytest.mark.parametrize("place", ["hf://owner/net/w.bin@main", "{url}/owner/net/resolve/main/w.bin"])
def test_a_file_whose_digest_differs_is_never_used(hub: FakeHub, place: str) -> None:
    hub.files["/owner/net/resolve/main/w.bin"] = b"other"
    address = f"{place.format(url=hub.url)}#sha256={digest(b'weights')}"
    for _ in range(2):
        with pytest.raises(UserError, match=rf"is {digest(b'other')}, expected {digest(b'weights')}; it is not used"):
            fetch_weights(address)
    # The server has the right file now.
    hub.files["/owner/net/resolve/main/w.bin"] = b"weights"
    assert fetch_weights(address).read_bytes() == b"weights"


def test_a_file_without_a_digest_needs_trust_and_is_reported_with_its_digest(hub: FakeHub, capsys) -> None:
    from benchmark.cli.console import ConsoleReporter

    hub.files["/owner/net/resolve/main/w.bin"] = b"weights"
    with pytest.raises(UserError, match="comes without a digest; append #sha256=DIGEST, or pass --trust"):
        fetch_weights("hf://owner/net/w.bin@main")
    assert not hub.asked
    assert fetch_weights("hf://owner/net/w.bin@main", trust=True, reporter=ConsoleReporter()).read_bytes() == b"weights"
    assert f"taken without a check; its digest is #sha256={digest(b'weights')}" in capsys.readouterr().err
    # What nobody protects on its way is not trusted.
    with pytest.raises(UserError, match=r"comes without a digest; append #sha256=DIGEST[.]"):
        fetch_weights(f"{hub.url}/owner/net/resolve/main/w.bin", trust=True)


def test_the_two_files_of_a_tensorflow_checkpoint_come_together(hub: FakeHub) -> None:
    hub.files |= {"/m/net.index": b"index", "/m/net.data-00000-of-00001": b"data"}
    file = fetch_weights(f"{hub.url}/m/net.index#sha256={digest(b'indexdata')}")
    assert file.with_name("net.data-00000-of-00001").read_bytes() == b"data"


def test_published_files_need_no_digest(monkeypatch, tmp_path) -> None:
    known = official_files()[0]
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(fetching, "_kept", lambda place, wanted: asked.append((place, wanted)))
    (tmp_path / "other.pth").write_bytes(b"other")
    monkeypatch.setattr(fetching, "_fetched", lambda place, wanted: tmp_path / "other.pth")
    with pytest.raises(UserError, match=f"expected {known.sha256}; it is not used"):
        fetch_weights(known.address)
    assert asked == [(known.address, known.sha256)]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://owner/net/missing.bin@main#sha256={d}", "the repository has no such file in this revision"),
        ("hf://owner/net/w.bin@gone#sha256={d}", "the repository has no such revision"),
        ("{url}/missing.bin#sha256={d}", "the server refuses it"),
        ("{url}/#sha256={d}", "names no file"),
        ("hf://owner/w.bin#sha256={d}", "is no address of a file that can be fetched; expected hf://OWNER/REPOSITORY"),
        ("s3://bucket/w.bin", "is no address of a file that can be fetched"),
        ("hf://owner/net/w.bin@main#sha256=abc", "after # expected sha256= and 64 hexadecimal digits"),
        ("hf://owner/net/w.bin@main#md5={d}", "after # expected sha256= and 64 hexadecimal digits"),
        ("hf://owner/../net/w.bin@main#sha256={d}", "is no address of a file that can be fetched"),
        ("hf://.owner/net/w.bin@main#sha256={d}", "HFValidationError"),
    ],
)
def test_addresses_that_lead_nowhere_get_one_line(hub: FakeHub, address: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch_weights(address.format(url=hub.url, d=digest(b"x")))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_network_the_error_says_so(hub: FakeHub, monkeypatch, capfd) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fail(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("not there") from ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    monkeypatch.setattr(huggingface_hub.file_download, "http_get", fail)
    for place in ("hf://owner/net/w.bin@main", "https://nowhere.invalid/w.bin"):
        with pytest.raises(UserError) as caught:
            fetch_weights(f"{place}#sha256={digest(b'x')}")
        assert "cannot be reached (ConnectionError: Name or service not known)" in str(caught.value)
        assert "download it elsewhere and pass the file" in str(caught.value)
    assert capfd.readouterr().err == ""


def test_run_takes_weights_by_address_and_those_that_ship(hub: FakeHub, zoo_bench, tmp_path) -> None:
    content = shipped_weights("unet_w8").read_bytes()
    hub.files["/owner/net/resolve/main/unet.safetensors"] = content
    address = f"hf://owner/net/unet.safetensors@main#sha256={digest(content)}"
    calls = ("run", "--dataset", "zrr", "--models", "unet_w8", "--weights", "unet_w8@there=shipped", "--weights")
    # Nothing is measured: the two are found to be the same.
    for flags in ((f"unet_w8@hub={address}",), (f"unet_w8@hub={address.partition('#')[0]}", "--trust")):
        outcome = zoo_bench(*calls, *flags, "--out", tmp_path / "o")
        assert outcome.code == 2
        assert "unet_w8 (there) and unet_w8 (hub) are the same weights" in outcome.err
    outcome = zoo_bench("run", "--dataset", "zrr", "--models", "unet", "--weights", "unet=shipped")
    assert (outcome.code, "no weights of unet ship with this package" in outcome.err) == (2, True)


def test_infer_and_import_take_addresses(hub: FakeHub, zoo_bench, tmp_path) -> None:
    import numpy as np

    np.save(tmp_path / "x.npy", np.zeros((1, 4, 32, 32), np.float32))
    content = shipped_weights("unet_w8").read_bytes()
    hub.files["/owner/net/resolve/main/unet.safetensors"] = content
    address = "hf://owner/net/unet.safetensors@main"
    call = ("infer", "unet_w8", tmp_path / "x.npy", "-o", tmp_path / "o", "--weights", address)
    outcome = zoo_bench(*call)
    assert (outcome.code, outcome.out, "comes without a digest" in outcome.err) == (2, "", True)
    assert zoo_bench(*call, "--trust").code == 0
    call = ("weights", "import", "unet_w8", f"{address}#sha256={digest(content)}", "-o", tmp_path / "w.safetensors")
    assert zoo_bench(*call).code == 0


def test_nothing_imports_the_hub_before_it_is_needed() -> None:
    code = (
        "import sys, benchmark.cli, benchmark.catalogue, benchmark.running.run, benchmark.importing\n"
        "from benchmark.selection import entry_of\n"
        "entry_of('unet_w8', 'shipped', {})\n"
        "assert 'huggingface_hub' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
