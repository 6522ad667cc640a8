"""The workspace's SQLite file under concurrency, kills and damage: real files, real processes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import database as module
from harness.database import Database
from harness.errors import StoreError

ROOT = Path(__file__).parents[2]
COUNTER = ("CREATE TABLE counter (n INTEGER NOT NULL); INSERT INTO counter VALUES (0);",)
INCREMENT = "UPDATE counter SET n = n + 1"


def spawn(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "home", COUNTER)
    yield database
    database.close()


def count(database: Database) -> int:
    with database.reading() as connection:
        return int(connection.execute("SELECT n FROM counter").fetchone()[0])


def increment(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute(INCREMENT)


def test_reading_an_absent_workspace_finds_it_empty_and_creates_nothing(database: Database) -> None:
    assert count(database) == 0
    assert not database.home.exists()


def test_a_new_folder_is_kept_out_of_git_and_an_old_one_left_alone(tmp_path: Path) -> None:
    increment(Database(tmp_path / "new", COUNTER))
    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    (tmp_path / "old").mkdir()
    increment(Database(tmp_path / "old", COUNTER))
    assert not (tmp_path / "old" / ".gitignore").exists()


def test_a_transaction_is_whole_or_nothing(database: Database) -> None:
    increment(database)

    def break_off() -> None:
        with database.transaction() as connection:
            connection.execute(INCREMENT)
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert count(database) == 1
    increment(database)
    assert count(database) == 2


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_committed_is_synced_where_asked_for(database: Database, durable: bool) -> None:
    with database.transaction(durable=durable) as connection:
        (level,) = connection.execute("PRAGMA synchronous").fetchone()
    assert level == (2 if durable else 1)


def test_a_reader_sees_one_state_while_the_same_thread_writes(database: Database) -> None:
    increment(database)
    with database.reading() as connection:
        before = connection.execute("SELECT n FROM counter").fetchone()[0]
        increment(database)
        assert connection.execute("SELECT n FROM counter").fetchone()[0] == before == 1
    assert count(database) == 2


def test_reading_cannot_leave_a_change(database: Database) -> None:
    increment(database)
    with database.reading() as connection:
        connection.execute(INCREMENT)
    assert count(database) == 1


def test_threads_lose_no_update(database: Database) -> None:
    def work() -> None:
        for _ in range(50):
            increment(database)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 400


CREATE_TOGETHER = f"""
import sys
from pathlib import Path
from harness.database import Database
for line in sys.stdin:
    database = Database(Path(line.strip()), {COUNTER!r})
    with database.transaction() as connection:
        connection.execute({INCREMENT!r})
    database.close()
    print("done", flush=True)
"""


def test_processes_create_a_workspace_at_once(tmp_path: Path) -> None:
    children = [spawn(CREATE_TOGETHER) for _ in range(6)]
    for attempt in range(20):
        for child in children:
            assert child.stdin
            child.stdin.write(f"{tmp_path}/{attempt}/home\n")
            child.stdin.flush()
        for child in children:
            assert child.stdout
            assert child.stdout.readline() == "done\n"
        assert count(Database(tmp_path / str(attempt) / "home", COUNTER)) == 6
    for child in children:
        child.communicate()
        assert child.returncode == 0


def test_a_file_that_another_is_still_creating_is_waited_for(database: Database) -> None:
    database.home.mkdir()
    other = sqlite3.connect(database.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.2, lambda: other.execute("COMMIT"))
    end.start()
    increment(database)
    end.join()
    other.close()
    assert count(database) == 1


KILLED = f"""
import os, signal, sys
from pathlib import Path
from harness.database import Database
database = Database(Path(sys.argv[1]), {COUNTER!r})
with database.transaction() as connection:
    connection.execute({INCREMENT!r})
with database.transaction() as connection:
    connection.execute({INCREMENT!r})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_what_it_committed(database: Database) -> None:
    child = spawn(KILLED, str(database.home))
    child.communicate()
    assert child.returncode == -9
    assert count(database) == 1
    with database.reading() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


FORKED = f"""
import os, sys
from pathlib import Path
from harness.database import Database
database = Database(Path(sys.argv[1]), {COUNTER!r})
def work():
    for _ in range(20):
        with database.transaction() as connection:
            connection.execute({INCREMENT!r})
work()
with database.reading() as connection:
    parents = connection
child = os.fork()
if not child:
    with database.reading() as connection:
        assert connection is not parents
work()
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


def test_a_fork_opens_the_file_anew(database: Database) -> None:
    child = spawn(FORKED, str(database.home))
    child.communicate()
    assert child.returncode == 0
    assert count(database) == 60


def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    increment(database)
    with database.transaction() as connection:
        connection.execute("PRAGMA user_version = 7")
    database.close()
    before = database.path.read_bytes()
    with pytest.raises(StoreError, match=r"workspace\.db: written by a newer version .*schema 7.*upgrade vlm-harness"):
        count(database)
    assert database.path.read_bytes() == before


def test_an_older_database_is_migrated_with_a_backup(database: Database) -> None:
    increment(database)
    database.close()
    later = Database(database.home, (*COUNTER, "ALTER TABLE counter ADD COLUMN label TEXT DEFAULT 'x;y';"))
    with later.reading() as connection:
        assert tuple(connection.execute("SELECT n, label FROM counter").fetchone()) == (1, "x;y")
    later.close()
    with sqlite3.connect(database.home / "workspace.schema1.db") as backup:
        assert backup.execute("SELECT * FROM counter").fetchall() == [(1,)]
    backup.close()


def test_a_failed_migration_changes_nothing(database: Database) -> None:
    increment(database)
    database.close()
    broken = Database(database.home, (*COUNTER, "CREATE TABLE extra (n); CREATE TABLE extra (n);"))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        count(broken)
    assert count(database) == 1


def test_a_fault_in_a_statement_is_no_fault_of_the_file(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"), database.transaction() as connection:
        connection.execute("SELECT * FROM no_such_table")


def test_what_is_no_database_is_named(database: Database) -> None:
    database.home.mkdir()
    database.path.write_bytes(b"no database at all" * 500)
    with pytest.raises(StoreError, match=r"workspace\.db: file is not a database; restore the file from a backup"):
        count(database)


def test_a_damaged_page_is_named(database: Database) -> None:
    with database.transaction() as connection:
        connection.executemany("INSERT INTO counter VALUES (?)", ((n,) for n in range(5000)))
    database.close()
    content = bytearray(database.path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    database.path.write_bytes(content)
    with pytest.raises(StoreError, match="malformed; restore the file from a backup"):
        count(database)


def test_a_full_disk_keeps_what_was_committed(database: Database) -> None:
    increment(database)

    def fill() -> None:
        with database.transaction() as connection:
            connection.execute("PRAGMA max_page_count = 10")
            connection.executemany("INSERT INTO counter VALUES (?)", ((n,) for n in range(100_000)))

    with pytest.raises(StoreError, match="disk is full; free some space"):
        fill()
    assert count(database) == 1


def test_a_writer_that_never_ends_is_named(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    increment(database)
    monkeypatch.setattr(module, "_BUSY_SECONDS", 0.05)
    other = Database(database.home, COUNTER)
    with (
        database.transaction(),
        pytest.raises(StoreError, match="database is locked; another process is writing"),
        other.transaction(),
    ):
        pass
    other.close()


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/home: the workspace cannot be created"):
        increment(Database(tmp_path / "file" / "home", COUNTER))
    with pytest.raises(StoreError, match="File exists"):
        increment(Database(tmp_path / "file", COUNTER))


READ_ONLY = f"""
import os, sys
from pathlib import Path
from harness.database import Database
from harness.errors import StoreError
if os.geteuid() == 0:  # who may write everywhere
    os.setuid(65534)
try:
    with Database(Path(sys.argv[1]), {COUNTER!r}).transaction() as connection:
        connection.execute({INCREMENT!r})
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("exists", [False, True])
def test_a_read_only_folder_is_named(exists: bool) -> None:
    home = Path(tempfile.mkdtemp())
    try:
        if exists:
            increment(Database(home, COUNTER))
        home.chmod(0o555)
        said, _ = spawn(READ_ONLY, str(home)).communicate()
        assert str(home / "workspace.db") in said
        assert "make the folder writable, or set HARNESS_HOME" in said
    finally:
        home.chmod(0o755)
        shutil.rmtree(home)
