"""Days on two machines with the plugin: sessions are told, nothing is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.daemon import Daemon, wait_until
from tests.integration.machines import Machine, on_server, wait_for_same
from tests.often import times

pytestmark = pytest.mark.integration


@pytest.fixture(params=[True, False], ids=["agent", "hooks"])
def with_agent(request: pytest.FixtureRequest) -> bool:
    """Whether agents run, or hooks do their work."""
    return bool(request.param)


@pytest.fixture
def machines(
    tmp_path_factory: pytest.TempPathFactory, server: Daemon, project: str, with_agent: bool
) -> Iterator[list[Machine]]:
    """Two machines with the plugin's small server, and perhaps with an agent."""
    # The path of the agent's socket must be short.
    place = tmp_path_factory.mktemp("m")
    both = [Machine(place / name, server.url, project) for name in ("laptop", "desktop")]
    try:
        for one in both:
            one.processes.serve()
            if with_agent:
                one.start_agent()
        yield both
        for one in both:
            assert "Traceback" not in one.log_of_agent(), one.log_of_agent()
    finally:
        for one in both:
            one.stop()


def in_step(machines: list[Machine], server: Daemon, expected: list[str], with_agent: bool) -> None:
    """Wait until both machines have all items; without an agent, sessions of theirs bring it."""
    if with_agent:
        wait_for_same(server, machines, expected)
        return
    wait_until(
        lambda: sorted(on_server(server, machines[0].project).all()) == sorted(expected),
        within=15.0,
        every=0.1,
    )
    for one in machines:
        one.begin_session()
    wait_for_same(server, machines, expected)


def test_sessions_start_with_all_that_was_pushed_before(
    server: Daemon, machines: list[Machine], project: str, with_agent: bool
) -> None:
    """Ten of ten: the plugin has read the news, or the hook tells them.

    The other machine sleeps until its session starts. Every fifth day a summary is made, too.
    """
    written: list[str] = []
    for day in range(times(10, 40)):
        here, away = machines[day % 2], machines[1 - day % 2]
        if with_agent:
            here.signal_agent(signal.SIGCONT)
        pushed = on_server(server, project).all()
        told = here.begin_session()
        assert told.lacks(pushed) == [], (day, told)
        assert told.problem == ""
        # All but what the plugin wrote after the last end of a session was pushed by then.
        missed = [item for item in written if item not in pushed]
        assert all(item.startswith("late ") for item in missed), missed
        if with_agent:
            away.signal_agent(signal.SIGSTOP)
        fact, entry, late = (f"{kind} of day {day}" for kind in ("fact", "entry", "late"))
        here.processes.remember(fact)
        here.processes.entry(entry)
        if day % 5 == 4:
            assert here.processes.summarize(0.3, keep=2).wait() == 0
        assert here.end_session() == ""
        here.processes.entry(late)
        written += [fact, entry, late]
    for one in machines:
        if with_agent:
            one.signal_agent(signal.SIGCONT)
    in_step(machines, server, written, with_agent)


def test_a_summarizer_at_work_keeps_what_others_push_meanwhile(
    server: Daemon, machines: list[Machine], project: str, with_agent: bool
) -> None:
    """Log and summary stay as the summarizer read them, whatever the other machine does.

    Then nothing is lost, and nothing is in the summary twice or in the log as well, on either machine.
    """
    laptop, desktop = machines
    written: list[str] = []
    for turn in range(times(1, 10)):
        entries = [f"before {turn}-{number}" for number in range(12)]
        laptop.note(*entries)
        written += entries
        laptop.end_session()
        desktop.begin_session()
        in_step(machines, server, written, with_agent)
        model = laptop.processes.summarize(3.0, keep=2)
        wait_until((laptop.memory / "log.jsonl.lock").exists, within=5.0)
        before = laptop.items()
        news = [f"{kind} {turn}" for kind in ("fact", "decision", "entry")]
        desktop.processes.remember(news[0])
        desktop.processes.decide(news[1])
        desktop.processes.entry(news[2])
        assert desktop.processes.summarize(0.0, keep=6).wait() == 0
        assert desktop.end_session() == ""
        laptop.processes.entry(f"here {turn}")
        written += [*news, f"here {turn}"]
        laptop.begin_session()
        assert news[0] in laptop.items().facts
        assert model.poll() is None, "the model was too fast for this test"
        kept = laptop.items()
        assert kept.log[: len(before.log)] == before.log
        assert (kept.summed, kept.decisions) == (before.summed, before.decisions)
        assert model.wait() == 0
        laptop.end_session()
        in_step(machines, server, written, with_agent)


def test_a_command_of_the_plugin_keeps_facts_that_come_meanwhile(
    server: Daemon, machines: list[Machine], project: str, with_agent: bool
) -> None:
    """The facts are read before others come in, and written after that."""
    laptop, desktop = machines
    facts = []
    for number in range(times(2, 20)):
        fact, other = f"here {number}", f"there {number}"
        facts += [fact, other]
        desktop.processes.remember(other)
        desktop.end_session()
        laptop.processes.remember(fact, seconds=1.0)
        laptop.begin_session()
        laptop.end_session()
    laptop.processes.forget("there 0")
    laptop.end_session()
    facts.remove("there 0")
    in_step(machines, server, facts, with_agent)


def test_sessions_back_to_back_on_two_machines(
    server: Daemon, machines: list[Machine], project: str, with_agent: bool
) -> None:
    """`/clear` and `claude -p` begin a session right after another."""
    written = []
    for number in range(times(3, 30)):
        for one in machines:
            pushed = on_server(server, project).all()
            told = one.begin_session("clear" if number % 2 else "startup")
            assert told.lacks(pushed) == []
            written += [f"{what} {number} of {one.path.name}" for what in ("entry", "fact")]
            one.processes.entry(written[-2])
            one.processes.remember(written[-1])
            assert one.end_session("clear" if number % 2 else "other") == ""
    in_step(machines, server, written, with_agent)


def test_two_sessions_in_one_folder(
    server: Daemon, machines: list[Machine], project: str, with_agent: bool
) -> None:
    """The end of one takes nothing from the other, and both send what they have."""
    laptop, _ = machines
    written = []
    for number in range(times(3, 30)):
        laptop.begin_session()
        laptop.begin_session()
        for session in ("first", "second"):
            written.append(f"{session} {number}")
            laptop.processes.entry(written[-1])
            assert laptop.end_session() == ""
            assert written[-1] in on_server(server, project).log
    in_step(machines, server, written, with_agent)


def test_days_without_a_server(
    server: Daemon, machines: list[Machine], project: str, with_agent: bool
) -> None:
    """Sessions on both machines go on, and all comes together when the server is back."""
    written = []
    server.kill()
    try:
        for day in range(times(2, 10)):
            for one in machines:
                told = one.begin_session()
                assert told.problem.startswith("mneme: ")
                assert told.problem.count("\n") == 1
                written += [f"entry {day} of {one.path.name}", f"fact {day} of {one.path.name}"]
                one.processes.entry(written[-2])
                one.processes.remember(written[-1])
                one.end_session()
    finally:
        server.start()
    for one in machines:
        one.begin_session()
        one.end_session()
    in_step(machines, server, written, with_agent)
