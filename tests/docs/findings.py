"""The doctor's findings in docs/reference.md, made of its code.

`python -m tests.docs.findings` writes them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence

from attrs import frozen

from tests.docs.pages import ROOT
from tests.docs.reference import PAGE

DOCTOR = ROOT / "mneme" / "client" / "doctor"
STATES = ("bad", "doubtful", "good")

_PLACE = re.compile(r"(<!-- findings -->\n).*(<!-- end of the findings -->\n)", re.DOTALL)
_ANYTHING = "…"
"""The place of whatever a finding names: a path, a number, the sentence of an error."""


_SENTENCE = "(the sentence of the error)"


@frozen
class Row:
    """A finding as the code has it."""

    code: str
    states: tuple[str, ...]
    found: str
    advice: str


def with_findings(text: str) -> str:
    """A page's text with the findings as the code has them now."""
    table = "\n".join(_table(rows()))
    return _PLACE.sub(lambda place: f"{place[1]}{table}\n{place[2]}", text)


def rows() -> Sequence[Row]:
    """All findings, by their codes."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(DOCTOR.glob("*.py"))]
    codes = [code for tree in trees for code in _codes_given(tree)]
    found = [row for tree in trees for row in _rows(tree, codes)]
    return sorted(set(found), key=lambda row: (row.code, row.states, row.found))


def _table(found: Sequence[Row]) -> Iterator[str]:
    yield "| finding | state | sentence | advice |"
    yield "| --- | --- | --- | --- |"
    for row in found:
        cells = (f"`{row.code}`", " or ".join(row.states), row.found, row.advice)
        escaped = " | ".join(cell.replace("|", r"\|") for cell in cells)
        yield f"| {escaped} |"


def _codes_given(tree: ast.Module) -> Iterator[str]:
    """The first parts of codes that are given to `folder_finding`."""
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and _name(call.func) == "folder_finding":
            yield ast.literal_eval(call.args[0])


def _rows(tree: ast.Module, codes: Sequence[str]) -> Iterator[Row]:
    of_module = _texts(tree.body, {})
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        texts = {**of_module, **_texts(function.body, of_module)}
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and (states := _states(call.func)):
                code, *said = (_text(argument, texts) for argument in call.args)
                found, advice = (*said, "")[:2]
                found = found if found != _ANYTHING else _SENTENCE
                for whole in [code.replace(_ANYTHING, one) for one in codes] if _ANYTHING in code else [code]:
                    yield Row(whole, states, found, advice)


def _states(function: ast.expr) -> tuple[str, ...]:
    """The states of findings that a function makes; empty for any other function."""
    if isinstance(function, ast.IfExp):
        return (*_states(function.body), *_states(function.orelse))
    return (name,) if (name := _name(function)) in STATES else ()


def _texts(body: Sequence[ast.stmt], known: Mapping[str, str]) -> dict[str, str]:
    """The texts that names are given in some statements, with strokes between several."""
    found: dict[str, str] = {}
    for statement in [inner for outer in body for inner in ast.walk(outer)]:
        if isinstance(statement, ast.Assign) and (name := _name(statement.targets[0])):
            text = _text(statement.value, {**known, **found})
            if text != _ANYTHING:
                found[name] = f"{found[name]} / {text}" if name in found else text
    return found


def _text(value: ast.expr, texts: Mapping[str, str]) -> str:
    """The text of an expression, as far as the code alone says it."""
    match value:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name):
            return texts.get(name, _ANYTHING)
        case ast.JoinedStr(values=parts):
            return re.sub(
                f"{_ANYTHING}[/ ]?{_ANYTHING}", _ANYTHING, "".join(_text(part, texts) for part in parts)
            )
        case ast.FormattedValue(value=inner):
            return _text(inner, texts)
        case ast.BinOp(left=left, right=right):
            return _text(left, texts) + _text(right, texts)
        case ast.IfExp(body=yes, orelse=no):
            return " / ".join(filter(None, (_text(yes, texts), _text(no, texts))))
    return _ANYTHING


def _name(value: ast.expr) -> str | None:
    return value.id if isinstance(value, ast.Name) else None


if __name__ == "__main__":
    PAGE.write_text(with_findings(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
