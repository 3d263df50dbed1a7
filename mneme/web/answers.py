"""Answers before they are sent, and the bytes they go out as."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus

import msgspec
from attrs import field, frozen

_WITHOUT_BODY = (204, 304)


@frozen
class Answer:
    """A status, the JSON body, and headers beyond the usual ones."""

    status: int
    body: bytes
    headers: Mapping[bytes, bytes] = field(factory=dict)


def answer(body: msgspec.Struct, headers: Mapping[bytes, bytes] | None = None) -> Answer:
    """What is answered when all is well."""
    return Answer(200, msgspec.json.encode(body), headers or {})


def head_of(
    answer: Answer, version: bytes, date: bytes, others: Iterable[tuple[bytes, Sequence[bytes]]]
) -> bytes:
    """The head of an answer as it goes over the wire; `others` are headers that all answers to a request have."""
    lines = [_status_line(version, answer.status), b"Date: ", date]
    if answer.status not in _WITHOUT_BODY:
        lines.append(b"\r\nContent-Type: application/json\r\nContent-Length: %d" % len(answer.body))
    headers = dict(answer.headers)
    for name, values in others:
        # What an answer varies by goes with what all answers vary by.
        mine = [headers.pop(name)] if name in headers else []
        lines.append(b"\r\n%b: %b" % (name, b", ".join(dict.fromkeys([*values, *mine]))))
    lines += [b"\r\n%b: %b" % header for header in headers.items()]
    lines.append(b"\r\n\r\n")
    return b"".join(lines)


@cache
def _status_line(version: bytes, status: int) -> bytes:
    return b"%b %d %b\r\n" % (version, status, HTTPStatus(status).phrase.encode())
