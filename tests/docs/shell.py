"""A person who follows a page, block by block, in one shell, on new machines.

The clone is `~/mneme`, the ports of the page are free ones, `homeserver` is this machine, and `mneme` is on PATH.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen

from tests.daemon import free_port
from tests.docs.pages import ROOT, Block

ENDS_WITHIN = 120.0
PROGRAMS = Path(sys.executable).parent
MAIN = "server"
"""The machine on which a block runs unless its page says `on`."""
_PLACES = ("/tmp/", "/mnt/", "/srv/")
"""Directories of the pages that are in the person's own directory here."""
MACHINES = (MAIN, "laptop", "desktop")

_PRELUDE = r"""
set -e -o pipefail
SERVER=
stop_server() {
    if [ -n "$SERVER" ]; then kill "$SERVER" && wait "$SERVER"; SERVER=; fi
}
start_server() {
    stop_server
    bash -c "$1" >>"$BASE/server.log" 2>&1 &
    SERVER=$!
    for _ in $(seq 400); do
        kill -0 "$SERVER" 2>/dev/null || { cat "$BASE/server.log"; return 1; }
        if curl -sk -o /dev/null "$2"; then return 0; fi
        sleep 0.1
    done
    cat "$BASE/server.log"
    return 1
}
on() {
    export HOME="$BASE/$1"
    cd "$HOME/mneme"
}
wait_for() {
    for _ in $(seq 400); do curl -sk -o /dev/null "$1" && return 0; sleep 0.1; done
    return 1
}
wait_until_gone() {
    for _ in $(seq 400); do [ -s ~/.mneme-server/server.lock ] || return 0; sleep 0.1; done
    return 1
}
# An upload to a project, and the working copy of it.
put() {
    upload "$1" "$2"
    for _ in $(seq 400); do
        [ -e ~/.mneme-server/projects/"$1"/summary.md ] && [ ! -e ~/.mneme-server/projects/"$1"/.lock.json ] && return 0
        sleep 0.1
    done
    return 1
}
upload() {
    local place="http://localhost:$MNEME_PORT/projects/$1"
    local asking=(curl -sf -o /dev/null -H "X-Client-Id: laptop-1a2b3c4d" -H "Authorization: Bearer $(server_key)")
    "${asking[@]}" -X POST "$place/lock"
    "${asking[@]}" -X PUT -H 'Content-Type: text/plain' -d "$2" "$place/files/summary.md"
    "${asking[@]}" -X DELETE "$place/lock"
}
server_key() {
    jq -r '.apiKeys[0] // empty' "$BASE/server/.mneme-server/config.json" 2>/dev/null
}
# What the pages before have set up.
serve() {
    start_server "scripts/serve" "http://localhost:$MNEME_PORT/health"
}
settings() {
    printf '{"sync": {"enabled": false, "serverUrl": "http://localhost:%s", "projectId": "%s"}}\n' \
        "$MNEME_PORT" "$(laptop_id)" >"$BASE/$1/.claude-mneme/config.json"
}
connect() {
    (on "$1" && cd ~/src/app && server_key | mneme connect "http://localhost:$MNEME_PORT" --key-stdin)
}
laptop_id() {
    echo "$BASE/laptop/src/app" | tr / -
}
laptop_project() {
    echo "http://localhost:$MNEME_PORT/projects/$(laptop_id)"
}
# What the plugin does when somebody says something on a machine.
note() {
    local folder="$BASE/$1/.claude-mneme/projects/$(echo "$BASE/$1/src/app" | tr / -)"
    mkdir -p "$folder"
    printf '{"ts":"2026-11-24T%s:00.000Z","type":"note","content":"%s"}\n' "$2" "$3" >>"$folder/log.jsonl"
}
AGENTS=
# After a session, because with one id for all projects an agent keeps no others.
start_agent() {
    (on "$1" && cd ~/src/app && mneme push)
    (on "$1" && exec mneme agent >"$BASE/$1.agent.log" 2>&1) &
    AGENTS="$AGENTS $!"
    for _ in $(seq 400); do HOME="$BASE/$1" mneme agent --status 2>&1 | grep -q 'in step' && return 0; sleep 0.1; done
    cat "$BASE/$1.agent.log"
    return 1
}
stop_agents() {
    kill $AGENTS && wait $AGENTS
    AGENTS=
}
# Until the log of an agent has a text.
until_agent_says() {
    for _ in $(seq 400); do grep -q "$2" "$BASE/$1.agent.log" && return 0; sleep 0.1; done
    cat "$BASE/$1.agent.log"
    return 1
}
# Until the memories of both machines are equal.
until_agents_are_done() {
    local file=.claude-mneme/projects
    for _ in $(seq 400); do
        if cmp -s "$BASE"/laptop/$file/*-src-app/log.jsonl "$BASE"/desktop/$file/*-src-app/log.jsonl; then
            sleep 1
            return 0
        fi
        sleep 0.1
    done
    cat "$BASE"/*.agent.log
    return 1
}
"""

_TIMES = r"\d{4}-\d\d-\d\d(?:T| )\d\d:\d\d(?::\d\d(?:\.\d+)?(?:Z|\+0000))?"
_VARIES = (
    (re.compile(_TIMES), "TIME"),
    (re.compile(r"\b[0-9a-f]{48}\b"), "KEY"),
    (re.compile(r"\b\d+(?:\.\d+)? ms\b"), "N ms"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:[kMGT]?B|bytes) (free|used|left)\b"), r"SIZE \1"),
    (re.compile(r"\b\d+ seconds?( ago)?\b"), r"N seconds\1"),
    (re.compile(r"mneme-\d{8}T?\d*Z?\S*\.db"), "mneme-TIME.db"),
    (re.compile(r"\bpid \d+"), "pid N"),
    (re.compile(r"homeserver"), "localhost"),
    (re.compile(r"─+|-{3,}"), ""),
    (re.compile(r"[ \t]+"), " "),
)


class Failed(AssertionError):
    """A page's example did not do what the page says."""


@frozen
class Person:
    """A person with new machines, all of them in the directory `base`."""

    base: Path
    ports: Mapping[str, int] = field(factory=lambda: {"3847": free_port(), "3848": free_port()})

    def follow(self, blocks: Sequence[Block]) -> None:
        """Run all blocks; raises `Failed` with the first that does otherwise than it says."""
        for machine in MACHINES:
            self._set_up(machine)
        for place in _PLACES:
            (self.base / place.strip("/")).mkdir()
        (self.base / "out").mkdir()
        script = self.base / "page.sh"
        script.write_text("\n".join([_PRELUDE, f"on {MAIN}", *self._lines(blocks), "stop_server\n"]))
        process = subprocess.Popen(
            ["bash", str(script)],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=ENDS_WITHIN)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            self._kill_daemons()
        for number, block in enumerate(blocks):
            out = self.base / "out" / str(number)
            done = out.read_text(errors="replace") if out.exists() else None
            self._check(block, done, blocks[number - 1] if number else None, number)
            if done is not None and not (self.base / "out" / f"{number}.done").exists():
                raise Failed(f"{block.place} failed:\n{block.text}\n--\n{done}\n{said[-3000:]}")
        assert process.returncode == 0, said[-3000:]

    def _set_up(self, machine: str) -> None:
        home = self.base / machine
        clone = home / "mneme"
        (clone / "scripts").mkdir(parents=True)
        serve = clone / "scripts" / "serve"
        # As the real script does, once it has made its environment.
        serve.write_text(
            f'#!/bin/sh\nexec {shlex.quote(str(PROGRAMS))}/twistd --nodaemon --pidfile= mneme "$@"\n'
        )
        serve.chmod(0o755)
        (clone / "docs").symlink_to(ROOT / "docs")
        (clone / ".venv").mkdir()
        (clone / ".venv" / "bin").symlink_to(PROGRAMS)
        (home / ".local" / "bin").mkdir(parents=True)
        (home / ".local" / "bin" / "mneme").symlink_to(PROGRAMS / "mneme")
        (home / "src" / "app").mkdir(parents=True)
        (home / ".claude-mneme").mkdir()
        marks = {"laptop": "laptop-1a2b3c4d", "desktop": "desktop-5e6f7a8b"}
        (home / ".claude-mneme" / ".client-id").write_text(marks.get(machine, f"{machine}-00000000") + "\n")

    def _environment(self) -> dict[str, str]:
        mine = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MNEME_", "GIT_", "XDG_", "SSL_", "COV_", "VIRTUAL_ENV"))
        }
        path = f"{self.base / MAIN / '.local/bin'}:{PROGRAMS}:{os.environ['PATH']}:/usr/sbin:/sbin"
        return {
            **mine,
            "BASE": str(self.base),
            "PATH": path,
            "MNEME_PORT": str(self.ports["3847"]),
            "COLUMNS": "200",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }

    def _lines(self, blocks: Sequence[Block]) -> Iterator[str]:
        for number, block in enumerate(blocks):
            commands = self._commands(block, number)
            if commands is None:
                continue
            machine = block.directives.get("on")
            inner = "\n".join(commands)
            if before := block.directives.get("before"):
                yield self.here(before)
            if machine:
                yield f'ME_HOME=$HOME ME_PLACE=$PWD; export HOME="$BASE/{machine}"; cd "$HOME/src/app"'
            yield f'{{\n{inner}\n}} >"$BASE/out/{number}" 2>&1'
            yield f'touch "$BASE/out/{number}.done"'
            if machine:
                yield 'export HOME=$ME_HOME; cd "$ME_PLACE"'

    def _commands(self, block: Block, number: int) -> Sequence[str] | None:
        """Commands of a block; None for a block that is not run."""
        text = self.here(block.text)
        if "not run" in block.directives or "proxy" in block.directives:
            return None
        if path := block.directives.get("file"):
            written = text.replace("the key from the server's config.json", "$KEY")
            path = self.here(path).replace("~", "$HOME")
            key = "KEY=$(server_key)"
            return [key, f'mkdir -p "$(dirname "{path}")"', f'cat >"{path}" <<END\n{written}\nEND']
        if block.language == "console":
            status = "|| true" if "status" in block.directives else ""
            return [
                line
                for command in _typed(text)
                for line in (f"printf '%s\\n' {shlex.quote('$ ' + command)}", f"{command} {status}")
            ]
        if block.language == "python":
            return [f"python - <<'END'\n{text}\nEND"]
        if block.language != "sh":
            return None
        if "server" in block.directives:
            *before, last = text.replace("\\\n", " ").splitlines()
            port = self.ports["3848" if "3848" in block.text else "3847"]
            scheme = "https" if "ssl:" in text else "http"
            return [
                "stop_server",
                *before,
                f"start_server {shlex.quote(last)} {scheme}://localhost:{port}/health",
            ]
        if lines := block.directives.get("interrupted"):
            return [
                # Without job control, a job in the background would ignore Ctrl-C.
                "set -m",
                f"{text} &",
                "set +m",
                f'until [ "$(wc -l <"$BASE/out/{number}")" -ge {lines} ]; do kill -0 $!; sleep 0.1; done',
                "kill -INT $!",
                "wait $!",
            ]
        return [text]

    def here(self, text: str) -> str:
        """A page's text with the ports, hosts and paths of this machine."""
        for name, port in self.ports.items():
            text = text.replace(name, str(port))
        text = text.replace("homeserver", "localhost").replace("Bearer the key", "Bearer '\"$KEY\"'")
        text = text.replace("--key 'the key'", '--key "$KEY"')
        for place in _PLACES:
            text = text.replace(place, f"{self.base}{place}")
        ids = str(self.base / "laptop").replace("/", "-")
        return text.replace("/home/ana/", f"{self.base / MAIN}/").replace("-home-ana-", f"{ids}-")

    def _check(self, block: Block, done: str | None, before: Block | None, number: int) -> None:
        if block.language == "console" and done is not None and "not run" not in block.directives:
            self._compare(block, block.text, done)
        elif self.is_output(block, before):
            out = self.base / "out" / str(number - 1)
            assert out.exists(), f"{block.place}: what it follows did not run"
            self._compare(block, block.text, out.read_text(errors="replace"))

    def is_output(self, block: Block, before: Block | None) -> bool:
        """Whether a block shows what the one before prints."""
        return bool(
            block.language in ("json", "text")
            and not block.directives
            and block.follows
            and before
            and before.language in ("sh", "python")
            and "not run" not in before.directives
        )

    def _compare(self, block: Block, expected: str, done: str) -> None:
        wanted = [self._plain(line) for line in expected.splitlines() if line.strip()]
        found = [self._plain(line) for line in done.splitlines() if line.strip()]
        pattern = "\n".join(".*".join(map(re.escape, line.split("…"))) for line in wanted)
        if not re.fullmatch(pattern, "\n".join(found)):
            raise Failed(f"{block.place} shows\n{chr(10).join(wanted)}\nbut there is\n{chr(10).join(found)}")

    def _plain(self, line: str) -> str:
        for name, port in self.ports.items():
            line = line.replace(str(port), name)
        for machine in MACHINES:
            home = str(self.base / machine)
            line = line.replace(home, "/home/ana").replace(home.replace("/", "-"), "-home-ana")
        line = line.replace(str(self.base), "")
        for what, plain in _VARIES:
            line = what.sub(plain, line)
        return line.strip()

    def _kill_daemons(self) -> None:
        for lock in self.base.glob("*/.mneme-server/server.lock"):
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(lock.read_text()), signal.SIGKILL)


def _typed(text: str) -> Iterator[str]:
    """The commands in a transcript: the lines that begin with `$ `."""
    for line in text.splitlines():
        if line.startswith("$ "):
            yield line.removeprefix("$ ")
