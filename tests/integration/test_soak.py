"""Agents on two busy machines while processes are killed, frozen, put back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from random import Random

import pytest

from tests.daemon import Daemon
from tests.integration.disks import fill, small_disk
from tests.integration.machines import Machine, on_server, wait_for_same
from tests.often import LONG, times
from tests.plugin_process import entry_of

pytestmark = pytest.mark.integration

CONFIG = {"rateLimitPerMinute": 0}
APPENDS_A_SECOND = 100
"""Appends on each of the two machines."""


class Writer:
    """A thread that appends numbered entries to the log of a machine."""

    def __init__(self, machine: Machine) -> None:
        self.written: list[str] = []
        self._machine = machine
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin to append."""
        self._thread.start()

    def end(self) -> None:
        """Append no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        at = time.monotonic()
        while not self._ended.is_set():
            content = f"{self._machine.path.name} {len(self.written)}"
            # One write to a file that was opened for it, as the plugin's small server does.
            with self._machine.file().open("ab") as log:
                log.write(json.dumps(entry_of(content)).encode() + b"\n")
            self.written.append(content)
            at += 1 / APPENDS_A_SECOND
            time.sleep(max(0.0, at - time.monotonic()))


@contextmanager
def two_machines(places: Sequence[Path], server: Daemon) -> Iterator[list[Machine]]:
    """Two machines with agents."""
    machines = [Machine(place, server.url, "soak", timeoutMs=2000) for place in places]
    try:
        for one in machines:
            one.start_agent()
        yield machines
        for one in machines:
            assert "Traceback" not in one.log_of_agent(), one.log_of_agent()
    finally:
        for one in machines:
            one.stop()


def check(server: Daemon, machines: Sequence[Machine], written: Sequence[Sequence[str]]) -> None:
    """Everything is everywhere, once, and in the order of its writing."""
    wait_for_same(server, machines, chain(*written), within=60.0)
    log = on_server(server, "soak").log
    for one, entries in zip(machines, written, strict=True):
        assert [entry for entry in log if entry.startswith(one.path.name)] == entries


def test_busy_machines_lose_and_double_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever happens to agents and server, in any order."""
    rng = Random(time.time_ns() if LONG else 1)
    place = tmp_path_factory.mktemp("m")
    with (
        Daemon(place / "server", CONFIG) as server,
        two_machines([place / "laptop", place / "desktop"], server) as machines,
    ):

        def kill_an_agent() -> None:
            one = rng.choice(machines)
            one.end_agent(signal.SIGKILL)
            one.start_agent()

        def freeze_an_agent() -> None:
            one = rng.choice(machines)
            one.signal_agent(signal.SIGSTOP)
            time.sleep(rng.random() * 3)
            one.signal_agent(signal.SIGCONT)

        def freeze_the_server() -> None:
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(rng.random() * 3)
            os.kill(server.pid, signal.SIGCONT)

        def put_back_the_server() -> None:
            copy = place / "copy.sqlite3"
            copy.unlink(missing_ok=True)
            machines[0].run("backup", str(copy), "--data-dir", str(server.data_dir))
            time.sleep(rng.random() * 2)
            server.terminate()
            shutil.rmtree(server.data_dir)
            machines[0].run("restore-backup", str(copy), str(server.data_dir))
            server.start()

        acts: list[Callable[[], object]] = [
            kill_an_agent,
            freeze_an_agent,
            server.kill_and_restart,
            freeze_the_server,
            put_back_the_server,
        ]
        writers = [Writer(one) for one in machines]
        for one in writers:
            one.start()
        try:
            for _ in range(times(1, 8)):
                for act in rng.sample(acts, len(acts)):
                    time.sleep(rng.random())
                    act()
        finally:
            for one in writers:
                one.end()
        check(server, machines, [one.written for one in writers])


def test_what_is_kept_by_a_server_that_was_put_back_is_not_doubled(
    tmp_path: Path,
) -> None:
    """The server does not know the appended log, and another holds the lock."""
    other = {"X-Client-Id": "other", "User-Agent": "curl/8"}
    with Daemon(tmp_path / "server", CONFIG) as server:
        laptop = Machine(tmp_path / "laptop", server.url, "soak")
        laptop.note("first")
        laptop.run("push", "--strict")
        laptop.run("backup", str(tmp_path / "copy"), "--data-dir", str(server.data_dir))
        written = ["first"]
        for number in range(5):
            written.append(f"after the backup {number}")
            laptop.note(written[-1])
            laptop.run("push", "--strict")
        server.terminate()
        shutil.rmtree(server.data_dir)
        laptop.run("restore-backup", str(tmp_path / "copy"), str(server.data_dir))
        server.start()
        assert server.ask("POST", "/projects/soak/lock", headers=other)[0] == 200
        for number in range(3):
            written.append(f"kept {number}")
            laptop.note(written[-1])
            laptop.run("push")
        assert server.ask("DELETE", "/projects/soak/lock", headers=other)[0] == 200
        laptop.run("push", "--strict")
        wait_for_same(server, [laptop], written)


def test_a_full_disk_of_a_machine_loses_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The agent waits until there is space again, and then sends all."""
    place = tmp_path_factory.mktemp("m")
    with (
        small_disk(place / "disk", 2_000_000) as disk,
        Daemon(place / "server", CONFIG) as server,
        two_machines([disk / "laptop", place / "desktop"], server) as machines,
    ):
        laptop, desktop = machines
        written: list[list[str]] = [[], []]
        for turn in range(times(1, 10)):
            for number in range(50):
                written[0].append(f"laptop {turn}-{number}")
                laptop.note(written[0][-1])
            fill(disk / "filler", leave=4096)
            for number in range(50):
                written[1].append(f"desktop {turn}-{number}")
                desktop.note(written[1][-1])
            time.sleep(3.0)
            (disk / "filler").unlink()
            check(server, machines, written)
