"""The recorded cases of the wire contract, and the comparison of answers with them.

`contract_cases.json` holds two lists of requests, to be made in their order: `open`, for a server without keys and
without data, and `with keys`, for a server with the two keys of `KEYS`. In the expected answers `"<time>"` stands for
any time as the contract writes it, and `"<any>"` for any string. An answer may carry more fields than the expected
one, never fewer or others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

KEYS = ("alpha-key-0123456789", "beta-key-0123456789")

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@dataclass(frozen=True)
class Case:
    """A request with the right answer; `answer` is None where there is no body."""

    what: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: str | None
    status: int
    answer: Any


def load() -> dict[str, list[Case]]:
    """All cases, by the server that they want: `open` and `with keys`."""
    groups = json.loads((Path(__file__).parent / "contract_cases.json").read_text(encoding="utf-8"))
    return {group: [Case(**case) for case in cases] for group, cases in groups.items()}


def difference(case: Case, status: int, headers: Mapping[str, str], body: bytes) -> str | None:
    """The fault of an answer to the case, in words; None without one.

    A `Content-Length` is compared where the headers have one: HTTP clients like treq's keep it to themselves.
    """
    fields = {name.lower(): value for name, value in headers.items()}
    if status != case.status:
        return f"status {status}, expected {case.status}: {_shown(body)}"
    if case.method != "HEAD" and int(fields.get("content-length", len(body))) != len(body):
        return f"Content-Length {fields['content-length']}, but a body of {len(body)} bytes"
    if status == 401 and not fields.get("www-authenticate", "").startswith("Bearer"):
        return "a 401 without WWW-Authenticate: Bearer"
    if status == 405 and not fields.get("allow"):
        return "a 405 without Allow"
    if status != 204 and fields.get("content-type", "").partition(";")[0] != "application/json":
        return f"content type {fields.get('content-type')!r}"
    if case.answer is None:
        return f"a body where none belongs: {_shown(body)}" if body else None
    try:
        found = json.loads(body)
    except ValueError:
        return f"a body that is no JSON: {_shown(body)}"
    if not same(case.answer, found):
        return f"body {_shown(body)}, expected {json.dumps(case.answer, ensure_ascii=False)}"
    return None


def same(expected: object, found: object) -> bool:
    """Whether a value of JSON is as expected, fields beside the expected ones allowed."""
    if expected == "<time>":
        return is_time(found)
    if expected == "<any>":
        return isinstance(found, str) and found != ""
    if isinstance(expected, dict):
        return isinstance(found, dict) and all(
            name in found and same(value, found[name]) for name, value in expected.items()
        )
    if isinstance(expected, list):
        return isinstance(found, list) and len(expected) == len(found) and all(map(same, expected, found))
    return type(expected) is type(found) and expected == found


def is_time(value: object) -> bool:
    """Whether a value is a time as the contract writes it."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _shown(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return text if len(text) <= 300 else text[:300] + "…"
