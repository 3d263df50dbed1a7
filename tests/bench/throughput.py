"""Throughput of servers: sessions of several machines, and each endpoint by itself."""

from __future__ import annotations

from tests.bench import data, sessions
from tests.bench.loads import Load, Outcome, Request, ratio
from tests.bench.processes import tree_processor_time
from tests.bench.rounds import CONNECTIONS, Bench, Measure, machines_in_words, whole_session
from tests.bench.servers import Running
from tests.bench.tables import Table

DOWNLOADS = ("log.jsonl", "summary.json")


def measure_sessions(bench: Bench) -> list[Table]:
    """Sessions a second of some numbers of machines, and their times."""
    machines = bench.scale.machines
    jobs = {machines_in_words(count): _sessions(bench, count) for count in machines}
    with bench.filled(bench.servers, max(machines), whole_session) as running:
        return [bench.table("Sessions", bench.in_turns(running, jobs))]


def _sessions(bench: Bench, machines: int) -> Measure:
    def measure(server: Running) -> dict[str, float]:
        before = tree_processor_time(server.pid)
        load = Load(server.url, whole_session(server.url), machines, bench.scale.seconds)
        outcome = bench.load(server, load)
        # Processor time of the server, user and system; not that of the load.
        taken = tree_processor_time(server.pid) - before
        figures = {
            "sessions/s": outcome.sessions_per_second,
            "request, p50, ms": outcome.request(0.5),
            "request, p99, ms": outcome.request(0.99),
            **session_times(outcome),
            "processor a session, ms": ratio(taken * 1000, outcome.sessions),
        }
        return {f"{machines_in_words(machines)}: {name}": value for name, value in figures.items()}

    return measure


def session_times(outcome: Outcome) -> dict[str, float]:
    """Milliseconds of a session, by the names of their rows."""
    return {"session, p50, ms": outcome.session(0.5), "session, p99, ms": outcome.session(0.99)}


def measure_endpoints(bench: Bench) -> list[Table]:
    """Requests a second of single endpoints, over a few connections."""
    jobs = {name: _endpoint(bench, name) for name in endpoints("http://localhost:1")}
    with bench.filled(bench.servers, CONNECTIONS, lambda url: tuple(endpoints(url).values())) as running:
        title = f"Endpoints, downloads by their file, over {CONNECTIONS} connections"
        return [bench.table(title, bench.in_turns(running, jobs))]


def _endpoint(bench: Bench, name: str) -> Measure:
    def measure(server: Running) -> dict[str, float]:
        request = endpoints(server.url)[name]
        outcome = bench.load(server, Load(server.url, (request,), CONNECTIONS, bench.scale.seconds))
        rate = outcome.requests_per_second
        return {f"{name}: requests/s": rate, f"{name}: µs a request": ratio(1e6, rate)}

    return measure


def endpoints(url: str) -> dict[str, Request]:
    """Requests that are measured by themselves, by name; a download has that of its file."""
    downloads = [sessions.download(url, name, data.memory()[name]) for name in DOWNLOADS]
    others = sessions.listing(url), sessions.lock_status(url), sessions.health(url)
    return {request.name: request for request in (*downloads, *others)}
