"""Snippets for reverse proxies, each in front of a real server if it is installed."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemon import Daemon, free_port, self_signed, wait_until
from tests.docs.pages import ROOT, blocks_of

pytestmark = pytest.mark.integration

KEY = "alpha-key-0123456789"
HEADERS = {"Authorization": f"Bearer {KEY}", "X-Client-Id": "laptop-1a2b3c4d"}
ID = "org/repo"
PLACE = "/projects/org%2Frepo"
LARGE = json.dumps({"content": "x" * 5_000_000}).encode()
NAME = "memory.example.org"

Arguments = Callable[[Path, int, Daemon], Sequence[str]]


def snippet(proxy: str, daemon: Daemon) -> str:
    """A snippet of the page, with the address of a server that runs."""
    [found] = [
        block.text
        for block in blocks_of(ROOT / "docs" / "server.md")
        if block.directives.get("proxy") == proxy
    ]
    return found.replace("127.0.0.1:3847", f"127.0.0.1:{daemon.port}")


def nginx(directory: Path, port: int, daemon: Daemon) -> Sequence[str]:
    """Arguments of nginx, whose files all lie in a directory."""
    pem = self_signed(directory)
    server = snippet("nginx", daemon).replace("listen 443", f"listen {port}").replace(NAME, "localhost")
    for end in ("pem", "key"):
        server = server.replace(f"/etc/ssl/localhost.{end}", str(pem))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path {directory}/{kind};" for kind in kinds)
    user = "user root root;" if os.geteuid() == 0 else ""
    conf = directory / "nginx.conf"
    conf.write_text(
        f"daemon off; {user} events {{}} pid {directory}/pid; error_log stderr;\n"
        f"http {{ access_log off; {paths}\n{server}\n}}"
    )
    return ["-p", str(directory), "-e", "stderr", "-c", str(conf)]


def caddy(directory: Path, port: int, daemon: Daemon) -> Sequence[str]:
    """Arguments of Caddy, with a certificate of its own making."""
    options = "admin off\nskip_install_trust\nlocal_certs\nauto_https disable_redirects\n"
    site = snippet("caddy", daemon).replace(NAME, f"https://localhost:{port}")
    file = directory / "Caddyfile"
    file.write_text(f"{{\n{options}storage file_system {directory}/storage\n}}\n{site}\n")
    return ["run", "--config", str(file), "--adapter", "caddyfile"]


def traefik(directory: Path, port: int, daemon: Daemon) -> Sequence[str]:
    """Arguments of Traefik, with its default certificate."""
    dynamic, static = directory / "mneme.yml", directory / "traefik.yml"
    dynamic.write_text(snippet("traefik dynamic", daemon).replace(NAME, "localhost"))
    text = snippet("traefik static", daemon).replace(":443", f"127.0.0.1:{port}")
    static.write_text(text.replace("/etc/traefik/mneme.yml", str(dynamic)))
    return [f"--configFile={static}"]


@contextmanager
def running(command: Sequence[str], directory: Path) -> Iterator[None]:
    """A proxy in a process of its own."""
    with (directory / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env={**os.environ, "HOME": str(directory), "XDG_DATA_HOME": str(directory)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize("proxy", [nginx, caddy, traefik], ids=lambda proxy: proxy.__name__)
def test_the_snippet_of_a_proxy_works(tmp_path: Path, proxy: Arguments) -> None:
    """Paths with `%2F`, a file of 5 MB, and events pass as they are."""
    program = shutil.which(proxy.__name__, path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip(f"{proxy.__name__} is not installed")
    port, trusting = free_port(), ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE

    def ask(method: str, path: str, body: bytes | None = None) -> int:
        connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=trusting)
        try:
            connection.request(method, path, body, {**HEADERS, "Content-Type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()

    @contextmanager
    def events() -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=trusting)
        try:
            connection.request("GET", "/events", headers=HEADERS)
            yield connection.getresponse()
        finally:
            connection.close()

    def answers() -> bool:
        try:
            return ask("GET", "/health") == 200
        except OSError:
            return False

    config = {"apiKeys": [KEY], "host": "127.0.0.1", "trustedProxies": ["127.0.0.1", "::1"]}
    with (
        Daemon(tmp_path / "server", config) as daemon,
        running([program, *proxy(tmp_path, port, daemon)], tmp_path),
    ):
        wait_until(answers, within=20, every=0.1, clock=time.monotonic)
        with events() as stream:
            assert b"event: ready\n" in iter(stream.readline, b"")
            assert ask("POST", f"{PLACE}/lock") == 200
            assert b"event: lock\n" in iter(stream.readline, b"")
        assert ask("PUT", f"{PLACE}/files/log.jsonl", LARGE) == 200
        assert ask("DELETE", f"{PLACE}/lock") == 200
        _, told = daemon.ask("GET", "/projects", headers=HEADERS)
        assert [(project["id"], project["size"]) for project in told["projects"]] == [(ID, 5_000_000)]
