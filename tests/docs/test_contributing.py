"""The table of modules in CONTRIBUTING.md is the house as it is."""

from __future__ import annotations

import re
import tomllib

from tests.docs.pages import ROOT

_ROW = re.compile(r"^\| (`\S.*?) \| (.*) \|$", re.MULTILINE)
_NAME = re.compile(r"`([a-z]+)/?`")


def _rows() -> list[tuple[set[str], set[str]]]:
    """Each row of the table: the modules of its layer, and those inside of them."""
    rows = _ROW.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    return [(set(_NAME.findall(layer)), set(_NAME.findall(inside))) for layer, inside in rows]


def test_the_table_has_the_layers_that_are_checked() -> None:
    """In the same order, from the top to the bottom."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (house,) = [one["layers"] for one in contracts if one["id"] == "house"]
    assert [layer for layer, _ in _rows()] == [set(layer.split(" | ")) for layer in house]


def test_the_table_has_every_module_of_a_package() -> None:
    """In the row of the package."""
    for layer, named in _rows():
        packages = [ROOT / "mneme" / name for name in layer]
        inside = {path.stem for package in packages for path in package.rglob("[!_]*.py")}
        assert inside <= named, inside - named
