"""How much a server can do: sessions of several machines, and each endpoint by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tests.bench import data, sessions
from tests.bench.loads import Load, Outcome, Request
from tests.bench.processes import tree_processor_time
from tests.bench.rounds import Bench, Job, Tally, in_turns, loaded, turns
from tests.bench.servers import Running
from tests.bench.tables import Table

CONNECTIONS = 8
DOWNLOADS = ("log.jsonl", "summary.json")
WARM_SECONDS = 0.5
PROCESSOR = "processor a session, ms"
"""Processor time of the server, user and system; not that of the load."""


def measure_sessions(bench: Bench) -> list[Table]:
    """Sessions a second with some numbers of machines, and how long they and their requests take."""
    memory, tally = data.memory(), bench.tally()
    jobs = [_session_job(bench, tally, memory, machines) for machines in bench.scale.machines]
    bench.progress.begin("sessions", 2 * len(bench.servers) + turns(bench, bench.servers, jobs))
    with bench.running(bench.servers) as running:
        for server in running:
            bench.progress.step(f"bringing memory to {server.label}")
            data.seed(server.url, memory, max(bench.scale.machines), bench.projects_each)
            bench.progress.step(f"warming up {server.label}")
            warm(bench, tally, server, sessions.session(server.url, memory))
        rows = in_turns(bench, running, jobs)
    return [bench.table("Sessions", bench.servers, rows, str(tally))]


def _session_job(bench: Bench, tally: Tally, memory: Mapping[str, str], machines: int) -> Job:
    name = f"{machines} machine{'s' if machines > 1 else ''}"

    def measure(server: Running) -> dict[str, float]:
        requests = sessions.session(server.url, memory)
        load = Load(server.url, requests, machines, bench.scale.seconds, projects=bench.projects_each)
        before = _processor_time(server)
        outcome = loaded(bench, tally, server, load)
        taken = _processor_time(server) - before
        return _figures(name, outcome) | {f"{name}: {PROCESSOR}": milliseconds_a_session(outcome, taken)}

    return Job(name, measure)


def _processor_time(server: Running) -> float:
    return math.nan if server.pid is None else tree_processor_time(server.pid)


def milliseconds_a_session(outcome: Outcome, seconds: float) -> float:
    """So many seconds, shared among the sessions; not a number if there were none."""
    return seconds * 1000 * outcome.length / outcome.asked if outcome.asked else math.nan


def _figures(name: str, outcome: Outcome) -> dict[str, float]:
    return {
        f"{name}: sessions/s": outcome.sessions_per_second,
        f"{name}: request, p50, ms": outcome.request(0.5) * 1000,
        f"{name}: request, p99, ms": outcome.request(0.99) * 1000,
        f"{name}: session, p50, ms": outcome.session(0.5) * 1000,
        f"{name}: session, p99, ms": outcome.session(0.99) * 1000,
    }


def measure_endpoints(bench: Bench) -> list[Table]:
    """Requests a second of the single endpoints, over a few connections, each of which asks for another project."""
    memory, tally = data.memory(), bench.tally()
    jobs = [_endpoint_job(bench, tally, name) for name in endpoints("http://localhost:1", memory)]
    bench.progress.begin("endpoints", 2 * len(bench.servers) + turns(bench, bench.servers, jobs))
    with bench.running(bench.servers) as running:
        for server in running:
            bench.progress.step(f"bringing memory to {server.label}")
            data.seed(server.url, memory, CONNECTIONS)
            bench.progress.step(f"warming up {server.label}")
            warm(bench, tally, server, tuple(endpoints(server.url, memory).values()))
        rows = in_turns(bench, running, jobs)
    return [
        bench.table(
            f"Endpoints, downloads by their file, over {CONNECTIONS} connections",
            bench.servers,
            rows,
            str(tally),
        )
    ]


def _endpoint_job(bench: Bench, tally: Tally, name: str) -> Job:
    def measure(server: Running) -> dict[str, float]:
        request = endpoints(server.url, data.memory())[name]
        rate = loaded(
            bench, tally, server, Load(server.url, (request,), CONNECTIONS, bench.scale.seconds)
        ).requests_per_second
        return {f"{name}: requests/s": rate, f"{name}: µs a request": each(rate) * 1e6}

    return Job(name, measure)


def endpoints(url: str, memory: Mapping[str, str]) -> dict[str, Request]:
    """The requests that are measured by themselves, by name; a download has that of its file."""
    found = {name: sessions.download(url, name, len(memory[name].encode())) for name in DOWNLOADS}
    others = sessions.listing(url), sessions.lock_status(url), sessions.health(url)
    return found | {request.name: request for request in others}


def warm(bench: Bench, tally: Tally, server: Running, requests: tuple[Request, ...]) -> None:
    """Have a server compile, and open, what it will."""
    seconds = min(WARM_SECONDS, bench.scale.seconds)
    tally.add(server.label, bench.counting.run(Load(server.url, requests, CONNECTIONS, seconds)))


def each(per_second: float) -> float:
    """The seconds that each of them takes; not a number if there were none."""
    return 1 / per_second if per_second else float("nan")
