"""The id of a project by each rule; no two projects get one by accident."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mneme.client.errors import SettingsError
from mneme.client.folder import Folder
from mneme.client.identity import (
    Origin,
    Rules,
    directories,
    identity_of,
    name_of,
    offered,
    patterns_of,
    remote_id,
    twins,
)
from mneme.client.localproject import LocalProject, local_project, memory_of
from mneme.model import ProjectId

BY_GIT = Rules(uses_remote=True)
HOME = Path("/home/ana")


@pytest.fixture(autouse=True)
def no_git_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No repository and no git settings of a person around the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory without dashes in its own name."""
    found = tmp_path / "top"
    found.mkdir()
    return found


def git(directory: Path, *arguments: str) -> None:
    """Run git."""
    subprocess.run(["git", *arguments], cwd=directory, check=True, capture_output=True)


def repository(path: Path, **remotes: str) -> Path:
    """A repository with remotes."""
    path.mkdir(parents=True)
    git(path, "init", "-q")
    for name, url in remotes.items():
        git(path, "remote", "add", name, url)
    return path


def identified(root: Path, rules: Rules = BY_GIT, known: str | None = None) -> tuple[str, Origin]:
    """The id of a root as text, and its origin."""
    found = identity_of(root, rules, ProjectId(known) if known else None)
    return found.project.value, found.origin


def note(path: Path, project: str) -> None:
    """Have a folder be in step under an id."""
    folder = Folder(path, ProjectId(project))
    with folder.step():
        folder.note_id()


def path_id(root: Path) -> tuple[str, Origin]:
    """The identity by path."""
    return str(root).replace("/", "-"), Origin.PATH


# Remotes


@pytest.mark.parametrize(
    "url",
    [
        "git@github.com:ana/app.git",
        "git@github.com:/ana/app",
        "ssh://git@github.com/ana/app.git",
        "ssh://git@GitHub.com:22/ana/app.git/",
        "ssh://github.com/ana/app",
        "https://github.com/ana/app",
        "https://github.com/ana/app.git",
        "https://ana:secret@GITHUB.com:8443/ana/app.git//",
        "http://github.com//ana//app/",
        "git://github.com./ana/app.git",
        "git+ssh://git@github.com/ana/app",
    ],
)
def test_all_forms_of_one_remote_are_one_id(url: str) -> None:
    """User, password and port are not in it."""
    assert remote_id(url) == "github.com/ana/app"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://gitlab.com/group/sub/team/app.git", "gitlab.com/group/sub/team/app"),
        ("git@gitlab.com:group/sub/app.git", "gitlab.com/group/sub/app"),
        ("https://example.org/Ana/App", "example.org/Ana/App"),
        ("https://example.org/my%20group/app", "example.org/my group/app"),
        ("https://example.org/app.git", "example.org/app"),
        ("https://example.org/ana/.git", "example.org/ana/.git"),
        ("nas:git/app.git", "nas/git/app"),
        ("ssh://git@[fd00::1]:2222/ana/app.git", "fd00::1/ana/app"),
        ("git@[fd00::1]:ana/app.git", "fd00::1/ana/app"),
        ("nas:/srv/git/app.git", "nas/srv/git/app"),
        ("ana@nas:/srv/git/app.git", "nas/srv/git/app"),
    ],
)
def test_the_host_and_the_whole_path_are_the_id(url: str, expected: str) -> None:
    """All groups of GitLab stay; the case of the path does, too."""
    assert remote_id(url) == expected


@pytest.mark.parametrize("url", ["ana@nas:git/app.git", "ana@nas:~/git/app", "ssh://ana@nas/~/git/app.git"])
def test_a_path_in_somebodys_home_has_that_name_in_it(url: str) -> None:
    """Two people have a repository each at this path of the host."""
    assert remote_id(url) == "nas/~ana/git/app"
    assert remote_id(url.replace("ana@", "bo@")) == "nas/~bo/git/app"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/git/app.git",
        "../app",
        "./a:b/app",
        "file:///srv/git/app.git",
        "file://nas/srv/git/app.git",
        "https://localhost:3000/ana/app",
        "git@localhost:ana/app",
        "ssh://git@127.0.0.1/ana/app",
        "ssh://git@[::1]/ana/app",
        "https://github.com",
        "https:///ana/app",
        "git@github.com:",
        "https://[broken/ana/app",
        "codecommit::eu-west-1://app",
    ],
)
def test_what_names_no_other_host_is_no_id(url: str) -> None:
    """A path on this machine is another repository on each machine."""
    assert remote_id(url) is None


@given(st.text(max_size=60))
def test_no_remote_makes_it_fail(url: str) -> None:
    """Whatever a person has written."""
    found = remote_id(url)
    assert found is None or found.partition("/")[0]


# The order


def test_the_first_rule_that_says_an_id_counts(top: Path) -> None:
    """Each is taken away in turn."""
    root = repository(top / "app", origin="https://github.com/ana/app")
    git(root, "config", "mneme.project", "named")
    rules = Rules(((str(root), ProjectId("chosen")),), uses_remote=True, one_for_all=ProjectId("all"))
    assert identified(root, rules) == ("chosen", Origin.PROJECTS)
    rules = Rules(uses_remote=True, one_for_all=ProjectId("all"))
    assert identified(root, rules) == ("named", Origin.GIT_CONFIG)
    git(root, "config", "--unset", "mneme.project")
    assert identified(root, rules) == ("github.com/ana/app", Origin.REMOTE)
    git(root, "remote", "remove", "origin")
    assert identified(root, rules) == ("all", Origin.ONE_FOR_ALL)
    assert identified(root) == path_id(root)


def test_without_the_setting_the_remote_says_nothing(top: Path) -> None:
    """Stock settings mean what they meant; an id that a person gave by git counts."""
    root = repository(top / "app", origin="https://github.com/ana/app")
    assert identified(root, Rules()) == path_id(root)
    git(root, "config", "mneme.project", "named")
    assert identified(root, Rules()) == ("named", Origin.GIT_CONFIG)


@pytest.mark.parametrize(
    ("remotes", "expected"),
    [
        ({"upstream": "https://a.org/up/app", "origin": "https://a.org/ana/app"}, "a.org/ana/app"),
        ({"upstream": "https://a.org/up/app"}, "a.org/up/app"),
        ({"one": "https://a.org/up/app", "two": "https://a.org/ana/app"}, None),
        ({"origin": "/srv/app.git", "other": "https://a.org/ana/app"}, None),
        ({}, None),
    ],
)
def test_the_remote_is_origin_or_the_only_one(
    top: Path, remotes: dict[str, str], expected: str | None
) -> None:
    """Among several others there is no choice to be made."""
    root = repository(top / "app", **remotes)
    assert identified(root) == ((expected, Origin.REMOTE) if expected else path_id(root))


def test_instead_of_is_applied(top: Path) -> None:
    """The person's short form of a host stands for it."""
    (top.parent / "gitconfig").write_text('[url "https://github.com/"]\n\tinsteadOf = "gh:"\n')
    assert identified(repository(top / "app", origin="gh:ana/app")) == ("github.com/ana/app", Origin.REMOTE)


# No id by accident


def test_a_name_for_all_repositories_of_a_person_is_none(top: Path) -> None:
    """All would share a memory."""
    (top.parent / "gitconfig").write_text("[mneme]\n\tproject = everything\n")
    root = repository(top / "app")
    assert identified(root) == path_id(root)


@pytest.mark.parametrize("has_broken_git", [False, True])
def test_a_directory_inside_a_repository_is_not_that_repository(top: Path, has_broken_git: bool) -> None:
    """Such as the place of submodules, which all have as their root."""
    outer = repository(top / "outer", origin="https://a.org/ana/outer")
    inner = outer / "inner"
    (inner / ".git").mkdir(parents=True) if has_broken_git else inner.mkdir()
    assert identified(inner) == path_id(inner)
    modules = outer / ".git" / "modules"
    modules.mkdir()
    assert identified(modules) == path_id(modules)


def test_the_repository_of_a_hook_of_git_is_not_taken_for_another(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git tells its hooks in the environment which it is."""
    root = repository(top / "app", origin="https://a.org/ana/app")
    monkeypatch.setenv("GIT_DIR", str(repository(top / "lib", origin="https://a.org/ana/lib") / ".git"))
    assert identified(root) == ("a.org/ana/app", Origin.REMOTE)


def test_two_directories_of_one_name_stay_with_it(top: Path) -> None:
    """The plugin has one folder for both, and a folder has one id."""
    root = repository(top / "a" / "b", origin="https://a.org/ana/app")
    assert identified(root) == ("a.org/ana/app", Origin.REMOTE)
    (top / "a-b").mkdir()
    assert identified(root) == path_id(root)


def test_two_clones_share_their_memory(top: Path) -> None:
    """On purpose."""
    clones = [repository(top / name, origin="git@github.com:ana/app.git") for name in ("one", "two")]
    assert [identified(clone)[0] for clone in clones] == ["github.com/ana/app"] * 2


def test_while_git_does_not_answer_the_id_stays(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may have another PATH; without an id so far, the path counts."""
    root = repository(top / "app", origin="https://a.org/ana/app")
    monkeypatch.setenv("PATH", str(top))
    assert identified(root, known="a.org/ana/app") == ("a.org/ana/app", Origin.LAST_SYNC)
    assert identified(root) == path_id(root)


# sync.projects


@pytest.mark.parametrize(
    ("pattern", "root", "is_meant"),
    [
        ("~/src/app", "/home/ana/src/app", True),
        ("~/src/app/", "/home/ana/src/app", True),
        ("/home/ana/src/app", "/home/ana/src/app", True),
        ("~/src/app", "/home/ana/src/app/deeper", False),
        ("~/src/app", "/home/ana/src/app2", False),
        ("~/src/*", "/home/ana/src/app", True),
        ("~/src/*", "/home/ana/src/app/deeper", False),
        ("~/src/**", "/home/ana/src/app/deeper", True),
        ("~/src/ap?", "/home/ana/src/app", True),
        ("~/src/a?p", "/home/ana/src/a/p", False),
        ("/**/app", "/home/ana/src/app", True),
        ("~/src/[ab].c", "/home/ana/src/[ab].c", True),
        ("~/src/[ab].c", "/home/ana/src/a.c", False),
        ("~", "/home/ana", True),
        ("/", "/", True),
    ],
)
def test_a_folder_means_itself_and_a_pattern_what_it_matches(pattern: str, root: str, is_meant: bool) -> None:
    """Folders below one are projects of their own, unless a pattern says otherwise."""
    found = identified(Path(root), Rules(patterns_of({pattern: "app"}, HOME)))
    assert found == (("app", Origin.PROJECTS) if is_meant else path_id(Path(root)))


def test_the_first_pattern_of_the_file_counts() -> None:
    """However much nearer a later one is."""
    rules = Rules(patterns_of({"/srv/*": "first", "/srv/app": "second"}, HOME))
    assert identified(Path("/srv/app"), rules) == ("first", Origin.PROJECTS)


@pytest.mark.parametrize("pattern", ["src/app", "", "*", "~ana/src", "./app"])
def test_a_pattern_must_be_a_whole_path(pattern: str) -> None:
    """The sentence names it."""
    with pytest.raises(SettingsError, match=r"sync\.projects names .*: a folder, .* begins with / or ~/"):
        patterns_of({pattern: "app"}, HOME)


@pytest.mark.parametrize("project", ["", "x" * 513])
def test_an_id_that_cannot_be_one_is_told_so(top: Path, project: str) -> None:
    """With its place, in the settings or in the repository."""
    with pytest.raises(SettingsError, match=r"The id of '/srv/app' in sync\.projects cannot be used: .* 512"):
        patterns_of({"/srv/app": project}, HOME)
    if project:
        root = repository(top / "app")
        git(root, "config", "mneme.project", project)
        with pytest.raises(
            SettingsError, match=rf"git config mneme\.project of {root} cannot be used: .* 512"
        ):
            identified(root)


# Folders whose directory is to be found


def test_a_directory_is_found_by_the_name_of_its_folder(top: Path) -> None:
    """Names may have dashes, at the start, too, and several in a row."""
    for name in ("my-app", "-app", "a--b", ".hidden-app"):
        root = top / "some-where" / name
        root.mkdir(parents=True)
        assert directories(name_of(root)) == [root]


def test_what_is_no_directory_is_not_found(top: Path) -> None:
    """Links are none, nor files, nor names of an older plugin."""
    (top / "app").mkdir()
    (top / "linked").symlink_to(top / "app")
    (top / "file").write_text("")
    for name in (top / "linked", top / "file", top / "gone", top / ".." / "top" / "app"):
        assert directories(name_of(name)) == []
    assert directories("app") == []
    assert directories("-") == []
    assert directories("-\0") == []
    assert directories(f"{name_of(top)}-{'long' * 100}") == []


def test_two_directories_of_one_name_are_both_found(top: Path) -> None:
    """The plugin has one folder for both."""
    (top / "a" / "b").mkdir(parents=True)
    (top / "a-b").mkdir()
    assert sorted(directories(name_of(top / "a-b"))) == [top / "a" / "b", top / "a-b"]


@pytest.mark.parametrize("was_in_step", [False, True])
def test_an_agent_says_the_id_that_a_session_says(top: Path, was_in_step: bool) -> None:
    """Whatever id the folder had before, and where it was never in step, too."""
    root = repository(top / "my-app", origin="https://a.org/ana/app")
    of_session = local_project(root, top, BY_GIT)
    if was_in_step:
        note(of_session.folder, name_of(root))
    of_agent = memory_of(of_session.folder, BY_GIT)
    assert isinstance(of_agent, LocalProject)
    assert of_agent == of_session == local_project(root, top, BY_GIT)
    assert [one.value for one in of_agent.ids] == ["a.org/ana/app", name_of(root)]


@pytest.mark.parametrize("is_double", [False, True])
def test_a_folder_whose_directory_is_not_to_be_found_keeps_its_id(top: Path, is_double: bool) -> None:
    """Its disk is not mounted, say; without an id so far, the path counts."""
    folder = top / "projects" / name_of(top / "a" / "b")
    if is_double:
        (top / "a" / "b").mkdir(parents=True)
        (top / "a-b").mkdir()
    assert memory_of(folder, BY_GIT).project.value == folder.name
    note(folder, "a.org/ana/app")
    found = memory_of(folder, BY_GIT)
    assert (found.project.value, found.origin) == ("a.org/ana/app", Origin.LAST_SYNC)
    assert memory_of(folder, Rules(one_for_all=ProjectId("all"))).project == ProjectId("all")


# Ids that may be of one project


@pytest.mark.parametrize(
    ("mine", "other", "pair"),
    [
        ("github.com/ana/app", "-home-bo-app", ("-home-bo-app", "github.com/ana/app")),
        ("-home-ana-app", "github.com/ana/app", ("-home-ana-app", "github.com/ana/app")),
        ("-home-ana-app", "-Users-ana-app", ("-Users-ana-app", "-home-ana-app")),
    ],
)
def test_ids_with_one_last_part_are_offered(mine: str, other: str, pair: tuple[str, str]) -> None:
    """The id of a path becomes the alias."""
    root = Path("/home/ana/app")
    assert twins(ProjectId(mine), root, [ProjectId(other), ProjectId("xapp")]) == [ProjectId(other)]
    assert offered(ProjectId(mine), ProjectId(other)) == (ProjectId(pair[0]), ProjectId(pair[1]))
    assert twins(ProjectId("a.org/ana/lib"), root, [ProjectId(other)]) == []
