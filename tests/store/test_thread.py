"""The queue of steps, many of which share a commit, and its thread."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from attrs import frozen
from twisted.internet.defer import CancelledError

from mneme.errors import DiskFull, ShuttingDown
from mneme.store.sqlite import NAME, Database
from mneme.store.thread import MOST_TOGETHER, DatabaseThread, StepQueue
from tests.inbox import Inbox
from tests.results import failure_of, result_of, started, waits


class CountingDatabase(Database):
    """A database in memory that counts its commits, and fails some of them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.commits: list[bool] = []
        """For each commit, whether it is durable."""
        self.failing_commits = 0
        with self.step():
            self.connection.execute("CREATE TABLE notes (word TEXT UNIQUE)")
        self.commits.clear()

    def note(self, word: str) -> str:
        """Write a word, as a step."""
        self.connection.execute("INSERT INTO notes VALUES (?)", (word,))
        return word

    def note_and_fail(self, word: str) -> None:
        """Write a word, and fail after that."""
        self.note(word)
        raise ValueError(word)

    @property
    def words(self) -> list[str]:
        """All words that were written, sorted."""
        return [word for (word,) in self.connection.execute("SELECT word FROM notes ORDER BY word")]

    def _commit(self) -> None:
        if self.failing_commits:
            self.failing_commits -= 1
            raise sqlite3.OperationalError("disk I/O error")
        super()._commit()
        self.commits.append(bool(self._is_durable))


class HeldSteps(StepQueue):
    """Steps that run together when the test says so."""

    def _wake(self) -> None:
        pass

    def run_together(self) -> None:
        """Run those that share the next commit, and deliver what they come to."""
        taken = self._take()
        self._deliver(taken, self._run_all(taken))


@pytest.fixture
def database() -> Iterator[CountingDatabase]:
    """A database without a word in it."""
    database = CountingDatabase()
    yield database
    database.close()


@pytest.fixture
def steps(database: CountingDatabase) -> HeldSteps:
    """The steps on it."""
    return HeldSteps(database)


def ask(steps: HeldSteps, database: CountingDatabase, words: Sequence[str]) -> list[Callable[[], str]]:
    """Ask for words to be written; what is returned tells what came of each."""
    answers = [steps.run(partial(database.note, word)) for word in words]
    return [partial(result_of, answer) for answer in answers]


class TestStepQueue:
    """The queue, whatever runs it."""

    def test_steps_that_wait_together_share_a_commit(
        self, steps: HeldSteps, database: CountingDatabase
    ) -> None:
        """A sync costs as much for one as for all; each gets its own answer."""
        answers = ask(steps, database, "abc")
        steps.run_together()
        assert [answer() for answer in answers] == ["a", "b", "c"]
        assert (database.words, database.commits) == (["a", "b", "c"], [True])

    def test_no_more_than_some_share_a_commit(self, steps: HeldSteps, database: CountingDatabase) -> None:
        """Those before the bound need not wait for all others."""
        answers = [steps.run(partial(database.note, str(number))) for number in range(MOST_TOGETHER + 1)]
        steps.run_together()
        assert [waits(answer) for answer in answers] == [False] * MOST_TOGETHER + [True]
        steps.run_together()
        assert len(database.commits) == 2
        assert len(database.words) == MOST_TOGETHER + 1

    @pytest.mark.parametrize(("word", "error"), [("b", ValueError), ("a", sqlite3.IntegrityError)])
    def test_a_step_that_fails_takes_nothing_from_the_others(
        self, steps: HeldSteps, database: CountingDatabase, word: str, error: type[Exception]
    ) -> None:
        """A step or its statement may fail; nothing is left of it."""
        first = steps.run(partial(database.note, "a"))
        broken = steps.run(partial(database.note_and_fail, word))
        last = steps.run(partial(database.note, "c"))
        steps.run_together()
        assert (result_of(first), result_of(last)) == ("a", "c")
        assert isinstance(failure_of(broken), error)
        assert database.words == ["a", "c"]

    def test_a_step_that_writes_files_shares_its_commit_with_no_other(
        self, steps: HeldSteps, database: CountingDatabase
    ) -> None:
        """Files are written for good, and no other step may take that back."""
        for word in "ab":
            steps.run(partial(database.note, word))
        steps.run(partial(database.note, "c"), alone=True)
        for word in "de":
            steps.run(partial(database.note, word))
        sizes = []
        while taken := steps._take():
            sizes.append(len(taken))
            steps._deliver(taken, steps._run_all(taken))
        assert sizes == [2, 1, 2]
        assert database.words == list("abcde")

    def test_after_a_commit_that_fails_each_is_tried_alone(
        self, steps: HeldSteps, database: CountingDatabase
    ) -> None:
        """A step that cannot be committed keeps no other from it."""
        database.failing_commits = 2
        answers = [steps.run(partial(database.note, word)) for word in "abc"]
        steps.run_together()
        assert isinstance(failure_of(answers[0]), sqlite3.OperationalError)
        assert [result_of(answer) for answer in answers[1:]] == ["b", "c"]
        assert database.words == ["b", "c"]

    @pytest.mark.parametrize("durable", [True, False])
    def test_only_a_durable_step_runs_though_it_is_cancelled_before_its_turn(
        self, steps: HeldSteps, database: CountingDatabase, durable: bool
    ) -> None:
        """A hang-up cancels no write; nobody needs the outcome of a read."""
        gone, there = (steps.run(partial(database.note, word), durable=durable) for word in ("gone", "there"))
        gone.cancel()
        assert isinstance(failure_of(gone), CancelledError)
        steps.run_together()
        assert result_of(there) == "there"
        assert database.words == (["gone", "there"] if durable else ["there"])

    def test_a_commit_is_durable_if_one_of_its_steps_is(
        self, steps: HeldSteps, database: CountingDatabase
    ) -> None:
        """Where none is, nothing is synced."""
        steps.run(partial(database.note, "a"), durable=False)
        steps.run_together()
        for durable in (False, True):
            steps.run(partial(database.note, f"b{durable}"), durable=durable)
        steps.run_together()
        assert database.commits == [False, True]

    def test_close_waits_for_the_steps_that_were_taken_on(
        self, steps: HeldSteps, database: CountingDatabase
    ) -> None:
        """Those that nobody waits for included; what comes after is refused."""
        answer, gone = (steps.run(partial(database.note, word)) for word in "ab")
        gone.cancel()
        failure_of(gone)
        closed = [steps.close(), steps.close()]
        assert [waits(one) for one in closed] == [True, True]
        assert isinstance(failure_of(steps.run(partial(database.note, "c"))), ShuttingDown)
        steps.run_together()
        assert [result_of(one) for one in closed] == [None, None]
        assert (result_of(answer), database.words) == ("a", ["a", "b"])

    def test_close_of_an_idle_queue_is_done_at_once(self, steps: HeldSteps) -> None:
        """There is nothing to wait for."""
        assert result_of(steps.close()) is None


@frozen
class Threaded:
    """A thread with its database, and the reactor's side of it."""

    thread: DatabaseThread
    database: Database
    inbox: Inbox

    def note(self, word: str) -> str:
        """Write a word, as a step."""
        self.database.connection.execute("INSERT INTO notes VALUES (?)", (word,))
        return word


@pytest.mark.integration
class TestDatabaseThread:
    """A real thread, with a reactor whose calls the test makes."""

    @pytest.fixture
    def threaded(self, tmp_path: Path) -> Iterator[Threaded]:
        """A thread that runs, and is gone when the test ends."""
        database, inbox = Database(tmp_path / NAME), Inbox()
        threaded = Threaded(DatabaseThread(inbox, database), database, inbox)
        threaded.thread.start()
        made = threaded.thread.run(lambda: database.connection.execute("CREATE TABLE notes (word TEXT)"))
        inbox.make_calls_for(made)
        yield threaded
        threaded.thread.stop()
        assert not [thread for thread in threading.enumerate() if thread.name == "mneme-database"]

    def test_a_step_runs_on_the_thread_and_its_answer_comes_on_this_one(self, threaded: Threaded) -> None:
        """The reactor thread never waits for the disk."""
        answered: list[tuple[str, str]] = []
        answer = threaded.thread.run(lambda: threading.current_thread().name)
        answer.addCallback(lambda there: answered.append((there, threading.current_thread().name)))
        threaded.inbox.make_calls_for(answer)
        assert answered == [("mneme-database", threading.current_thread().name)]

    def test_steps_run_in_the_order_in_which_they_were_asked_for(self, threaded: Threaded) -> None:
        """However many there are."""
        ran: list[int] = []
        answers = [threaded.thread.run(partial(ran.append, number), durable=False) for number in range(1000)]
        threaded.inbox.make_calls_for(*answers)
        assert ran == list(range(1000))

    def test_steps_that_come_while_one_runs_share_a_commit(self, threaded: Threaded) -> None:
        """So that many clients cost hardly more syncs than one."""
        begun, gate, commits = threading.Event(), threading.Event(), list[str]()

        def wait() -> None:
            begun.set()
            gate.wait(30)

        first = threaded.thread.run(wait)
        assert begun.wait(30)

        def step(word: str) -> None:
            threaded.note(word)
            threaded.database.after_commit(lambda: commits.append(word))

        others = [threaded.thread.run(partial(step, word)) for word in "abc"]
        gate.set()
        threaded.inbox.make_one_call()
        assert not waits(first)
        threaded.inbox.make_one_call()
        assert [waits(other) for other in others] == [False] * 3
        assert commits == ["a", "b", "c"]

    def test_a_step_that_fails_does_not_end_the_thread(self, threaded: Threaded) -> None:
        """Nor does one that is more than an error."""

        def exits() -> None:
            raise SystemExit

        for problem in (exits, lambda: 1 / 0):
            broken = started(threaded.thread.run(problem))
            threaded.inbox.make_calls_for(broken)
            assert isinstance(failure_of(broken), (SystemExit, ZeroDivisionError))
        answer = threaded.thread.run(lambda: threaded.note("a"))
        threaded.inbox.make_calls_for(answer)
        assert result_of(answer) == "a"

    def test_a_full_disk_is_told_in_those_words(self, threaded: Threaded) -> None:
        """The step fails as a whole."""

        def fill() -> None:
            threaded.note("x")
            threaded.database.connection.execute("PRAGMA max_page_count = 1")
            threaded.note("y" * 1_000_000)

        full = started(threaded.thread.run(fill))
        threaded.inbox.make_calls_for(full)
        assert isinstance(failure_of(full), DiskFull)
        count = threaded.thread.run(
            lambda: threaded.database.connection.execute("SELECT count(*) FROM notes").fetchone()
        )
        threaded.inbox.make_calls_for(count)
        assert result_of(count) == (0,)

    def test_stop_runs_what_was_asked_for_to_its_end(self, tmp_path: Path) -> None:
        """Nothing that was taken on is cut off, and the database is closed."""
        database, inbox = Database(tmp_path / NAME), Inbox()
        thread = DatabaseThread(inbox, database)
        thread.start()
        gate, ran = threading.Event(), list[int]()
        thread.run(lambda: gate.wait(30))
        for number in range(100):
            thread.run(partial(ran.append, number))
        closed = thread.close()
        gate.set()
        thread.stop()
        assert ran == list(range(100))
        inbox.make_calls_for(closed)
        assert result_of(closed) is None
