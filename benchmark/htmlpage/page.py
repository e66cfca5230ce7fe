"""The document as one HTML file with template, styles, script, plotly.js, and a policy that forbids requests.

plotly.js takes 4.8 MB and bokehjs only 1.4 MB. But readers choose axes in the browser: that needs a library made for
use from JavaScript, points that are elements of the page, and no evaluation of text as code.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from benchmark.cleaning import in_texts
from benchmark.htmlpage.data import Document
from benchmark.replacing import replace_text

# Parts of the script, in one scope; while they load, each uses only earlier ones.
_TABLE_PARTS = ("dom", "values", "state", "drawer", "table", "filters")
_SCRIPT = (*_TABLE_PARTS, "labels", "plot", "stage", "gallery", "address", "main")


def render(document: Document) -> str:
    """Return the page; the same document gives the same text."""
    content = in_texts(document.content)
    script = "(() => {\n'use strict';\n" + "\n".join(_read(f"script/{name}.js") for name in _SCRIPT) + "})();\n"
    scripts = {"plotly": _in_script(get_plotlyjs()), "script": _in_script(script)}
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_read("page.html.j2")).render(
        title="zoo-bench leaderboard",
        version=metadata.version("zoo-bench"),
        summary=summary(content),
        policy=_policy(list(scripts.values())),
        css=Markup(_read("page.css")),
        data=Markup(json_in_html(content)),
        **{name: Markup(text) for name, text in scripts.items()},
    )


def summary(content: dict[str, Any]) -> str:
    """Return the number of records and datasets, and the days of the records."""
    days = sorted(record["created"][:10] for record in content["records"])
    span = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    records = sum(len(record["runs"]) or 1 for record in content["records"])
    datasets = len(content["datasets"])
    return (
        f"{records:,} record{'s' * (records != 1)} on {datasets} dataset{'s' * (datasets != 1)}, measured {span}."
        " Every number opens its definition, conditions and origin."
    )


def json_in_html(value: Any) -> str:
    """Return strict JSON that is safe in a script element: no text in it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def write_page(document: Document, path: Path) -> None:
    """Write the page, atomically; raises UserError if it cannot be written."""
    replace_text(path, render(document), "--html")


def _policy(scripts: list[str]) -> str:
    """Return a content security policy: it allows these scripts, and styles and data in the file, but no requests."""
    digests = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    # plotly.js writes style elements and attributes, and saves pictures through blobs.
    return (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )


def _in_script(text: str) -> str:
    """Return a script that is safe in a script element; browsers hash it after they normalize line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    for dangerous in ("</script", "<!--"):
        assert dangerous not in text.lower(), f"{dangerous} in a script"
    return text


def _read(name: str) -> str:
    return resources.files("benchmark.htmlpage").joinpath(f"templates/{name}").read_text(encoding="utf-8")
