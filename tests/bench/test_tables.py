"""Tables, for a terminal and for a page."""

from tests.bench.tables import WIDTH, Row, Table, markdown, text

WIDE = Table(
    "Sessions",
    ("this", "127.0.0.1:3847"),
    (
        Row(
            "summary.json, µs, 100,000 projects",
            {"this": [1234.0, 2345.0], "127.0.0.1:3847": [1111.0, 9999.0]},
        ),
        Row("failed", {"this": [0.0]}),
    ),
    base="this",
    note="Failed requests: none.",
)


def test_a_table_says_each_figure_and_the_ratio() -> None:
    """Exactly so."""
    table = Table(
        "Memory", ("this", "node"), (Row("MB", {"this": [50.0], "node": [25.0]}),), "this", "A note."
    )
    assert text(table).splitlines() == [
        "Memory",
        "",
        "    this  node  this : node",
        "--  ----  ----  -----------",
        "MB  50.0  25.0         2.00",
        "",
        "A note.",
    ]


def test_a_wide_table_fits_a_terminal() -> None:
    """With the longest name, a long server, figures of four digits and their spread."""
    assert max(map(len, text(WIDE).splitlines())) <= WIDTH


def test_what_was_not_measured_is_a_dash() -> None:
    """And so is its ratio."""
    assert text(WIDE).splitlines()[5].split() == ["failed", "0", "—", "—"]


def test_with_several_others_each_has_a_table() -> None:
    """So that each fits."""
    values = {"this": [1.0], "a": [2.0], "b": [4.0]}
    lines = text(Table("T", ("this", "a", "b"), (Row("r", values),), "this")).splitlines()
    assert [line.split() for line in lines if line.startswith("r")] == [
        ["r", "1.00", "2.00", "0.500"],
        ["r", "1.00", "4.00", "0.250"],
    ]


def test_without_a_base_all_columns_stand_side_by_side() -> None:
    """Nothing is compared."""
    lines = text(Table("T", ("a", "b"), (Row("r", {"a": [1.0], "b": [2.0]}),))).splitlines()
    assert lines[2].split() == ["a", "b"]
    assert lines[-1].split() == ["r", "1.00", "2.00"]


def test_a_table_for_a_page_is_markdown() -> None:
    """With the figures to the right."""
    table = Table(
        "Memory", ("this", "node"), (Row("MB", {"this": [50.0], "node": [25.0]}),), "this", "A note."
    )
    assert markdown(table).splitlines() == [
        "### Memory",
        "",
        "|  | this | node | this : node |",
        "| --- | ---: | ---: | ---: |",
        "| MB | 50.0 | 25.0 | 2.00 |",
        "",
        "A note.",
    ]
