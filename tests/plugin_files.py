"""Memory as the plugin writes it: five files, seeded, of the size of daily use.

The same seed gives the same bytes. Sizes are met to within one entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

LOG_SIZE = 158_000
SUMMARY_SIZE = 16_000
REMEMBERED_SIZE = 7_000
ENTITIES_SIZE = 55_000

_FIRST_MOMENT = datetime(2026, 1, 5, 8, 30, tzinfo=UTC)
_TYPES = ("prompt", "task", "commit", "subagent", "response", "compact", "error", "decision")
_VERBS = (
    "add fix move rename split inline document test benchmark revert guard cache retry parse drop".split()
)
_NOUNS = (
    "session parser lock lease upload handler history journal merge index summary digest socket timer reactor queue "
    "limit header envelope migration cursor token schema thread pool fixture deadline backlog config"
).split()
_FOLDERS = "src src/api src/store lib tests tests/integration docs scripts tools/release".split()
_SUFFIXES = (".ts", ".mjs", ".py", ".rs", ".md", ".json", ".tsx", ".go")
_ELSEWHERE = (
    "η μνήμη δεν χάνεται ποτέ",
    "記憶は失われない",
    "naïve café — déjà vu",
    "тест проходит ✅",
    "🧠 remember this",
    "it’s “quoted” … twice",
    "path C:\\Users\\Ana\\src\\app",
    'a "quoted" word\nand a second line\twith a tab',
)


def stamp(moment: datetime) -> str:
    """A time as JavaScript's `toISOString` writes it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def log(seed: int, size: int = LOG_SIZE) -> bytes:
    """`log.jsonl` of at least `size` bytes, less than one entry more."""
    lines = []
    total = 0
    for line in log_lines(seed):
        lines.append(line)
        total += len(line)
        if total >= size:
            break
    return b"".join(lines)


def log_lines(seed: int, start: datetime = _FIRST_MOMENT) -> Iterator[bytes]:
    """Lines of an endless log, each with its newline, in order."""
    rng = Random(f"log {seed}")
    moment = start
    while True:
        moment += timedelta(seconds=rng.randrange(2, 600), milliseconds=rng.randrange(1000))
        yield log_line(rng, moment)


def log_line(rng: Random, moment: datetime) -> bytes:
    """An entry of a log, with its newline."""
    kind = rng.choice(_TYPES)
    entry: dict[str, Any] = {"ts": stamp(moment), "type": kind, "content": _text(rng, rng.randrange(1, 9))}
    if kind == "task":
        entry |= {"action": rng.choice(("created", "completed")), "subject": _phrase(rng)}
    elif kind == "subagent":
        entry["agent_type"] = rng.choice(("explore", "review", "general-purpose"))
    return _compact(entry) + b"\n"


def remembered(seed: int, size: int = REMEMBERED_SIZE) -> bytes:
    """`remembered.json` of about `size` bytes."""
    rng = Random(f"remembered {seed}")
    moment = _FIRST_MOMENT
    items: list[dict[str, Any]] = []
    while len(_indented(items)) < size:
        moment += timedelta(hours=rng.randrange(1, 90), milliseconds=rng.randrange(1000))
        kind = rng.choice(("preference", "fact", "note", "project"))
        items.append({"ts": stamp(moment), "type": kind, "content": _text(rng, rng.randrange(1, 4))})
    return _indented(items)


def summary(seed: int, size: int = SUMMARY_SIZE, last_entry_index: int = 412) -> bytes:
    """`summary.json` of about `size` bytes."""
    rng = Random(f"summary {seed}")
    moment = _FIRST_MOMENT
    decisions: list[dict[str, Any]] = []
    states: list[dict[str, Any]] = []
    work: list[dict[str, Any]] = []
    whole: dict[str, Any] = {
        "projectContext": _text(rng, 8),
        "keyDecisions": decisions,
        "currentState": states,
        "recentWork": work,
        "lastUpdated": stamp(moment),
        "lastEntryIndex": last_entry_index,
    }
    while len(_indented(whole)) < size:
        moment += timedelta(days=1, seconds=rng.randrange(40_000), milliseconds=rng.randrange(1000))
        day = moment.date().isoformat()
        decisions.append(
            {
                "date": day,
                "decision": _phrase(rng),
                "reason": _text(rng, 2),
                "foundational": rng.random() < 0.2,
            }
        )
        states.append({"topic": f"{_phrase(rng)} ({len(states)})", "status": _text(rng, 1)})
        work.append({"date": day, "summary": _text(rng, 3)})
        whole["lastUpdated"] = stamp(moment)
    return _indented(whole)


def entities(seed: int, size: int = ENTITIES_SIZE) -> bytes:
    """`entities.json` of about `size` bytes."""
    rng = Random(f"entities {seed}")
    whole: dict[str, Any] = {"files": {}, "functions": {}, "errors": {}, "packages": {}}
    total = 0
    while total < size - 100:
        kind = rng.choice(("files", "files", "functions", "functions", "errors", "packages"))
        name, entity = _entity_name(rng, kind), _entity(rng)
        whole[kind][name] = entity
        total += len(_indented({name: entity})) + 5 * len(entity["contexts"]) * 4
    moment = _FIRST_MOMENT + timedelta(days=40)
    whole |= {"lastUpdated": stamp(moment), "lastPruned": stamp(moment - timedelta(days=3))}
    return _indented(whole)


def summary_md(seed: int, paragraphs: int = 12) -> bytes:
    """`summary.md`, the summary that older versions of the plugin kept."""
    rng = Random(f"summary.md {seed}")
    parts = [f"# {_phrase(rng).capitalize()}", _text(rng, 3)]
    for _ in range(paragraphs):
        parts += [f"## {_phrase(rng).capitalize()}", "\n".join(f"- {_text(rng, 1)}" for _ in range(4))]
    return ("\n\n".join(parts) + "\n").encode("utf-8")


def memory(seed: int) -> dict[str, bytes]:
    """The five files of a project, in the order in which a server lists them."""
    return {
        "log.jsonl": log(seed),
        "summary.json": summary(seed),
        "summary.md": summary_md(seed),
        "remembered.json": remembered(seed),
        "entities.json": entities(seed),
    }


def _entity_name(rng: Random, kind: str) -> str:
    nouns = rng.sample(_NOUNS, 2)
    if kind == "files":
        return f"{rng.choice(_FOLDERS)}/{nouns[0]}-{nouns[1]}{rng.choice(_SUFFIXES)}"
    if kind == "functions":
        return rng.choice(_VERBS) + "".join(noun.capitalize() for noun in nouns)
    if kind == "errors":
        return f"{nouns[0].capitalize()}Error: {_phrase(rng)} {rng.choice(_ELSEWHERE[:5])}"
    return f"@{nouns[0]}/{nouns[1]}"


def _entity(rng: Random) -> dict[str, Any]:
    moment = _FIRST_MOMENT + timedelta(seconds=rng.randrange(3_000_000), milliseconds=rng.randrange(1000))
    contexts = []
    for _ in range(rng.randrange(1, 6)):
        moment += timedelta(seconds=rng.randrange(1, 50_000))
        contexts.append({"ts": stamp(moment), "type": rng.choice(_TYPES), "summary": _text(rng, 1)})
    return {"mentions": rng.randrange(len(contexts), 60), "lastSeen": stamp(moment), "contexts": contexts}


def _phrase(rng: Random) -> str:
    return f"{rng.choice(_VERBS)} the {rng.choice(_NOUNS)} {rng.choice(_NOUNS)}"


def _text(rng: Random, sentences: int) -> str:
    parts = []
    for _ in range(sentences):
        path = f"{rng.choice(_FOLDERS)}/{rng.choice(_NOUNS)}{rng.choice(_SUFFIXES)}:{rng.randrange(1, 900)}"
        parts.append(f"{_phrase(rng).capitalize()} before we {_phrase(rng)} in {path}.")
        if rng.random() < 0.08:
            parts.append(rng.choice(_ELSEWHERE))
    return " ".join(parts)


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _indented(value: object) -> bytes:
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode("utf-8")
