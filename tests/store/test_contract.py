"""Promises of every store: in memory, and on disk with a restart after each change.

In memory a store remembers all it can, on disk nothing but what is written. The plain rules, without merges, are those
of the model in `test_machine.py`: locks, heads, versions, restoring, pruning.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from twisted.logger import capturedLogs, formatEvent

from mneme.merge import merge
from mneme.merge.bounds import MAX_DOCUMENT, MAX_LINES
from mneme.model import (
    Accepted,
    ClientId,
    FileName,
    HeldBy,
    Kind,
    Merging,
    Millis,
    NotLocked,
    Overview,
    ProjectId,
    Pruned,
    Reader,
    Receipt,
    Rescued,
    Restore,
    Role,
    TwoPlaces,
    Unnamed,
    Upload,
)
from mneme.retention import Retention
from mneme.store.base import MAX_CANDIDATES
from tests import plugin_files
from tests.keeping import KEEP_NONE
from tests.store.asking import (
    ENTITIES,
    EXPIRY,
    FOUR,
    LAST_MOMENT,
    LOG,
    ONE,
    REMEMBERED,
    SUMMARY_MD,
    THREE,
    TWO,
    after,
    ask_for_everything,
    content,
    facts,
    fetch,
    hand_over,
    head_of,
    head_with,
    lock_of,
    note,
    pull,
    put,
    remembered,
    rescued,
    waiting,
)
from tests.store.looking import ALPHA, ANA, BEN, EVE, NOW, ORG, TTL, content_of
from tests.store.stores import Patient

HOUR = 60 * 60 * 1000
DAY = 24 * HOUR
ODD_IDS = (
    "a.b",
    "a/b",
    "a_b",
    ".",
    "..",
    "../../etc",
    "a\0b",
    "記憶",
    "🧠",
    "-home-ana-src-my.app",
    "x" * 512,
)
GOOD = {LOG: ONE, FileName.SUMMARY_JSON: b"{}", REMEMBERED: b"[]", ENTITIES: b"{}"}
JUNK = [
    (LOG, b"one\n"),
    (FileName.SUMMARY_JSON, b"[]"),
    (REMEMBERED, b"\xff"),
    (ENTITIES, b'{"files":'),
    pytest.param(LOG, b"{}\n" * (MAX_LINES + 1), id="too many lines"),
    pytest.param(ENTITIES, b"{}".ljust(MAX_DOCUMENT + 1), id="too large"),
]
"""Contents that are not of the form of their file, or too large, and cannot be merged."""


def crowd(store: Patient, clients: int) -> list[int]:
    """Refused uploads of so many clients, each with a line of its own."""
    return [rescued(put(store, ClientId(f"client-{n}"), ONE + note(10 + n))) for n in range(clients)]


class TestStore:
    """Steps whose outcome depends on merges, bases, or the storage."""

    @pytest.fixture
    def held(self, store: Patient) -> Patient:
        """The store, with the project locked by Ana since `NOW`."""
        store.acquire(ALPHA, ANA, NOW, TTL)
        return store

    # Projects that nobody has written

    @pytest.mark.parametrize("name", ODD_IDS)
    def test_a_project_never_written_is_empty(self, store: Patient, name: str) -> None:
        """No step finds anything in the project, and none makes it."""
        project = ProjectId(name)
        nothing = ask_for_everything(store, project)
        refused = nothing.pop("extend"), nothing.pop("release"), nothing.pop("restore")
        assert refused == (NotLocked(),) * 3
        assert nothing.pop("prune") == nothing.pop("prunable") == Pruned(project, ())
        assert set(nothing.values()) == {None, ()}
        assert store.projects() == []

    # Locks

    def test_a_lock_of_a_time_to_come_is_in_nobodys_way(self, store: Patient) -> None:
        """A corrected clock ends the lock; the next one has a larger token."""
        ahead = after(HOUR + 1)
        before = lock_of(store.acquire(ALPHA, ANA, ahead, TTL))
        put(store, ANA, ONE, now=ahead)
        put(store, BEN, TWO, now=ahead)
        assert store.lock(ALPHA, NOW) is None
        lock = lock_of(store.acquire(ALPHA, BEN, NOW, TTL))
        assert (lock.client, lock.acquired_at, lock.expires_at) == (BEN, NOW, EXPIRY)
        assert lock.token > before.token
        assert content(store) == ONE + TWO

    # Reaping

    # Files

    def test_files_as_large_as_in_daily_use_come_back_byte_for_byte(self, held: Patient) -> None:
        """All five files of the plugin are listed in a fixed order."""
        contents = {FileName(name): content for name, content in plugin_files.memory(1).items()}
        for file in reversed(contents):
            put(held, ANA, contents[file], file)
        heads = held.heads(ALPHA, NOW)
        assert [(head.file, head.size) for head in heads] == [(f, len(c)) for f, c in contents.items()]
        assert {file: content(held, file) for file in contents} == contents

    @pytest.mark.parametrize("held_bytes", [b"", b"\0", b"\r\n\r", "é\u2028🧠".encode(), b"\xef\xbb\xbf{}"])
    def test_content_is_bytes(self, held: Patient, held_bytes: bytes) -> None:
        """Line ends, encodings and emptiness mean nothing to the store."""
        assert head_of(put(held, ANA, held_bytes)).size == len(held_bytes)
        assert content(held) == held_bytes

    # History

    @pytest.mark.parametrize("number", [-1, 0, 2, 10**30])
    def test_a_version_that_is_not_there_has_no_content(self, held: Patient, number: int) -> None:
        """Whatever number is asked for."""
        put(held, ANA, b"one")
        assert content_of(held, ALPHA, number) is None

    # Refused uploads

    def test_a_refused_upload_is_kept_beside_the_head(self, held: Patient) -> None:
        """The head, the lock and the holder's view stay; the content is in history."""
        put(held, ANA, ONE)
        lock = held.lock(ALPHA, NOW)
        before = lock, held.heads(ALPHA, NOW), held.read(ALPHA, LOG, NOW)
        assert put(held, BEN, ONE + TWO, now=after(5)) == Rescued(HeldBy(lock), 2)
        assert (held.lock(ALPHA, NOW), held.heads(ALPHA, NOW), held.read(ALPHA, LOG, NOW)) == before
        kept = held.version(ALPHA, 2)
        version = kept.version
        assert (kept.content, version.size) == (ONE + TWO, len(ONE + TWO))
        assert (version.client, version.kind, version.role) == (BEN, Kind.RESCUED, Role.WAITING)
        assert (version.time, waiting(held)) == (after(5), 1)

    def test_the_newest_refused_upload_of_each_client_and_file_waits(self, held: Patient) -> None:
        """The upload that it replaces is in history, and is merged no more."""
        put(held, ANA, ONE)
        earlier = rescued(put(held, BEN, ONE + TWO + THREE))
        rescued(put(held, EVE, ONE + THREE + note(5)))
        later = rescued(put(held, BEN, THREE + FOUR))
        put(held, BEN, b"# Ben\n", SUMMARY_MD)
        assert waiting(held) == 3
        assert [v.parents for v in held.versions(ALPHA) if v.number == later] == [(earlier,)]
        held.release(ALPHA, ANA, after(1))
        assert waiting(held) == 0
        assert content(held) == ONE + THREE + FOUR + note(5)
        assert content(held, SUMMARY_MD) == b"# Ben\n"
        assert content_of(held, ALPHA, earlier) == ONE + TWO + THREE

    @pytest.mark.parametrize(
        ("file", "base", "both", "wanted"),
        [
            (LOG, ONE, (ONE + TWO, ONE + THREE), ONE + TWO + THREE),
            (LOG, ONE, (ONE + TWO, FOUR), ONE + TWO + FOUR),
            (LOG, None, (TWO, FOUR), TWO + FOUR),
            (REMEMBERED, facts(1), (facts(2), facts(3)), None),
            (REMEMBERED, None, (facts(1, 2), facts(3)), None),
        ],
    )
    def test_refused_uploads_of_which_neither_continues_the_other_are_both_merged(
        self,
        held: Patient,
        file: FileName,
        base: bytes | None,
        both: tuple[bytes, bytes],
        wanted: bytes | None,
    ) -> None:
        """Two folders have one id, or a machine and its clone."""
        if base:
            put(held, ANA, base, file)
        numbers = [rescued(put(held, BEN, each, file)) for each in both]
        assert waiting(held) == 2
        assert [v.parents for v in held.versions(ALPHA) if v.number in numbers] == [(), ()]
        assert [rescued(put(held, BEN, each, file)) for each in both] == numbers
        held.release(ALPHA, ANA, after(1))
        assert waiting(held) == 0
        assert content(held, file) == wanted if wanted else remembered(held) == [1, 2, 3]

    def test_an_upload_of_known_content_makes_no_version(self, held: Patient) -> None:
        """An upload that is the head, the client's waiting upload, or its base."""
        put(held, ANA, ONE)
        assert rescued(put(held, BEN, ONE)) == 1
        put(held, ANA, ONE + TWO)
        assert rescued(put(held, BEN, ONE)) == 1
        assert waiting(held) == 0
        for _ in range(2):
            assert rescued(put(held, BEN, ONE + THREE)) == 3
        assert [version.number for version in held.versions(ALPHA)] == [1, 2, 3]

    def test_the_same_content_of_two_clients_waits_twice(self, held: Patient) -> None:
        """The second merge adds only a later mtime, by which its client downloads the first."""
        put(held, ANA, ONE)
        assert [rescued(put(held, client, TWO)) for client in (BEN, EVE)] == [2, 3]
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO
        assert [version.parents for version in held.versions(ALPHA)][3:] == [(1, 2), (4, 3)]
        assert waiting(held) == 0

    def test_a_client_that_sends_the_head_waits_no_more(self, held: Patient) -> None:
        """Its earlier upload is out of date: it is in history, and not merged."""
        for client, known in ((ANA, facts(1)), (BEN, facts(1, 2)), (BEN, facts(1))):
            put(held, client, known, REMEMBERED)
        assert waiting(held) == 0
        held.release(ALPHA, ANA, NOW)
        assert remembered(held) == [1]
        assert content_of(held, ALPHA, 2) == facts(1, 2)

    def test_a_log_that_waits_is_not_given_up_for_a_head_without_its_last_lines(self, held: Patient) -> None:
        """Another folder of the client has sent the head: no log loses its last lines."""
        put(held, ANA, ONE)
        put(held, BEN, ONE + TWO)
        put(held, BEN, ONE)
        assert waiting(held) == 1
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO

    def test_64_uploads_wait_and_one_more_pushes_out_the_oldest(self, held: Patient) -> None:
        """The oldest is in history, like all others, and not merged."""
        put(held, ANA, ONE)
        numbers = crowd(held, 65)
        assert waiting(held) == 64
        assert content_of(held, ALPHA, numbers[0]) == ONE + note(10)
        held.release(ALPHA, ANA, NOW)
        assert waiting(held) == 0
        assert content(held) == ONE + b"".join(note(10 + n) for n in range(1, 65))

    def test_an_upload_of_the_holder_pushes_nobody_out(self, held: Patient) -> None:
        """A stale upload of the holder is merged at once, and does not wait."""
        put(held, ANA, ONE)
        hand_over(held, BEN)
        crowd(held, 64)
        put(held, BEN, TWO)
        assert waiting(held) == 64
        held.release(ALPHA, BEN, NOW)
        assert content(held) == ONE + TWO + b"".join(note(10 + n) for n in range(64))

    def test_a_client_that_waits_already_pushes_nobody_out(self, held: Patient) -> None:
        """64 others wait on when it sends something newer."""
        put(held, ANA, ONE)
        crowd(held, 64)
        put(held, ClientId("client-63"), ONE + note(73) + note(99))
        assert waiting(held) == 64
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + b"".join(note(10 + n) for n in range(64)) + note(99)

    def test_in_a_free_project_a_refused_upload_is_merged_at_once(self, held: Patient) -> None:
        """The parents of the new head are the old one and the upload."""
        put(held, ANA, ONE, now=after(9))
        held.release(ALPHA, ANA, after(9))
        number = rescued(put(held, BEN, TWO, now=after(5)))
        [head] = held.heads(ALPHA, after(5))
        assert (content(held, now=after(5)), head.mtime) == (ONE + TWO, after(10))
        merged = held.versions(ALPHA)[-1]
        assert (merged.number, merged.kind, merged.role) == (head.version, Kind.MERGED, Role.HEAD)
        assert (merged.client, merged.parents) == (BEN, (1, number))
        assert waiting(held) == 0

    def test_in_a_project_without_the_file_a_refused_upload_becomes_it(self, store: Patient) -> None:
        """Byte for byte, and the project is made for it."""
        odd = TWO + b"\n" + ONE
        assert put(store, BEN, odd) == Rescued(NotLocked(), 1)
        assert content(store) == odd
        assert [(v.kind, v.parents) for v in store.versions(ALPHA)] == [
            (Kind.RESCUED, ()),
            (Kind.MERGED, (1,)),
        ]
        assert list(store.projects()) == [ALPHA]

    @pytest.mark.parametrize(
        "step",
        "lock acquire extend release reap heads stock_heads read download confirm upload restore "
        "history overview".split(),
    )
    def test_every_step_that_finds_an_expired_lock_merges_waiting_uploads(
        self, held: Patient, step: str
    ) -> None:
        """The merge comes before the step itself."""
        put(held, ANA, ONE)
        put(held, BEN, ONE + TWO)
        steps: dict[str, Callable[[Millis], Any]] = {
            "lock": lambda now: held.lock(ALPHA, now),
            "acquire": lambda now: held.acquire(ALPHA, EVE, now, TTL),
            "extend": lambda now: held.extend(ALPHA, EVE, now, TTL),
            "release": lambda now: held.release(ALPHA, EVE, now),
            "reap": lambda now: held.reap(ALPHA, now),
            "heads": lambda now: held.heads(ALPHA, now),
            "stock_heads": lambda now: held.stock_heads(ALPHA, now),
            "read": lambda now: held.read(ALPHA, ENTITIES, now),
            "download": lambda now: held.download(ALPHA, ENTITIES, Unnamed.STOCK, now),
            "confirm": lambda now: held.confirm(ALPHA, Receipt(EVE, LOG, 1), now),
            "upload": lambda now: put(held, EVE, b"junk", ENTITIES, now=now),
            "history": lambda now: held.history(ALPHA, ENTITIES, now),
            "restore": lambda now: held.restore(ALPHA, Restore(LOG, 1, EVE), now),
            "overview": lambda now: held.overview(ALPHA, now),
        }
        if step not in ("acquire", "reap", "extend", "release", "restore"):
            steps[step](LAST_MOMENT)
            assert not [version for version in held.versions(ALPHA) if version.kind is Kind.MERGED]
        outcome = steps[step](EXPIRY)
        [merged] = [version for version in held.versions(ALPHA) if version.kind is Kind.MERGED]
        assert (merged.time, merged.parents) == (EXPIRY, (1, 2))
        assert content_of(held, ALPHA, merged.number) == ONE + TWO
        assert step != "heads" or [head.version for head in outcome] == [merged.number]

    def test_a_refused_upload_removes_what_its_client_removed(self, held: Patient) -> None:
        """Its base is the version that its client had; the next one's base is this."""
        put(held, ANA, ONE + TWO)
        hand_over(held, BEN)
        put(held, BEN, ONE + TWO + THREE)
        number = rescued(put(held, ANA, TWO + FOUR))
        held.release(ALPHA, BEN, NOW)
        assert content(held) == TWO + THREE + FOUR
        later = rescued(put(held, ANA, FOUR))
        assert content(held) == THREE + FOUR
        assert [v.base for v in held.versions(ALPHA) if v.number in (number, later)] == [1, number]

    def test_the_newest_waiting_upload_of_a_client_has_the_base_of_its_first(self, held: Patient) -> None:
        """A version that was never merged is no base: nothing is doubled or removed."""
        put(held, ANA, ONE)
        hand_over(held, BEN)
        put(held, BEN, ONE + THREE)
        put(held, ANA, ONE + TWO)
        put(held, ANA, ONE + TWO + FOUR)
        assert [v.base for v in held.versions(ALPHA)][-2:] == [1, 1]
        held.release(ALPHA, BEN, NOW)
        assert content(held) == ONE + TWO + THREE + FOUR

    def test_a_refused_upload_that_adds_nothing_makes_a_new_head_of_the_same_content(
        self, held: Patient
    ) -> None:
        """By its later mtime its client downloads what it lacks."""
        put(held, ANA, ONE + TWO)
        number = rescued(put(held, BEN, ONE))
        held.release(ALPHA, ANA, NOW)
        assert held.heads(ALPHA, NOW) == (head_with(ONE + TWO, 3, after(1)),)
        assert content(held) == ONE + TWO
        assert held.versions(ALPHA)[-1].parents == (1, number)
        assert waiting(held) == 0

    @pytest.mark.parametrize(("file", "junk"), JUNK)
    @pytest.mark.parametrize(("over_a_head", "client"), [(False, BEN), (True, BEN), (True, ANA)])
    def test_a_refused_upload_that_cannot_be_merged_stays_in_history(
        self, held: Patient, file: FileName, junk: bytes, over_a_head: bool, client: ClientId
    ) -> None:
        """The head stays, even if it is the upload's base; the log has a line."""
        if over_a_head:
            put(held, ANA, GOOD[file], file)
        before = held.heads(ALPHA, NOW)
        now = EXPIRY if client == ANA else NOW
        with capturedLogs() as events:
            number = rescued(put(held, client, junk, file, now=now))
            held.release(ALPHA, ANA, now)
            assert held.heads(ALPHA, now) == before
        assert ["was not merged" in str(formatEvent(event)) for event in events].count(True) == 1
        assert (content_of(held, ALPHA, number), waiting(held, now)) == (junk, 0)
        assert held.versions(ALPHA)[-1].kind is Kind.RESCUED

    @pytest.fixture(params=["as it was", "another"])
    def overtaken(self, held: Patient, request: pytest.FixtureRequest) -> Patient:
        """Ben's line two waits; since then he has fetched the same head again, or another."""
        put(held, ANA, ONE)
        fetch(held, BEN)
        put(held, BEN, ONE + TWO)
        if request.param == "another":
            put(held, ANA, ONE + FOUR)
        fetch(held, BEN)
        return held

    @pytest.mark.parametrize("pruned", [False, True])
    def test_a_waiting_upload_is_merged_although_its_client_downloaded_since(
        self, overtaken: Patient, pruned: bool
    ) -> None:
        """Its next upload is made from the download, and lacks the line that waits."""
        before = content(overtaken)
        for document in (b"{}", b'{"files": {}}'):
            put(overtaken, ANA, document, ENTITIES)
        if pruned:
            assert overtaken.prune(ALPHA, KEEP_NONE, NOW, 99).versions
        rescued(put(overtaken, BEN, before + THREE))
        assert waiting(overtaken) == 2
        overtaken.release(ALPHA, ANA, NOW)
        assert waiting(overtaken) == 0
        assert sorted(content(overtaken).splitlines()) == sorted((before + TWO + THREE).splitlines())

    def test_a_waiting_upload_is_not_given_up_for_a_head_that_was_downloaded_since(
        self, overtaken: Patient
    ) -> None:
        """An upload of the download says nothing about earlier uploads."""
        before = content(overtaken)
        for _ in range(2):
            put(overtaken, BEN, before)
        assert waiting(overtaken) == 1
        overtaken.release(ALPHA, ANA, NOW)
        assert sorted(content(overtaken).splitlines()) == sorted((before + TWO).splitlines())

    def test_an_upload_after_a_download_replaces_only_uploads_made_after_it(self, overtaken: Patient) -> None:
        """An upload made after the download is replaced; one made before it stays."""
        before = content(overtaken)
        numbers = [
            rescued(put(overtaken, BEN, lines))
            for lines in (before + THREE, before + THREE + note(9), THREE + note(9))
        ]
        assert waiting(overtaken) == 2
        parents = {version.number: version.parents for version in overtaken.versions(ALPHA)}
        assert [parents[number] for number in numbers[1:]] == [(numbers[0],), (numbers[1],)]
        overtaken.release(ALPHA, ANA, NOW)
        assert content(overtaken) == TWO + THREE + note(9)

    def test_lines_that_wait_twice_are_merged_once(self, held: Patient) -> None:
        """Ben never received the head that he asked for: his next upload holds both lines."""
        put(held, ANA, ONE)
        fetch(held, BEN)
        put(held, BEN, ONE + TWO)
        held.download(ALPHA, LOG, BEN, NOW)
        put(held, BEN, ONE + TWO + THREE)
        assert waiting(held) == 2
        held.release(ALPHA, ANA, NOW)
        assert content(held) == ONE + TWO + THREE

    def test_all_waiting_uploads_are_merged_although_their_client_downloaded_since(
        self, held: Patient
    ) -> None:
        """Two uploads that do not continue each other; the next holds neither of them."""
        put(held, ANA, facts(1), REMEMBERED)
        put(held, BEN, facts(1, 2), REMEMBERED)
        put(held, BEN, facts(3), REMEMBERED)
        assert waiting(held) == 2
        held.download(ALPHA, REMEMBERED, BEN, NOW)
        put(held, BEN, facts(1, 4), REMEMBERED)
        assert waiting(held) == 3
        held.release(ALPHA, ANA, NOW)
        assert remembered(held) == [1, 2, 3, 4]

    @pytest.mark.parametrize("based", [True, False])
    @pytest.mark.parametrize("order", [(ANA, BEN, EVE), (BEN, ANA, EVE), (BEN, EVE, ANA), (ANA, EVE, BEN)])
    def test_the_last_of_conflicting_uploads_wins(
        self, held: Patient, order: tuple[ClientId, ...], based: bool
    ) -> None:
        """The time of the upload decides, not the order of the merges."""
        if based:
            put(held, ANA, b"# Memory\n\nbase\n", SUMMARY_MD, now=after(-1))
            for client in (BEN, EVE):
                fetch(held, client, SUMMARY_MD, after(-1))
        written = {client: f"# Memory\n\n{client}\n".encode() for client in order}
        for number, client in enumerate(order, start=1):
            put(held, client, written[client], SUMMARY_MD, now=after(10 * number))
        assert waiting(held, after(40)) == 2
        held.release(ALPHA, ANA, after(40))
        assert content(held, SUMMARY_MD, after(40)) == written[order[-1]]
        assert waiting(held, after(40)) == 0

    def test_a_waiting_upload_is_merged_when_merging_is_on_again(self, held: Patient) -> None:
        """An upload that was refused without merging is only kept, and replaces none."""
        put(held, ANA, ONE)
        put(held, BEN, ONE + TWO)
        held.merging = Merging(enabled=False)
        number = rescued(put(held, BEN, ONE + THREE))
        held.release(ALPHA, ANA, NOW)
        assert (content(held), waiting(held)) == (ONE, 1)
        held.merging = Merging()
        assert content(held) == ONE + TWO
        assert (waiting(held), content_of(held, ALPHA, number)) == (0, ONE + THREE)

    # Stale uploads

    @pytest.fixture
    def moved(self, held: Patient) -> Patient:
        """Ana and Ben had line one; Ben added two; Ana holds the lock."""
        put(held, ANA, ONE, now=after(-1))
        hand_over(held, BEN)
        fetch(held, BEN)
        put(held, BEN, ONE + TWO)
        hand_over(held, ANA)
        return held

    def test_a_stale_upload_is_merged(self, moved: Patient) -> None:
        """The upload is kept beside the head; the new head has both as its parents."""
        outcome = put(moved, ANA, ONE + THREE, now=after(5))
        assert outcome == Accepted(head_with(ONE + TWO + THREE, 4, after(5)), merged=True)
        assert content(moved) == ONE + TWO + THREE
        upload, merged = moved.versions(ALPHA)[2:]
        assert (upload.kind, upload.client, upload.base) == (Kind.UPLOAD, ANA, 1)
        assert upload.role is not Role.HEAD
        assert (merged.kind, merged.client, merged.parents) == (Kind.MERGED, ANA, (2, 3))
        assert content_of(moved, ALPHA, 3) == ONE + THREE
        assert waiting(moved) == 0

    def test_a_client_has_what_it_uploaded_and_not_what_that_was_merged_into(self, moved: Patient) -> None:
        """A client cannot have removed lines that it has not seen."""
        put(moved, ANA, ONE + THREE)
        put(moved, ANA, THREE + FOUR)
        assert content(moved) == TWO + THREE + FOUR
        assert [v.base for v in moved.versions(ALPHA) if v.kind is Kind.UPLOAD] == [None, 1, 1, 3]

    def test_an_upload_that_has_all_that_the_head_has_becomes_the_head(self, moved: Patient) -> None:
        """Byte for byte, for there is nothing to add to it."""
        content_now = ONE + TWO + THREE
        outcome = put(moved, ANA, content_now, now=after(5))
        assert outcome == Accepted(head_with(content_now, 3, after(5)))
        assert moved.versions(ALPHA)[-1].kind is Kind.UPLOAD

    def test_a_stale_upload_that_adds_nothing_is_merged_all_the_same(self, moved: Patient) -> None:
        """The later mtime makes its client download the head; the base is its upload."""
        hand_over(moved, EVE)
        outcome = put(moved, EVE, TWO, now=after(5))
        assert outcome == Accepted(head_with(ONE + TWO, 4, after(5)), merged=True)
        assert content(moved) == ONE + TWO
        put(moved, EVE, b"")
        assert content(moved) == ONE

    @pytest.mark.parametrize(("file", "junk"), JUNK)
    def test_a_stale_upload_that_cannot_be_merged_replaces_the_head(
        self, held: Patient, file: FileName, junk: bytes
    ) -> None:
        """The replaced head is in history, and the log says so."""
        put(held, ANA, GOOD[file], file)
        hand_over(held, BEN)
        with capturedLogs() as events:
            outcome = put(held, BEN, junk, file, now=after(5))
        assert outcome == Accepted(head_with(junk, 2, after(5), file))
        assert ["was not merged" in str(formatEvent(event)) for event in events] == [True]
        assert (content(held, file), content_of(held, ALPHA, 1)) == (junk, GOOD[file])

    # Bases

    @pytest.fixture
    def taught(self, held: Patient) -> Patient:
        """A fact of Ana's, a second by Ben as version 2; Ana holds the lock."""
        put(held, ANA, facts(1), REMEMBERED, now=after(-1))
        hand_over(held, BEN)
        held.confirm(ALPHA, pull(held, REMEMBERED), NOW)
        put(held, BEN, facts(1, 2), REMEMBERED)
        hand_over(held, ANA)
        return held

    def test_a_base_that_was_fetched_stays_while_the_head_moves_on(self, moved: Patient) -> None:
        """The upload is merged on it."""
        hand_over(moved, BEN)
        fetch(moved, EVE)
        put(moved, BEN, ONE + TWO + THREE)
        hand_over(moved, EVE)
        put(moved, EVE, TWO + FOUR)
        assert content(moved) == TWO + THREE + FOUR

    @pytest.mark.parametrize("reader", [ANA, Unnamed.STOCK])
    def test_a_received_version_excludes_older_bases(self, taught: Patient, reader: Reader) -> None:
        """Facts that were just fetched can be forgotten, though that leaves the older version."""
        served = taught.download(ALPHA, REMEMBERED, reader, NOW)
        assert served.receipt == Receipt(ANA, REMEMBERED, 2)
        taught.confirm(ALPHA, served.receipt, NOW)
        outcome = put(taught, ANA, facts(1), REMEMBERED, now=after(5))
        assert outcome == Accepted(head_with(facts(1), 3, after(5), REMEMBERED))
        assert taught.versions(ALPHA)[-1].base == 2

    @pytest.mark.parametrize("reader", [ANA, Unnamed.STOCK])
    @pytest.mark.parametrize("doubted", [False, True])
    def test_a_version_that_was_only_sent_is_no_base_without_a_sign(
        self, taught: Patient, reader: Reader, doubted: bool
    ) -> None:
        """Answers that were cut off say nothing, nor do those that are in doubt again."""
        served = taught.download(ALPHA, REMEMBERED, reader, NOW)
        if doubted:
            taught.confirm(ALPHA, served.receipt, NOW)
            taught.doubt(ALPHA, served.receipt, NOW)
        [head] = taught.heads(ALPHA, NOW)
        assert put(taught, ANA, facts(1), REMEMBERED) == Accepted(head, merged=True)
        put(taught, ANA, facts(1, 3), REMEMBERED)
        assert remembered(taught) == [1, 2, 3]
        assert [v.base for v in taught.versions(ALPHA) if v.kind is Kind.UPLOAD] == [None, 1, 1]

    @pytest.mark.parametrize("reader", [ANA, Unnamed.STOCK])
    def test_a_version_that_was_only_sent_is_the_base_with_a_sign(
        self, taught: Patient, reader: Reader
    ) -> None:
        """The upload holds what nothing older had, and so it was received after all."""
        taught.download(ALPHA, REMEMBERED, reader, NOW)
        put(taught, ANA, facts(2, 3), REMEMBERED)
        assert remembered(taught) == [2, 3]
        assert taught.versions(ALPHA)[-1].base == 2

    def test_a_version_may_be_received_long_after_a_newer_one_was_sent(self, taught: Patient) -> None:
        """Newer versions may be the base still."""
        first = pull(taught, REMEMBERED)
        put(taught, ANA, b"{}", ENTITIES)
        hand_over(taught, BEN)
        put(taught, BEN, facts(1, 2, 3), REMEMBERED)
        hand_over(taught, ANA)
        pull(taught, REMEMBERED)
        taught.confirm(ALPHA, first, NOW)
        put(taught, ANA, facts(1), REMEMBERED)
        assert remembered(taught) == [1, 3]
        assert [v.base for v in taught.versions(ALPHA) if v.kind is Kind.UPLOAD][-1] == 2

    def test_a_download_is_news_until_it_was_received(self, moved: Patient) -> None:
        """A receipt is given until one was confirmed, and again when that is doubted."""
        for reader, client in ((Unnamed.STOCK, ANA), (EVE, EVE)):
            receipt = Receipt(client, LOG, 2)
            for _ in range(2):
                assert moved.download(ALPHA, LOG, reader, NOW).receipt == receipt
            moved.confirm(ALPHA, receipt, NOW)
            assert moved.download(ALPHA, LOG, reader, NOW).receipt is None
            moved.doubt(ALPHA, receipt, NOW)
            assert moved.download(ALPHA, LOG, reader, NOW).receipt == receipt

    def test_a_look_is_nobodys_base(self, taught: Patient) -> None:
        """A read or a download with curl is no sign of the holder."""
        assert taught.read(ALPHA, REMEMBERED, NOW)
        assert taught.download(ALPHA, REMEMBERED, Unnamed.OTHER, NOW).receipt is None
        taught.confirm(ALPHA, Receipt(ANA, REMEMBERED, 2), NOW)
        put(taught, ANA, facts(2, 3), REMEMBERED)
        assert remembered(taught) == [1, 2, 3]

    @pytest.mark.parametrize(
        ("upload", "head"), [(ONE + THREE, ONE + TWO + THREE), (TWO + THREE, TWO + THREE)]
    )
    def test_a_pull_that_was_cut_off_removes_nothing_from_under_an_old_copy(
        self, moved: Patient, upload: bytes, head: bytes
    ) -> None:
        """Only the newest line is a sign that a new machine has received it."""
        hand_over(moved, EVE)
        pull(moved)
        put(moved, EVE, upload)
        assert content(moved) == head

    @pytest.mark.parametrize(
        ("file", "before", "stranger"),
        [
            (LOG, ONE + TWO, THREE + FOUR),
            (LOG, ONE + b"\n", b"\n" + FOUR),
            (REMEMBERED, facts(1, 2), facts(3)),
            (ENTITIES, b'{"files":{"a":{"mentions":1}}}', b'{"files":{"b":{"mentions":1}}}'),
            (FileName.SUMMARY_JSON, b'{"recentWork":[{"date":"1"}]}', b'{"recentWork":[{"date":"2"}]}'),
        ],
    )
    @pytest.mark.parametrize("how", ["base is the head", "base is older", "refused"])
    def test_an_upload_that_shares_nothing_with_its_base_removes_nothing(
        self, held: Patient, file: FileName, before: bytes, stranger: bytes, how: str
    ) -> None:
        """An id is used in two places: the version says so, and the log."""
        put(held, ANA, before, file)
        if how == "base is older":
            hand_over(held, BEN)
            held.confirm(ALPHA, pull(held, file), NOW)
            put(held, BEN, before + b"\n", file)
            hand_over(held, ANA)
        elif how == "refused":
            hand_over(held, BEN)
        count, head = len(held.versions(ALPHA)), content(held, file) or b""
        with capturedLogs() as events:
            put(held, ANA, stranger, file)
            put(held, ANA, stranger, file)
        told = [formatEvent(event) or "" for event in events]
        assert len([one for one in told if "has nothing in common with what that client had" in one]) == 1
        held.release(ALPHA, BEN if how == "refused" else ANA, NOW)
        upload, merged = held.versions(ALPHA)[count:]
        assert (upload.client, upload.base, upload.is_unrelated) == (ANA, None, True)
        assert (merged.kind, merged.is_unrelated) == (Kind.MERGED, False)
        bound = Merging().max_bytes
        assert (
            content(held, file)
            == merge(file, None, head, stranger, upload_is_later=True, max_bytes=bound)
            not in (head, stranger)
        )

    def test_ids_that_seem_to_be_used_in_two_places_are_told(self, held: Patient) -> None:
        """Each comes with the client, and the file and time of its last such upload."""
        assert held.in_two_places() == ()
        for file, number in ((REMEMBERED, 5), (LOG, 6)):
            put(held, ANA, facts(1) + b"\n", file, now=after(number))
            put(held, ANA, facts(2) + b"\n", file, now=after(number))
        assert held.in_two_places() == (TwoPlaces(ALPHA, ANA, LOG, after(6)),)
        held.acquire(ORG, BEN, NOW, TTL)
        for each in (ONE, TWO):
            held.upload(ORG, Upload(LOG, each, BEN), NOW)
        told = {TwoPlaces(ALPHA, ANA, LOG, after(6)), TwoPlaces(ORG, BEN, LOG, NOW)}
        assert set(held.in_two_places()) == told

    @pytest.mark.parametrize(("before", "upload"), [(b"", ONE), (ONE, b""), (b"\n", ONE), (b"", b"")])
    def test_an_empty_file_is_no_stranger(self, held: Patient, before: bytes, upload: bytes) -> None:
        """Somebody emptied the file, or filled an empty one."""
        put(held, ANA, before)
        put(held, ANA, upload)
        assert content(held) == upload
        assert not [version for version in held.versions(ALPHA) if version.is_unrelated]

    @pytest.mark.parametrize("upload", [FOUR, TWO + FOUR])
    def test_a_client_without_a_base_is_no_stranger(self, moved: Patient, upload: bytes) -> None:
        """The head was never sent to it, and it removes nothing."""
        hand_over(moved, EVE)
        with capturedLogs() as events:
            assert put(moved, EVE, upload).merged
        assert not [event for event in events if "nothing in common" in str(formatEvent(event))]
        versions = moved.versions(ALPHA)
        assert ([one.is_unrelated for one in versions], versions[2].base) == ([False] * 4, None)
        assert content(moved) == ONE + TWO + FOUR

    @pytest.mark.parametrize("refused", [False, True])
    def test_a_line_of_a_log_behind_one_that_was_kept_stays(self, moved: Patient, refused: bool) -> None:
        """Lines at the front alone are removed, even where the base is the head."""
        fetch(moved, ANA)
        if refused:
            hand_over(moved, BEN)
        put(moved, ANA, ONE + THREE)
        moved.release(ALPHA, BEN if refused else ANA, NOW)
        assert content(moved) == ONE + TWO + THREE
        fetch(moved, EVE)
        moved.acquire(ALPHA, EVE, NOW, TTL)
        put(moved, EVE, TWO + FOUR)
        assert content(moved) == TWO + THREE + FOUR

    def test_the_oldest_of_too_many_downloads_may_be_the_base(self, moved: Patient) -> None:
        """A base that is too old removes nothing; the sure one stays."""
        hand_over(moved, BEN)
        lines = ONE + TWO
        for number in range(MAX_CANDIDATES + 4):
            moved.download(ALPHA, LOG, ANA, NOW)
            lines += note(10 + number)
            put(moved, BEN, lines)
        base = rescued(put(moved, ANA, lines + note(99)))
        assert [v.base for v in moved.versions(ALPHA) if v.number == base] == [MAX_CANDIDATES + 1]
        base = rescued(put(moved, ANA, b"another file\n", SUMMARY_MD))
        assert [v.base for v in moved.versions(ALPHA) if v.number == base] == [None]

    def test_too_many_pulls_that_were_cut_off_remove_nothing(self, moved: Patient) -> None:
        """The holder has received none of them, and its upload shows no sign of any."""
        moved.release(ALPHA, ANA, NOW)
        lines = ONE + TWO
        for number in range(MAX_CANDIDATES + 4):
            moved.acquire(ALPHA, BEN, NOW, TTL)
            lines += note(10 + number)
            put(moved, BEN, lines)
            hand_over(moved, ANA)
            pull(moved)
            moved.release(ALPHA, ANA, NOW)
        moved.acquire(ALPHA, ANA, NOW, TTL)
        put(moved, ANA, ONE + note(99))
        assert content(moved) == lines + note(99)
        assert [v.base for v in moved.versions(ALPHA) if v.client == ANA][-1] == 1

    def test_a_download_by_somebody_else_says_nothing_about_the_holder(self, taught: Patient) -> None:
        """Who says who it is cannot be taken for another."""
        served = taught.download(ALPHA, REMEMBERED, EVE, NOW)
        assert served.receipt == Receipt(EVE, REMEMBERED, 2)
        taught.confirm(ALPHA, served.receipt, NOW)
        put(taught, ANA, facts(1, 2, 3), REMEMBERED)
        assert [v.base for v in taught.versions(ALPHA) if v.kind is Kind.UPLOAD] == [None, 1, 1]
        hand_over(taught, EVE)
        put(taught, EVE, facts(1), REMEMBERED)
        assert remembered(taught) == [1, 3]

    @pytest.mark.parametrize("late", [0, 60_000])
    def test_a_pull_whose_lock_was_given_away_is_that_of_its_last_holder(
        self, taught: Patient, late: int
    ) -> None:
        """Another session of the same machine has ended within the minute of the pull."""
        taught.release(ALPHA, ANA, NOW)
        taught.confirm(ALPHA, pull(taught, REMEMBERED, after(late)), after(late))
        taught.acquire(ALPHA, EVE, after(late), TTL)
        put(taught, EVE, facts(2, 3), REMEMBERED, now=after(late))
        assert remembered(taught) == [1, 2, 3]
        hand_over(taught, ANA, after(late))
        put(taught, ANA, facts(1), REMEMBERED, now=after(late))
        assert remembered(taught) == [1, 3]

    @pytest.mark.parametrize("late", [60_001, -1])
    def test_a_stock_download_of_a_free_project_is_nobodys_later(self, taught: Patient, late: int) -> None:
        """No pull takes over a minute, nor begins before its acquire."""
        taught.release(ALPHA, ANA, NOW)
        served = taught.download(ALPHA, REMEMBERED, Unnamed.STOCK, after(late))
        assert served.receipt is None
        for client in (EVE, ANA):
            taught.confirm(ALPHA, Receipt(client, REMEMBERED, 2), NOW)
            taught.acquire(ALPHA, client, NOW, TTL)
            put(taught, client, facts(2, 3), REMEMBERED)
            taught.release(ALPHA, client, NOW)
        assert remembered(taught) == [1, 2, 3]

    def test_a_version_that_was_never_downloaded_cannot_be_confirmed(self, moved: Patient) -> None:
        """Nor a version that never was, nor in a project that never was."""
        for number in (2, 7, 0):
            moved.confirm(ALPHA, Receipt(EVE, LOG, number), NOW)
        moved.confirm(ORG, Receipt(EVE, LOG, 1), NOW)
        hand_over(moved, EVE)
        put(moved, EVE, TWO + FOUR)
        assert content(moved) == ONE + TWO + FOUR
        assert list(moved.projects()) == [ALPHA]

    @pytest.mark.parametrize("reader", [Unnamed.STOCK, Unnamed.OTHER, ANA, EVE])
    def test_a_download_tells_what_is_read(self, moved: Patient, reader: Reader) -> None:
        """The head is the same for every reader; a missing file is none."""
        assert moved.download(ALPHA, LOG, reader, NOW).document == moved.read(ALPHA, LOG, NOW)
        assert moved.download(ALPHA, ENTITIES, reader, NOW) is None

    # Lists of the stock client

    def test_a_stock_list_long_after_the_acquire_is_that_of_a_push(self, held: Patient) -> None:
        """A pull asks for its list within a minute of its acquire."""
        put(held, ANA, ONE)
        assert [head.mtime for head in held.stock_heads(ALPHA, after(60_001))] == [0]
        assert [head.mtime for head in held.stock_heads(ALPHA, after(60_000))] == [NOW]

    def test_a_list_that_was_lost_is_told_again(self, held: Patient) -> None:
        """Each loss counts, of the same acquire and within the same minute."""
        put(held, ANA, ONE)

        def mtimes(now: Millis, again: bool) -> list[Millis]:
            return [head.mtime for head in held.stock_heads(ALPHA, now, again=again)]

        assert mtimes(NOW, again=True) == [0]
        assert mtimes(NOW, again=False) == [NOW]
        for _ in range(2):
            assert mtimes(after(60_000), again=True) == [NOW]
            assert mtimes(after(60_000), again=False) == [0]
        assert mtimes(after(60_001), again=True) == [0]
        held.acquire(ALPHA, ANA, after(2), TTL)
        assert mtimes(after(2), again=True) == [0]
        held.release(ALPHA, ANA, after(3))
        assert mtimes(after(3), again=True) == [0]

    def pulled_list(self, store: Patient, client: ClientId, now: Millis) -> list[Millis]:
        """The mtimes told to the pull of a client, whose lock is released again."""
        store.acquire(ALPHA, client, now, TTL)
        told = [head.mtime for head in store.stock_heads(ALPHA, now)]
        assert [head.mtime for head in store.stock_heads(ALPHA, now)] == [0] * len(told)
        store.release(ALPHA, client, now)
        return told

    @pytest.mark.parametrize("refused", [False, True])
    def test_a_client_that_pushes_its_base_is_told_that_the_head_is_as_new(
        self, moved: Patient, refused: bool
    ) -> None:
        """A clock that is ahead makes files newer than the head; others hear the truth."""
        put(moved, ANA, b"{}", ENTITIES, now=after(2))
        if refused:
            moved.release(ALPHA, ANA, after(5))
        put(moved, ANA, ONE, now=after(5))
        moved.release(ALPHA, ANA, after(5))
        assert self.pulled_list(moved, BEN, after(6)) == [NOW, after(2)]
        assert self.pulled_list(moved, EVE, after(7)) == [NOW, after(2)]
        for now in (after(8), after(9)):
            assert self.pulled_list(moved, ANA, now) == [after(5), after(2)]
            assert [head.mtime for head in moved.heads(ALPHA, now)] == [NOW, after(2)]

    def test_a_head_that_is_newer_than_the_push_of_a_base_is_told_by_its_true_mtime(
        self, moved: Patient
    ) -> None:
        """So what was written after that push is never overwritten by this."""
        put(moved, ANA, ONE, now=after(5))
        moved.release(ALPHA, ANA, after(5))
        moved.acquire(ALPHA, BEN, after(9), TTL)
        put(moved, BEN, ONE + TWO + THREE, now=after(9))
        moved.release(ALPHA, BEN, after(9))
        assert self.pulled_list(moved, ANA, after(10)) == [after(9)]

    def test_each_push_of_a_base_counts_anew(self, moved: Patient) -> None:
        """The last of them is the mtime that its pull is told."""
        for now in (after(5), after(7)):
            put(moved, ANA, ONE, now=now)
            moved.release(ALPHA, ANA, now)
            assert self.pulled_list(moved, ANA, now) == [now]
            moved.acquire(ALPHA, ANA, now, TTL)

    @pytest.mark.parametrize("reader", [ANA, Unnamed.STOCK])
    def test_a_client_that_has_received_the_head_is_told_the_truth_again(
        self, moved: Patient, reader: Reader
    ) -> None:
        """Not before it has taken the whole answer."""
        put(moved, ANA, ONE, now=after(5))
        moved.release(ALPHA, ANA, after(5))
        assert self.pulled_list(moved, ANA, after(6)) == [after(5)]
        served = moved.download(ALPHA, LOG, reader, after(6))
        assert self.pulled_list(moved, ANA, after(7)) == [after(5)]
        moved.confirm(ALPHA, served.receipt, after(7))
        assert self.pulled_list(moved, ANA, after(8)) == [NOW]

    @pytest.mark.parametrize("upload", [ONE + THREE, ONE + TWO])
    def test_a_client_that_pushes_something_else_lacks_nothing_any_more(
        self, moved: Patient, upload: bytes
    ) -> None:
        """A merge is newer than all that it had, or it has the head itself."""
        put(moved, ANA, ONE, now=after(5))
        put(moved, ANA, upload, now=after(3))
        true = [head.mtime for head in moved.heads(ALPHA, after(6))]
        moved.release(ALPHA, ANA, after(6))
        assert self.pulled_list(moved, ANA, after(6)) == true != [after(5)]

    # What can be seen of history

    def test_a_project_is_told_at_a_glance(self, moved: Patient) -> None:
        """Its files, its lock while it is held, and the uploads that wait."""
        put(moved, BEN, FOUR)
        put(moved, EVE, b"{}", ENTITIES)
        heads, lock = moved.heads(ALPHA, NOW), moved.lock(ALPHA, NOW)
        waits = moved.versions(ALPHA)[-2:]
        assert [one.client for one in waits] == [BEN, EVE]
        assert moved.overview(ALPHA, NOW) == Overview(ALPHA, heads, lock, waits)
        assert moved.overview(ALPHA, EXPIRY) == Overview(ALPHA, moved.heads(ALPHA, EXPIRY), None, ())

    def test_a_restored_version_is_a_new_one(self, moved: Patient) -> None:
        """Its parent is the old version; a restore of the head's content makes none."""
        outcome = moved.restore(ALPHA, Restore(LOG, 1, ANA), after(-5))
        assert outcome == Accepted(head_with(ONE, 3, after(1)))
        version = moved.versions(ALPHA)[-1]
        assert (version.kind, version.client, version.parents) == (Kind.RESTORED, ANA, (1,))
        for number in (1, 3):
            assert moved.restore(ALPHA, Restore(LOG, number, ANA), after(9)) == outcome
        assert (content(moved), len(moved.versions(ALPHA))) == (ONE, 3)

    # Restoring

    def test_who_restores_has_no_other_memory_for_it(self, held: Patient) -> None:
        """Its machine still has its own copy: the next upload is merged on that."""
        put(held, ANA, ONE)
        put(held, ANA, ONE + TWO)
        held.restore(ALPHA, Restore(LOG, 1, ANA), NOW)
        put(held, ANA, ONE + TWO + THREE)
        assert content(held) == ONE + THREE

    # Pruning

    def test_pruning_keeps_what_retention_keeps(self, held: Patient) -> None:
        """Versions that are young enough stay."""
        keeping = Retention(Millis(100), Millis(0), Millis(0), 0)
        for number in range(1, 5):
            put(held, ANA, b"%d\n" % number, now=after(50 * number))
        removed = held.prune(ALPHA, keeping, after(201), 99).versions
        assert [version.number for version in removed] == [1, 2]

    def test_an_upload_that_is_in_no_head_is_not_thinned_out(self, held: Patient) -> None:
        """Its content is nowhere else; of the heads of its day the newest stays."""
        held.merging = Merging(enabled=False)
        put(held, ANA, ONE)
        rescued(put(held, BEN, TWO))
        put(held, ANA, ONE + THREE)
        late, keeping = Millis(NOW + 30 * DAY), Retention(Millis(0), Millis(40 * DAY), Millis(0), 0)
        assert [version.number for version in held.prune(ALPHA, keeping, late, 99).versions] == [1]

    def test_no_number_or_token_comes_again_whatever_is_pruned(self, moved: Patient) -> None:
        """The newest version, which is no head, is pruned; the lock is gone."""
        number, token = rescued(put(moved, BEN, b"junk")), moved.lock(ALPHA, NOW).token
        moved.release(ALPHA, ANA, NOW)
        month = Millis(NOW + 40 * DAY)
        moved.prune(ALPHA, KEEP_NONE, month, 99)
        assert lock_of(moved.acquire(ALPHA, ANA, month, TTL)).token > token
        assert head_of(put(moved, ANA, note(5), now=month)).version > number

    def test_a_waiting_upload_and_its_base_are_not_pruned(self, moved: Patient) -> None:
        """However long it waits."""
        lock_of(moved.acquire(ALPHA, ANA, NOW, Millis(100 * DAY)))
        put(moved, ANA, ONE + TWO + THREE)
        number = rescued(put(moved, BEN, TWO + FOUR))
        late = Millis(NOW + 90 * DAY)
        removed = {version.number for version in moved.prune(ALPHA, KEEP_NONE, late, 99).versions}
        assert 1 in removed
        assert not removed & {2, number}
        moved.release(ALPHA, ANA, late)
        assert content(moved, now=late) == TWO + THREE + FOUR

    def test_the_base_of_a_client_is_kept_for_30_days(self, moved: Patient) -> None:
        """From when it was last seen; whoever comes back in time removes what it removed."""
        day_before = Millis(NOW + 30 * DAY - 1)
        numbers = [version.number for version in moved.prunable(ALPHA, KEEP_NONE, day_before).versions]
        assert numbers == []
        moved.acquire(ALPHA, ANA, Millis(NOW + TTL), Millis(40 * DAY))
        moved.download(ALPHA, LOG, Unnamed.STOCK, Millis(NOW + 5 * DAY))
        moved.prune(ALPHA, KEEP_NONE, Millis(NOW + 30 * DAY), 99)
        put(moved, ANA, b"", now=Millis(NOW + 31 * DAY))
        assert content(moved, now=Millis(NOW + 31 * DAY)) == TWO

    def test_the_base_of_a_client_that_was_seen_by_a_clock_of_1970_is_kept(self, store: Patient) -> None:
        """A board without a clock started with that time; minutes later it is right."""
        early = Millis(600_000)
        store.acquire(ALPHA, ANA, early, TTL)
        put(store, ANA, ONE, now=early)
        store.release(ALPHA, ANA, early)
        store.acquire(ALPHA, BEN, NOW, TTL)
        put(store, BEN, ONE + TWO)
        assert store.prunable(ALPHA, KEEP_NONE, NOW).versions == ()

    def test_the_base_of_a_client_that_is_seen_daily_is_kept(self, moved: Patient) -> None:
        """A daily download of the same head, which is its base already, is enough."""
        for day in range(60):
            now = Millis(NOW + day * DAY)
            moved.download(ALPHA, LOG, EVE, now)
            moved.confirm(ALPHA, Receipt(EVE, LOG, 2), now)
        late = Millis(NOW + 60 * DAY)
        moved.acquire(ALPHA, BEN, late, TTL)
        put(moved, BEN, ONE + TWO + FOUR, now=late)
        moved.release(ALPHA, BEN, late)
        removed = {version.number for version in moved.prune(ALPHA, KEEP_NONE, late, 99).versions}
        assert removed == {1}
        moved.acquire(ALPHA, EVE, late, TTL)
        put(moved, EVE, TWO + THREE, now=late)
        assert content(moved, now=late) == TWO + THREE + FOUR

    @pytest.mark.parametrize(
        ("pulls", "upload", "wanted"),
        [
            (False, b"", ONE + TWO),
            (False, ONE, ONE + TWO),
            (True, ONE + THREE, ONE + TWO + THREE),
        ],
    )
    def test_the_base_of_a_client_that_stays_away_goes(
        self, moved: Patient, pulls: bool, upload: bytes, wanted: bytes
    ) -> None:
        """Nothing counts as removed when it comes back, even after a cut-off pull."""
        late = Millis(NOW + 30 * DAY)
        assert [version.number for version in moved.prune(ALPHA, KEEP_NONE, late, 99).versions] == [1]
        moved.acquire(ALPHA, ANA, late, TTL)
        if pulls:
            pull(moved, now=late)
        head_of(put(moved, ANA, upload, now=late))
        assert content(moved, now=late) == wanted

    def test_a_version_that_is_needed_again_is_not_removed(self, moved: Patient) -> None:
        """Its client has come back since the versions to remove were chosen."""
        late = Millis(NOW + 30 * DAY)
        chosen = moved.prunable(ALPHA, KEEP_NONE, late)
        assert [version.number for version in chosen.versions] == [1]
        moved.acquire(ALPHA, ANA, late, TTL)
        assert moved.remove(chosen, late) == Pruned(ALPHA, ())

    def test_a_version_that_is_gone_already_is_not_removed_again(self, moved: Patient) -> None:
        """Two pruners may have chosen it."""
        late = Millis(NOW + 30 * DAY)
        chosen = moved.prunable(ALPHA, KEEP_NONE, late)
        assert [moved.remove(chosen, late) for _ in range(2)] == [chosen, Pruned(ALPHA, ())]

    # Projects

    def test_projects_are_apart_however_alike_their_ids(self, store: Patient) -> None:
        """An upload to one is read from it alone, and the true ids are listed."""
        projects = [ProjectId(name) for name in ODD_IDS]
        for number, project in enumerate(projects):
            store.acquire(project, EVE, NOW, TTL)
            store.upload(project, Upload(LOG, b"%d" % number, EVE), NOW)
        for number, project in enumerate(projects):
            document = store.read(project, LOG, NOW)
            assert document.content == b"%d" % number
        assert sorted(p.value for p in store.projects()) == sorted(ODD_IDS)

    def test_versions_take_space_until_they_are_pruned(self, held: Patient) -> None:
        """Versions that are no heads count, too, and so does a refused upload."""
        taken = [held.usage().data_bytes]
        for number, client in enumerate((ANA, ANA, ANA, BEN)):
            put(held, client, Random(number).randbytes(100_000))
            if client == ANA:
                # The space that a session takes for itself goes with its lock.
                hand_over(held, ANA)
            taken.append(held.usage().data_bytes)
        assert all(later - earlier >= 90_000 for earlier, later in pairwise(taken))
        assert len(held.prune(ALPHA, KEEP_NONE, NOW, 99).versions) == 2
        assert held.usage().data_bytes <= taken[3] - 90_000

    def test_a_look_at_the_space_takes_none(self, store: Patient) -> None:
        """And there is some left."""
        before = store.usage()
        assert before.data_bytes >= 0
        assert before.free_bytes > 0
        assert store.usage().data_bytes == before.data_bytes
        assert store.projects() == []

    @pytest.mark.parametrize(
        "name", ["Ana's MacBook.local-0a1b2c3d", "家-1", "", 'q"\\', "x" * 200, "\u2028"]
    )
    def test_client_ids_come_back_as_they_were(self, store: Patient, name: str) -> None:
        """Any text that may be one."""
        client = ClientId.parse(name)
        assert lock_of(store.acquire(ALPHA, client, NOW, TTL)).client == client
        put(store, client, b"one")
        assert store.lock(ALPHA, NOW).client == store.versions(ALPHA)[0].client == client
