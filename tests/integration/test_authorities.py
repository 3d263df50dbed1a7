"""`sync.caFile`: certificates that a machine trusts in addition to the system's, over real TLS."""

from __future__ import annotations

import http.server
import json
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.command import Home
from tests.daemon import self_signed

pytestmark = pytest.mark.integration

REACHED = "does not speak as a mneme server does"
UNTRUSTED = "its certificate is not trusted on this machine; name it, or its authority's, in sync.caFile"


class _Answers(http.server.BaseHTTPRequestHandler):
    """Answers that are none of a mneme server: whoever gets one has trusted the certificate."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@contextmanager
def serving(directory: Path) -> Iterator[tuple[str, Path]]:
    """Address of an HTTPS server on localhost, and the file with its self-signed certificate."""
    directory.mkdir()
    pem = self_signed(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"https://localhost:{server.server_port}", pem
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def said(home: Home, url: str, **environment: str) -> str:
    """Standard error of `mneme status` with an address."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "mneme"), "status", "--server", url],
        cwd=home.root,
        env={**home.environment(), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stderr


def test_a_ca_file_is_trusted_in_addition_to_the_system(tmp_path: Path) -> None:
    """The system's certificates stay trusted, and other certificates stay refused."""
    with (
        serving(tmp_path / "own") as (own, own_pem),
        serving(tmp_path / "system") as (system, system_pem),
        serving(tmp_path / "other") as (other, _),
    ):
        home = Home(tmp_path / "home", own, caFile=str(own_pem), retries=0)
        trusting = {"SSL_CERT_FILE": str(system_pem)}
        assert REACHED in said(home, own, **trusting)
        assert REACHED in said(home, system, **trusting)
        assert UNTRUSTED in said(home, other, **trusting)
        assert UNTRUSTED in said(home, system)


def test_the_doctor_says_what_is_wrong_with_a_certificate(tmp_path: Path) -> None:
    """An untrusted certificate, and a file that is not there."""
    with serving(tmp_path / "own") as (own, pem):
        home = Home(tmp_path / "home", own, retries=0)

        def findings(ca_file: str | None) -> dict[str, str]:
            home.configure({"serverUrl": own, "retries": 0, **({"caFile": ca_file} if ca_file else {})})
            told = json.loads(home.run("doctor", "--json", check=False).out)["findings"]
            return {finding["code"]: finding["found"] for finding in told if finding["state"] == "bad"}

        assert UNTRUSTED in findings(None)["certificate-untrusted"]
        assert "cannot be read: No such file" in findings("~/none.pem")["settings-unusable"]
        shutil.copyfile(pem, home.path / "cert.pem")
        assert REACHED in findings("~/cert.pem")["server-strange"]
