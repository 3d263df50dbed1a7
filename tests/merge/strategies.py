"""Contents of memory files: small ones, realistic ones, and any bytes."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import strategies as st

from mneme.merge import is_well_formed
from mneme.model import FileName
from tests import plugin_files

TIMES = (
    "2026-02-01T10:00:00.000Z",
    "2026-02-01T12:00:00+02:00",
    "2026-02-01T10:00:01.000Z",
    "2026-02-02T10:00:00",
    "no time",
)
LIMIT = 10 * 1024 * 1024

_times = st.sampled_from(TIMES)
_words = st.sampled_from(("a", "b", "c"))
_scalars: st.SearchStrategy[Any] = st.sampled_from((None, 1, 1.0, True, "a", "b"))
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=6,
)


def _written(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """JSON texts, indented or not, with a last newline or not."""
    return st.builds(
        lambda value, indent, end: (json.dumps(value, indent=indent, ensure_ascii=False) + end).encode(),
        values,
        st.sampled_from((None, 2)),
        st.sampled_from(("", "\n")),
    )


def _some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


def _lists(items: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(items, max_size=4)


_entries = st.builds(lambda time, word: json.dumps({"ts": time, "content": word}).encode(), _times, _words)
_log_lines = _entries | st.sampled_from((b"", b"{", b"half a li", b"\xff\x00", b'{"ts": 1}', b"windows\r"))
_logs = st.builds(
    lambda lines, end: b"\n".join(lines) + end,
    st.lists(_log_lines, max_size=6),
    st.sampled_from((b"", b"\n")),
).filter(lambda content: is_well_formed(FileName.LOG, content))

_texts = st.builds(
    lambda lines, end: b"\n".join(lines) + end,
    st.lists(st.sampled_from((b"# One", b"- two", b"- three", b"", b"four", b"five", b"six")), max_size=8),
    st.sampled_from((b"", b"\n")),
)

_remembered_items = st.fixed_dictionaries(
    {"ts": _times, "type": _words, "content": _words}, optional={"x": ANY_JSON}
)
_remembered = _written(_lists(_remembered_items | _some(ts=_times, x=ANY_JSON)))

_states = _some(topic=_words, status=_words) | st.fixed_dictionaries({"topic": _words, "status": _words})
_summaries = _written(
    _some(
        projectContext=_words | st.none(),
        keyDecisions=_lists(_some(date=_words, decision=_words)),
        currentState=_lists(_states)
        | st.lists(_states, max_size=3, unique_by=lambda state: state.get("topic")),
        recentWork=_lists(_some(date=_words)),
        lastUpdated=_times | st.none(),
        lastEntryIndex=st.integers(0, 3) | st.none(),
        other=ANY_JSON,
    )
)

_contexts = st.fixed_dictionaries({"ts": _times, "type": _words, "summary": _words})
_entity = _some(
    mentions=st.integers(0, 9) | st.floats(0, 9),
    lastSeen=_times | st.none(),
    contexts=st.lists(_contexts, max_size=7),
    other=ANY_JSON,
)
_groups = st.dictionaries(_words, _entity, max_size=3)
_entities = _written(
    _some(files=_groups, functions=_groups, lastUpdated=_times, lastPruned=_times | st.none(), other=ANY_JSON)
)

SMALL = {
    FileName.LOG: _logs,
    FileName.SUMMARY_JSON: _summaries,
    FileName.SUMMARY_MD: _texts,
    FileName.REMEMBERED: _remembered,
    FileName.ENTITIES: _entities,
}

_MEMORY = {FileName(name): content for name, content in plugin_files.memory(7).items()}


def _cut(file: FileName, seed: int) -> bytes:
    """The plugin's file with some items removed and some changed."""
    rng = random.Random(seed)
    content = _MEMORY[file]
    if file in (FileName.LOG, FileName.SUMMARY_MD):
        lines = content.splitlines(keepends=True)
        return b"".join(line for line in lines if rng.random() < 0.9) + b"added by %d\n" % rng.randrange(3)
    return (json.dumps(_without(json.loads(content), rng), ensure_ascii=False, indent=2) + "\n").encode()


def _without(value: Any, rng: random.Random) -> Any:
    if isinstance(value, dict):
        return {key: _without(inner, rng) for key, inner in value.items() if rng.random() < 0.97}
    if isinstance(value, list):
        return [_without(inner, rng) for inner in value if rng.random() < 0.9]
    return value + 1 if isinstance(value, int) and rng.random() < 0.2 else value


def realistic(file: FileName) -> st.SearchStrategy[bytes]:
    """Versions of one file of the plugin's."""
    return st.builds(_cut, st.just(file), st.integers(0, 10_000))


def contents(file: FileName) -> st.SearchStrategy[bytes]:
    """Contents of a file's form."""
    return SMALL[file] | SMALL[file] | SMALL[file] | realistic(file)


def anything(file: FileName) -> st.SearchStrategy[bytes]:
    """Contents of a file's form and others."""
    spoiled = st.builds(
        lambda content, cut, junk: content[:cut] + junk, SMALL[file], st.integers(0, 60), st.binary()
    )
    return SMALL[file] | spoiled | st.binary(max_size=40) | _written(ANY_JSON)
