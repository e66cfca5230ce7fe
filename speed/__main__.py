"""Run a script of this folder, and show what it found beside the last committed result.

python -m speed                      # the scripts, a line for each
python -m speed NAME [ARGUMENT ...]  # run one; --help of most scripts says which arguments they have
python -m speed --keep NAME ...      # and keep the result in results.jsonl and RESULTS.md
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

from speed.history import Busy, command_of, comparison, keep, kept, last, origin, record_of

_NO_SCRIPTS = {"__init__", "__main__", "figures", "history"}


def scripts() -> dict[str, str]:
    """Return the scripts by name with the first line of what they say about themselves."""
    files = [file for file in sorted(Path(__file__).parent.glob("*.py")) if file.stem not in _NO_SCRIPTS]
    texts = {file.stem: ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "" for file in files}
    return {name: text.partition("\n")[0] for name, text in texts.items()}


def main() -> None:
    """Run what the command line names."""
    words = sys.argv[1:]
    keeping = words[:1] == ["--keep"]
    name, *arguments = words[keeping:] or [""]
    known = scripts()
    if not name or name in ("-h", "--help"):
        print(__doc__)
        print("\n".join(f"{one:18} {line}" for one, line in known.items()))
        return
    if name not in known:
        sys.exit(f"python -m speed: {name!r} is no script; expected one of {', '.join(known)}.")
    sys.argv = [f"python -m speed {name}", *arguments]
    before = Busy.now()
    figures = importlib.import_module(f"speed.{name}").main()
    record = record_of(command_of(name, arguments), figures, before, Busy.now())
    earlier = last(kept(), record["command"], record["cpu"])
    print(f"\n{comparison(record, earlier)}\nnow: {origin(record)}")
    if earlier:
        print(f"last kept: {origin(earlier)}")
    if keeping:
        keep(record)


if __name__ == "__main__":
    main()
