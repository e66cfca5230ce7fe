"""A digest of a network's code: two runs have the same key only if this digest is the same.

The digest covers the code of a module and its imports, as Python parses it: comments, docstrings and layout do not
change it, and every version of Python from 3.10 on gives the same digest. Imports are followed into the files of
``zoo`` and the user's own files, wherever they are; installed packages (torch, timm) belong to the environment. An
import that is not a statement (``importlib.import_module(name)``) and data files are not covered.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import sys
import sysconfig
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ZOO = Path(__file__).resolve().parent
# The tool and the libraries of every network are never followed, even if they are built from source.
_ENVIRONMENT = frozenset({"benchmark", "torch", "torchvision", "numpy"})
_INSTALLED = tuple(
    {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
)
# Modules that only register, build and name networks; ``zoo`` and ``zoo.card`` count as ``zoo.convention``.
_KEEPING = frozenset({"zoo.building", "zoo.errors", "zoo.identity", "zoo.options", "zoo.plugins", "zoo.registry"})
# Code that builds other networks by their names may build any network of the package.
_BY_NAME = frozenset({"create_model", "get_card"})
# Hints for people and type checkers, and what follows from the place of a name.
_NO_CODE = frozenset({"ctx", "kind", "type_comment", "type_ignores"})
_UNKNOWN = "unknown-"


def digest_of_build(build: Callable[..., Any], registered_in: str, version: int) -> str:
    """Return a digest of the modules that define and register ``build``, with all their imports.

    Without source code (a function from a console, a notebook or ``exec``) the digest is unique, even for the same
    function in another process, so that no earlier measurement is used for it.
    """
    found: dict[Path, tuple[str, _File]] = {}
    for name in filter(None, (build.__module__, registered_in)):
        root = _root_of(sys.modules.get(name))
        if root is None or getattr(getattr(build, "__code__", None), "co_filename", "").startswith("<"):
            return _UNKNOWN + uuid.uuid4().hex[:16]
        found[root.path] = ("", root)
    open_ = [root for _, root in found.values()]
    while open_:
        for other in open_.pop().imports():
            if other.path not in found:
                found[other.path] = (other.label, other)
                open_.append(other)
    codes = sorted((label, file.code) for label, file in found.values())
    return hashlib.sha256(f"{version} {codes}".encode()).hexdigest()[:16]


def is_unknown(digest: str) -> bool:
    """Whether ``digest_of_build`` found no source."""
    return digest.startswith(_UNKNOWN)


@dataclass(frozen=True)
class _File:
    """A file of code: the name of its module, and the folder where the search for absolute names begins."""

    path: Path
    name: str
    base: Path

    @property
    def label(self) -> str:
        return self.path.relative_to(self.base).as_posix()

    @property
    def code(self) -> str:
        return self._parsed().digest

    def _parsed(self) -> _Parsed:
        return _parsed(_read(self.path) or b"", self.path.suffix == ".py")

    def imports(self) -> Iterator[_File]:
        parsed = self._parsed()
        package = self.name if self.path.stem == "__init__" else self.name.rpartition(".")[0]
        for level, module in parsed.imports:
            above = package.split(".")[: len(package.split(".")) - level + 1] if level else []
            found = _find(".".join(filter(None, [*above, module])), self)
            if found:
                yield found
        if parsed.builds_by_name and not self.path.is_relative_to(_ZOO):
            for path in sorted(_ZOO.glob("models/*.py")):
                yield _File(path, f"zoo.models.{path.stem}", _ZOO.parent)


def _root_of(module: Any) -> _File | None:
    spec = getattr(module, "__spec__", None)
    return _located(spec.name if spec else getattr(module, "__name__", ""), getattr(module, "__file__", None))


def _located(name: str, file: str | None) -> _File | None:
    path = Path(file).resolve() if file else None
    if path is None or not _exists(path):
        return None
    depth = name.count(".") + (path.stem == "__init__")
    return _File(path, name, path.parents[min(depth, len(path.parents) - 1)])


def _find(name: str, importer: _File) -> _File | None:
    """Return the file of a module that is followed, whether or not it is loaded; None for all others."""
    top = name.partition(".")[0]
    if top in _ENVIRONMENT or not top or name in _KEEPING:
        return None
    # What code takes from these decides how a network is fed, and not how it is registered.
    name = "zoo.convention" if name in ("zoo", "zoo.card") else name
    loaded = _located(name, getattr(sys.modules.get(name), "__file__", None))
    if loaded is None:
        place = importer.base / name.replace(".", "/")
        tried = (place.with_name(place.name + ".py"), place / "__init__.py")
        loaded = next((_File(path, name, importer.base) for path in tried if _exists(path)), None)
    if loaded is None or not is_installed(loaded.path) or loaded.path.is_relative_to(_ZOO):
        return loaded
    # Of installed code, only the importer's own package is followed, or the modules beside a single-file importer.
    if "." in importer.name or importer.path.stem == "__init__":
        return loaded if top == importer.name.partition(".")[0] else None
    return loaded if loaded.path.parent == importer.path.parent else None


def is_installed(path: Path) -> bool:
    """Whether a file belongs to an installed package or to Python."""
    named = {"site-packages", "dist-packages"} & set(path.parts)
    return bool(named) or any(path.is_relative_to(folder) for folder in _INSTALLED)


def _exists(path: Path) -> bool:
    return path.is_file() or _read(path) is not None


def _read(path: Path) -> bytes | None:
    """Return a file's content, also from a zip archive; None if it does not exist."""
    if path.is_file():
        return path.read_bytes()
    archive = next((parent for parent in path.parents if parent.is_file()), None)
    if archive is None or not zipfile.is_zipfile(archive):
        return None
    with zipfile.ZipFile(archive) as opened:
        inside = path.relative_to(archive).as_posix()
        return opened.read(inside) if inside in opened.namelist() else None


@dataclass(frozen=True)
class _Parsed:
    """The relevant facts of a file: its digest, the names it imports (with leading dots), and how it builds."""

    digest: str
    imports: tuple[tuple[int, str], ...] = ()
    builds_by_name: bool = False


@functools.cache
def _parsed(content: bytes, is_python: bool = True) -> _Parsed:
    tree = _tree_of(content) if is_python else None
    if tree is None:
        return _Parsed(hashlib.sha256(content).hexdigest())
    imports: dict[tuple[int, str], None] = {}
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {(0, alias.name): None for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            imports[node.level, module] = None
            imports |= {(node.level, f"{module}.{alias.name}".lstrip(".")): None for alias in node.names}
            names |= {alias.name for alias in node.names}
        elif isinstance(node, (ast.Name, ast.Attribute)):
            names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return _Parsed(hashlib.sha256(_text(tree).encode()).hexdigest(), tuple(imports), bool(names & _BY_NAME))


def digest_of_code(content: bytes) -> str:
    """Return a digest of a Python file's code, or of its bytes if it cannot be parsed."""
    return _parsed(content).digest


def _tree_of(content: bytes) -> ast.Module | None:
    with warnings.catch_warnings():
        # These warnings are about escapes in the user's strings.
        warnings.simplefilter("ignore")
        try:
            return ast.parse(content)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


class _Mark(str):
    """Text that is written unchanged; it is not a constant of the code."""

    __slots__ = ()


def _text(tree: ast.Module) -> str:
    """Write a tree the same way in every version of Python: ``ast.dump`` changed its form more than once.

    Empty fields are left out, because newer versions have more of them.
    """
    written: list[str] = []
    open_: list[Any] = [tree]
    while open_:
        item = open_.pop()
        if isinstance(item, _Mark):
            written.append(item)
        elif isinstance(item, list):
            written.append("[")
            open_.append(_Mark("]"))
            open_.extend(reversed([one for one in item if not _is_docstring(one)]))
        elif isinstance(item, ast.AST):
            written.append(f"{type(item).__name__}(")
            open_.append(_Mark(")"))
            for name, value in reversed(list(ast.iter_fields(item))):
                if value is not None and value != [] and name not in _NO_CODE:
                    value = _joined(value) if isinstance(item, ast.JoinedStr) else value
                    open_ += [value, _Mark(f"{name}=")]
        else:
            number = type(item) is int
            written.append(f"{hex(item) if number else ascii(item)},")
    return "".join(written)


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _joined(parts: list[ast.expr]) -> list[ast.expr]:
    """Return the parts of an f-string with adjacent texts joined, because Python versions split them differently."""
    joined: list[ast.expr] = []
    for part in parts:
        text = part.value if isinstance(part, ast.Constant) else None
        before = joined[-1].value if joined and isinstance(joined[-1], ast.Constant) else None
        if isinstance(text, str) and isinstance(before, str):
            joined[-1] = ast.Constant(before + text)
        elif text != "":
            joined.append(part)
    return joined
