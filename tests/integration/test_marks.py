"""Files that an editor has saved with a byte order mark, or as UTF-16."""

from __future__ import annotations

import json
from codecs import BOM_UTF8, BOM_UTF16_LE

import pytest

from mneme.model import ProjectId
from mneme.store import layout
from tests.command import LOG, Home, entries, line
from tests.daemon import Daemon, wait_until

pytestmark = pytest.mark.integration

FACTS = "remembered.json"


def facts(*contents: str) -> bytes:
    """Facts to remember, as the plugin writes them."""
    found = [{"ts": "2026-11-24T20:00:00.000Z", "type": "fact", "content": one} for one in contents]
    return json.dumps(found, indent=2).encode()


@pytest.fixture
def laptop(tmp_path_factory: pytest.TempPathFactory, running: Daemon, project: str) -> Home:
    """A machine in whose files an editor has put marks."""
    home = Home(tmp_path_factory.mktemp("laptop"), running.url, projectId=project, enabled=False)
    for path in (home.plugin / "config.json", home.plugin / ".client-id"):
        content = path.read_bytes() if path.exists() else b"laptop-1a2b3c4d"
        path.write_bytes(BOM_UTF8 + content)
    return home


def test_marks_in_settings_and_memory_keep_nothing_from_syncing(
    tmp_path_factory: pytest.TempPathFactory, running: Daemon, laptop: Home, project: str
) -> None:
    """Each line and fact is there once; the client id stays."""
    other = Home(tmp_path_factory.mktemp("desktop"), running.url, projectId=project)
    laptop.write(LOG, BOM_UTF8 + line("one") + line("two"))
    laptop.write(FACTS, BOM_UTF8 + facts("tabs", "spaces"))
    laptop.run("push", "--strict")
    other.run("pull", "--strict")
    other.write(LOG, other.file().read_bytes().removeprefix(BOM_UTF8) + line("three"))
    other.write(FACTS, facts("tabs", "spaces", "make"))
    other.run("push", "--strict")
    laptop.write(LOG, laptop.file().read_bytes() + line("four"))
    laptop.write(FACTS, BOM_UTF8 + facts("spaces"))
    for home in (laptop, other):
        home.run("pull", "--strict")
        home.run("push", "--strict")
    for home in (laptop, other):
        assert sorted(entries(home.file().read_bytes().removeprefix(BOM_UTF8))) == [
            "four",
            "one",
            "three",
            "two",
        ]
        found = json.loads(home.file(FACTS).read_bytes().removeprefix(BOM_UTF8))
        assert [one["content"] for one in found] == ["spaces", "make"]
    _, body = running.ask("GET", f"/projects/{project}/files/{LOG}/versions")
    assert "laptop-1a2b3c4d" in {one["clientId"] for one in body["versions"]}


def test_an_edit_with_a_mark_on_the_server_is_merged(running: Daemon, laptop: Home, project: str) -> None:
    """A person has edited the plain file there."""
    laptop.write(FACTS, facts("tabs"))
    laptop.run("push", "--strict")
    plain = running.projects / layout.directory_name(ProjectId(project)) / FACTS
    wait_until(plain.exists, within=5)
    plain.write_bytes(BOM_UTF8 + facts("tabs", "by hand"))
    laptop.write(FACTS, facts("tabs", "from here"))
    laptop.run("push", "--strict")
    found = json.loads(laptop.file(FACTS).read_bytes())
    assert sorted(one["content"] for one in found) == ["by hand", "from here", "tabs"]


def test_hooks_are_installed_into_settings_with_a_mark(laptop: Home) -> None:
    """The file has no mark then, so that Claude Code reads it."""
    settings = laptop.path / ".claude/settings.json"
    settings.parent.mkdir()
    before = BOM_UTF8 + b'{"model": "opus"}'
    settings.write_bytes(before)
    laptop.run("hooks", "--install")
    found = json.loads(settings.read_bytes().decode("utf-8"))
    assert (found["model"], set(found["hooks"])) == ("opus", {"SessionStart", "SessionEnd"})
    assert settings.with_name("settings.json.bak").read_bytes() == before
    assert "sync-by-hooks" in {one["code"] for one in laptop.json("doctor")["findings"]}


@pytest.mark.parametrize("name", ["config.json", "settings.json"])
def test_utf_16_is_told_with_what_to_do(laptop: Home, name: str) -> None:
    """Notepad once called it Unicode."""
    path = laptop.plugin / name if name == "config.json" else laptop.path / ".claude" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(BOM_UTF16_LE + '{"sync": {}}'.encode("utf-16-le"))
    words = ("pull", "--strict") if name == "config.json" else ("hooks", "--install")
    ended = laptop.run(*words, check=False)
    assert (ended.status, "it is UTF-16: save it as UTF-8" in ended.err) == (1, True)
    assert "it is UTF-16: save it as UTF-8" in laptop.run("doctor", check=False).out


def test_the_doctor_names_files_that_the_plugin_cannot_read(laptop: Home) -> None:
    """With a mark, or as UTF-16."""
    laptop.write(LOG, BOM_UTF8 + line("one"))
    laptop.write(FACTS, BOM_UTF16_LE + facts("tabs").decode().encode("utf-16-le"))
    told = json.loads(laptop.run("doctor", "--json", check=False).out)["findings"]
    marked = [one["found"] for one in told if one["code"] == "file-marked"]
    assert len(marked) == 3
    for path, how in ((LOG, "mark"), (FACTS, "UTF-16"), ("config.json", "mark")):
        assert any(f"{path} is" in found and how in found for found in marked)
    assert "file-damaged" not in {one["code"] for one in told}
