"""An agent on its socket, without a server."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

SOCKET = ".claude-mneme/.mneme-agent.sock"


class FakeAgent:
    """An agent on its socket, whose answer is always the same, and then a hang-up.

    None is no answer at all, for as long as somebody waits.
    """

    def __init__(self, home: Path, answer: bytes | None) -> None:
        self.asked: list[Any] = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(home / SOCKET))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, connection.makefile("rb") as lines:
                line = lines.readline()
                if not line:
                    return
                self.asked.append(json.loads(line))
                if self._answer is None:
                    lines.read()
                else:
                    connection.sendall(self._answer)

    def stop(self) -> None:
        """End."""
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self._socket.getsockname())
        self._thread.join()
        self._socket.close()
