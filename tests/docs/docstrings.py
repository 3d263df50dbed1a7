"""Check of the first lines of docstrings: few words, and no riddle."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

MOST_WORDS = 15
RIDDLES = ("What ", "It ", "One ", "The same")
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def problems(path: Path) -> Iterator[str]:
    """Sentences on the docstrings of a file that break the rule."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        first = (ast.get_docstring(node) or "").partition("\n")[0] if isinstance(node, _DOCUMENTED) else ""
        if len(first.split()) > MOST_WORDS:
            yield f"{path}: more than {MOST_WORDS} words: {first}"
        elif first.startswith(RIDDLES):
            yield f"{path}: no noun at the beginning: {first}"


def main(roots: list[str]) -> int:
    """Print all problems below some directories; the exit status."""
    found = [
        problem for root in roots for path in sorted(Path(root).rglob("*.py")) for problem in problems(path)
    ]
    for problem in found:
        print(problem)  # noqa: T201 - for the person at the terminal
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
