"""The agent as a service: its files, checked by their own tools, and commands."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mneme.client.errors import SettingsError
from mneme.client.units import Unit, install, uninstall, unit_of

PROGRAM = "/home/ana/.local/bin/mneme"
SERVICE = "mneme-agent.service"


def tool(directory: Path, name: str, text: str) -> Path:
    """A program of the test's, by this name."""
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


class System:
    """A home, and a PATH with a fake systemctl, which notes its arguments."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        self.fails_at = directory / "fails"
        self._noted = directory / "noted"
        self._noted.touch()
        self.bin = directory / "bin"
        for name in ("systemctl", "launchctl"):
            tool(
                self.bin,
                name,
                f'echo "{name} $*" >> "{self._noted}"\n'
                f'if [ -e "{self.fails_at}" ] && echo "$*" | grep -q "$(cat "{self.fails_at}")"; then\n'
                "  echo no bus >&2; exit 3\nfi",
            )

    def noted(self) -> list[str]:
        """The commands since the last call."""
        lines = self._noted.read_text().splitlines()
        self._noted.write_text("")
        return lines

    def unit(self, program: str = PROGRAM) -> Unit:
        """The service of the system."""
        unit = unit_of(self.home, program)
        assert unit
        return unit


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> System:
    """A Linux machine with a fake systemd."""
    system = System(tmp_path)
    monkeypatch.setenv("PATH", f"{system.bin}:{os.environ['PATH']}")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return system


@pytest.fixture
def mac(system: System, monkeypatch: pytest.MonkeyPatch) -> System:
    """A Mac with a fake launchd."""
    monkeypatch.setattr(sys, "platform", "darwin")
    return system


START = [f"systemctl --user {what}" for what in ("daemon-reload", f"enable {SERVICE}", f"restart {SERVICE}")]
STOP = [f"systemctl --user {what}" for what in (f"disable --now {SERVICE}", "daemon-reload")]

# systemd


def test_a_unit_is_written_and_started(system: System) -> None:
    """For whenever the person logs in."""
    unit = system.unit()
    assert install(unit)
    assert unit.path == system.home / ".config/systemd/user" / SERVICE
    lines = unit.path.read_text().splitlines()
    assert f'ExecStart="{PROGRAM}" agent' in lines
    assert {"Restart=always", "WantedBy=default.target", "Environment=MALLOC_TRIM_THRESHOLD_=131072"} <= set(
        lines
    )
    assert system.noted() == START


def test_a_second_installation_changes_nothing(system: System) -> None:
    """The file is the very same; the service starts anew, perhaps a newer mneme."""
    assert install(system.unit())
    before = system.unit().path.stat()
    system.noted()
    assert not install(system.unit())
    assert system.unit().path.stat() == before
    assert system.noted() == START


def test_a_program_that_has_moved_is_another_unit(system: System) -> None:
    """In the same place."""
    assert install(system.unit())
    assert install(system.unit("/opt/mneme"))
    assert 'ExecStart="/opt/mneme" agent' in system.unit().path.read_text()
    assert [path.name for path in system.unit().path.parent.iterdir()] == [SERVICE]


def test_an_uninstallation_stops_and_removes(system: System) -> None:
    """A second one has nothing to do."""
    install(system.unit())
    system.noted()
    assert uninstall(system.unit())
    assert not system.unit().path.exists()
    assert system.noted() == STOP
    assert not uninstall(system.unit())
    assert system.noted() == []


@pytest.mark.parametrize("command", ["daemon-reload", "enable", "restart"])
def test_a_service_that_does_not_start_is_told(system: System, command: str) -> None:
    """With the words of systemd; no file is left, and the next try starts it."""
    system.fails_at.write_text(command)
    with pytest.raises(SettingsError, match=rf"`systemctl --user {command}.*` failed: no bus"):
        install(system.unit())
    assert not system.unit().path.exists()
    system.fails_at.unlink()
    system.noted()
    assert install(system.unit())
    assert system.noted() == START


def test_a_service_that_cannot_be_stopped_keeps_its_file(system: System) -> None:
    """So that it can be tried again."""
    install(system.unit())
    system.fails_at.write_text("disable")
    with pytest.raises(SettingsError, match="no bus"):
        uninstall(system.unit())
    assert system.unit().path.exists()


@pytest.mark.parametrize("obstacle", ["systemd/user", f"systemd/user/{SERVICE}"])
def test_a_place_that_cannot_be_written_is_told(system: System, obstacle: str) -> None:
    """With the reason, and nothing is started."""
    path = system.home / ".config" / obstacle
    path.parent.mkdir(parents=True)
    if path.name == SERVICE:
        path.mkdir()
    else:
        path.write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        install(system.unit())
    assert system.noted() == []


@pytest.mark.parametrize(
    ("given", "used"), [("{home}/other", "other"), ("relative", ".config"), ("", ".config")]
)
def test_the_directory_for_settings_is_that_of_systemd(
    system: System, monkeypatch: pytest.MonkeyPatch, given: str, used: str
) -> None:
    """A relative one is ignored, as systemd does."""
    monkeypatch.setenv("XDG_CONFIG_HOME", given.format(home=system.home))
    assert system.unit().path == system.home / used / "systemd/user" / SERVICE


def test_a_machine_without_systemd_has_no_unit(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks says how to start the agent."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unit_of(system.home, PROGRAM) is None


def test_a_systemctl_that_is_gone_is_told(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the start."""
    unit = system.unit()
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SettingsError, match="systemctl cannot be run"):
        install(unit)


@pytest.mark.parametrize("program", ["/opt/a\nb/mneme", "/opt/caf\udce9/mneme", "/opt/\x1b/mneme"])
@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_program_that_no_file_can_name_is_refused(
    system: System, monkeypatch: pytest.MonkeyPatch, program: str, platform: str
) -> None:
    """A line feed would be a line of the unit."""
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(SettingsError, match="cannot be named"):
        unit_of(system.home, program)


@pytest.mark.parametrize("program", ["/opt/a'b/mneme", '/opt/a"b/mneme', "/opt/a\\b/mneme"])
def test_a_program_that_systemd_does_not_take_is_refused(
    system: System, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """No quoting helps; launchd takes it."""
    with pytest.raises(SettingsError, match="cannot be named"):
        unit_of(system.home, program)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert plistlib.loads(system.unit(program).content)["ProgramArguments"] == [program, "agent"]


@pytest.mark.integration
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
@pytest.mark.parametrize("name", ["mneme", "my mneme", "100%h", "größe", "$HOME"])
def test_systemd_understands_the_unit(system: System, tmp_path: Path, name: str) -> None:
    """With any program: its own tool finds the program, and nothing to say."""
    program = tool(tmp_path / "programs", name, "")
    install(system.unit(str(program)))
    arguments = ["systemd-analyze", "--user", "verify", "--man=no", str(system.unit().path)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(system.home)}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if SERVICE in line or name in line]
    assert (ours, done.returncode) == ([], 0)
    program.unlink()
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment, check=False)
    assert "not executable" in done.stderr


# launchd


def test_a_launch_agent_is_written_and_started(mac: System) -> None:
    """Its file says what launchd needs to know."""
    assert install(mac.unit("/opt/my mneme & <co>/mneme"))
    path = mac.home / "Library/LaunchAgents/io.github.mneme.agent.plist"
    with path.open("rb") as file:
        found = plistlib.load(file)
    assert found["Label"] == "io.github.mneme.agent"
    assert found["ProgramArguments"] == ["/opt/my mneme & <co>/mneme", "agent"]
    assert found["RunAtLoad"] is True
    assert found["KeepAlive"] is True
    domain = f"gui/{os.getuid()}"
    assert mac.noted() == [
        f"launchctl bootstrap {domain} {path}",
        f"launchctl kickstart -k {domain}/io.github.mneme.agent",
    ]


def test_a_launch_agent_that_is_loaded_already_is_started_again(mac: System) -> None:
    """Its bootstrap fails then, which is no matter; that it does not start is."""
    mac.fails_at.write_text("bootstrap")
    assert install(mac.unit())
    assert not install(mac.unit())
    mac.fails_at.write_text("kickstart")
    with pytest.raises(SettingsError, match="kickstart"):
        install(mac.unit())


LAUNCHCTL = """
loaded="{state}/loaded"; leaving="{state}/leaving"
case $1 in
bootout) [ -e "$loaded" ] || exit 3; rm "$loaded"; echo xx > "$leaving";;
bootstrap)
  if [ -e "$leaving" ]; then
    [ "$(cat "$leaving")" = x ] && rm "$leaving" || echo x > "$leaving"
    exit 5
  fi
  [ -e "$loaded" ] && exit 37
  cp "$3" "$loaded";;
kickstart) [ -e "$loaded" ] || exit 113; cp "$loaded" "{state}/running";;
esac
"""
"""A launchd that remembers the file as it was loaded, and lets go of it a little later."""


def test_a_launch_agent_whose_program_has_moved_runs_the_new_one(
    mac: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old one is unloaded first, if it is loaded; that takes a moment."""
    monkeypatch.setattr("mneme.client.units._PAUSE", 0.01)
    tool(mac.bin, "launchctl", LAUNCHCTL.format(state=tmp_path))

    def running() -> object:
        return plistlib.loads((tmp_path / "running").read_bytes())["ProgramArguments"][0]

    install(mac.unit())
    assert running() == PROGRAM
    assert install(mac.unit("/opt/mneme"))
    assert running() == "/opt/mneme"
    (tmp_path / "loaded").unlink()
    assert install(mac.unit())
    assert running() == PROGRAM
    (tmp_path / "loaded").unlink()
    assert uninstall(mac.unit())


def test_a_launch_agent_is_removed(mac: System) -> None:
    """Once it is stopped."""
    install(mac.unit())
    mac.noted()
    assert uninstall(mac.unit())
    assert mac.noted() == [f"launchctl bootout gui/{os.getuid()}/io.github.mneme.agent"]
    assert not mac.unit().path.exists()


def test_this_machine_has_its_own_kind(tmp_path: Path) -> None:
    """Whatever it is."""
    unit = unit_of(tmp_path, PROGRAM)
    assert unit is None or unit.path.suffix == (".plist" if sys.platform == "darwin" else ".service")
