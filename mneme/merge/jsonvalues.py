r"""JSON values: read, written and compared.

The standard library reads a lone surrogate, such as the `\ud83d` that JavaScript leaves where it cuts an emoji in two;
msgspec does not.
"""

import codecs
import json
import math
from typing import Never, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
Value: TypeAlias = "JSON | UnsetType"
"""A JSON value, or UNSET where there is none."""

_sorted = msgspec.json.Encoder(order="sorted")


def unmarked(content: bytes) -> bytes:
    """A content without the byte order mark that some editors put before UTF-8.

    Raises `ValueError` for UTF-16, which editors also call Unicode.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16: save it as UTF-8")
    return content.removeprefix(codecs.BOM_UTF8)


def read(content: bytes) -> JSON:
    """The value of a JSON text in UTF-8; raises `ValueError` or `RecursionError`."""
    value: JSON = json.loads(unmarked(content).decode(), parse_constant=_refuse, parse_float=_finite)
    return value


def written(value: object, indent: int | None = None) -> bytes:
    """The JSON text of a value; a lone surrogate stays an escape."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=False)
    return text.encode(errors="backslashreplace")


def canonical(value: Value) -> bytes:
    """Equal bytes for equal values, however they were written; 1, 1.0 and true are three."""
    if value is UNSET:
        return b""
    try:
        return _sorted.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True).encode()


def has_form(value: JSON, form: object) -> bool:
    """Whether msgspec takes a value for one of the type `form`."""
    try:
        msgspec.convert(value, form)
    except UnicodeEncodeError:
        # A question mark in the place of a lone surrogate makes no difference to the form.
        return has_form(read(json.dumps(value, ensure_ascii=False).encode(errors="replace")), form)
    except ValueError:
        return False
    return True


def _refuse(name: str) -> Never:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large a number")
    return number
