"""The command line: what it takes, and what it says to what it does not take."""

import pytest

from tests.bench.options import BRIEF, MOST_PROJECTS, USUAL, Options, parse

PARTS = {"sessions": "sessions", "floor": "the least"}


def parsed(*arguments: str) -> Options:
    """What is asked for, of these parts."""
    return parse(arguments, PARTS, ["sessions"])


def test_without_arguments_the_default_parts_are_measured() -> None:
    """At their usual length."""
    options = parsed()
    assert (options.parts, options.scale, options.generator) == (("sessions",), USUAL, None)


def test_parts_may_stand_before_and_after_options() -> None:
    """Each counts once."""
    assert parsed("floor", "--rounds", "2", "sessions", "floor").parts == ("floor", "sessions")


def test_servers_may_be_named_again_and_again() -> None:
    """In any combination."""
    options = parsed("--against", "http://[::1]:1/", "--against", "http://h:2", "--against-revision", "main")
    assert options.against_urls == ("http://[::1]:1", "http://h:2")
    assert options.against_revisions == ("main",)
    assert (options.against_node, parsed("--against-node").against_node) == (False, True)


def test_brief_is_short_and_can_be_overridden() -> None:
    """By whoever wants more of one thing."""
    assert parsed("--brief").scale == BRIEF
    assert (parsed("--brief", "--rounds", "3").scale.rounds, parsed("--seconds", "0.5").scale.seconds) == (
        3,
        0.5,
    )


def test_all_adds_the_largest_number_of_projects() -> None:
    """It takes a while, and so it is asked for."""
    assert MOST_PROJECTS not in parsed().scale.projects
    assert MOST_PROJECTS in parsed("--all").scale.projects


def test_a_profile_alone_measures_nothing_else() -> None:
    """Parts that are named come as well."""
    assert parsed("--profile", "a.svg").parts == ()
    assert parsed("--profile", "a.svg", "floor").parts == ("floor",)


def test_the_list_says_each_part_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With its name first."""
    with pytest.raises(SystemExit) as ended:
        parsed("--list")
    assert ended.value.code == 0
    assert capsys.readouterr().out.splitlines() == ["  sessions    sessions", "  floor       the least"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nonsense"], "there is no part 'nonsense', but sessions, floor"),
        (["--against", "main"], "for a revision there is --against-revision"),
        (["--against", "http://host"], "no address like http://127.0.0.1:3847"),
        (["--against", "http://host:99999"], "no address like http://127.0.0.1:3847"),
        (["--against-command", "node server"], "does not say where its {port} goes"),
        (["--against-command", "node 'server {port}"], "no command"),
        (["--rounds", "0"], "no whole number from 1 to 100"),
        (["--rounds", "2.5"], "no whole number from 1 to 100"),
        (["--seconds", "-1"], "no number of seconds up to 600"),
        (["--seconds", "nan"], "no number of seconds up to 600"),
        (["--sync-ms", "0"], "no number of milliseconds up to 1000"),
        (["--generator", "ab"], "invalid choice: 'ab'"),
        (["--rond"], "unrecognized arguments: --rond"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the status of a wrong use."""
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert says in said
    assert said.count("\n") == 1
