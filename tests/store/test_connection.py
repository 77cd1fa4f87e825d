"""The database under trouble: full disk, a second opener, a failing change, an older or newer schema, two lanes."""

import contextlib
import json
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import duckdb
import pytest
from workspaces import make_images, make_workspace

from m3po.errors import StorageError, WorkspaceError
from m3po.store import migrations
from m3po.store.connection import Database, scalar

ROOT = Path(__file__).resolve().parents[2]


def count(database, table):
    return database.read(lambda con: scalar(con, f"SELECT count(*) FROM {table}"))


def test_a_change_that_fails_leaves_nothing_behind(tmp_path):
    database = Database(tmp_path / "m.duckdb")

    def change(con):
        con.execute("INSERT INTO ingested_shards VALUES (1, 'a')")
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        database.write(change)
    assert count(database, "ingested_shards") == 0
    database.write(lambda con: con.execute("INSERT INTO ingested_shards VALUES (1, 'b')"))
    assert count(database, "ingested_shards") == 1
    database.close()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"NO SMALL DISK: a full disk cannot be tried without the right to mount ({made.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_one_sentence_and_loses_nothing_stored(small_disk):
    database = Database(small_disk / "m.duckdb")
    fill = "INSERT INTO answers SELECT 1, i, repeat(md5(i::VARCHAR || random()::VARCHAR), 20) FROM range(500) r(i)"
    stored = 0
    with pytest.raises(StorageError, match="disk is full: free some space"):
        for _ in range(100):
            database.write(lambda con: con.execute(fill))
            stored += 500
    assert stored
    database.close()
    database = Database(small_disk / "m.duckdb")
    assert count(database, "answers") == stored
    database.close()


def test_a_second_process_is_told_that_the_database_is_open(tmp_path):
    database = Database(tmp_path / "m.duckdb")
    code = (
        "import sys; from pathlib import Path; from m3po.store.connection import Database; "
        "from m3po.errors import WorkspaceError\n"
        "try: Database(Path(sys.argv[1]))\n"
        "except WorkspaceError as error: print(error); sys.exit(7)"
    )
    second = subprocess.run([sys.executable, "-c", code, tmp_path / "m.duckdb"], capture_output=True, text=True)
    database.close()
    assert second.returncode == 7, second.stderr
    assert "is open in another program" in second.stdout


def test_a_file_that_is_no_database_is_one_sentence(tmp_path):
    (tmp_path / "m.duckdb").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(StorageError, match="restore it from a copy"):
        Database(tmp_path / "m.duckdb")


def test_migrations_run_once_and_in_order(tmp_path):
    path = tmp_path / "m.duckdb"
    Database(path).close()
    database = Database(path)
    assert database.read(lambda con: con.execute("SELECT number, name FROM migrations").fetchall()) == [
        (number, step.__name__) for number, step in enumerate(migrations.MIGRATIONS, start=1)
    ]
    database.close()


def test_an_older_workspace_is_brought_up_and_keeps_its_rows(tmp_path, monkeypatch):
    path = tmp_path / "m.duckdb"
    database = Database(path)
    database.write(lambda con: con.execute("INSERT INTO ingested_shards VALUES (3, 'kept')"))
    database.close()
    monkeypatch.setattr(
        migrations, "MIGRATIONS", [*migrations.MIGRATIONS, lambda con: con.execute("CREATE TABLE newer (x INTEGER)")]
    )
    database = Database(path)
    assert count(database, "newer") == 0 and count(database, "ingested_shards") == 1
    database.close()


def test_a_failed_migration_leaves_the_old_schema_usable(tmp_path, monkeypatch):
    path = tmp_path / "m.duckdb"
    Database(path).close()

    def broken(con):
        con.execute("CREATE TABLE half (x INTEGER)")
        raise RuntimeError("no")

    good = list(migrations.MIGRATIONS)
    monkeypatch.setattr(migrations, "MIGRATIONS", [*good, broken])
    with pytest.raises(RuntimeError):
        Database(path)
    monkeypatch.setattr(migrations, "MIGRATIONS", good)
    database = Database(path)
    with pytest.raises(duckdb.CatalogException):
        count(database, "half")
    database.close()


def test_a_workspace_of_a_newer_version_is_refused_with_words(tmp_path):
    path = tmp_path / "m.duckdb"
    database = Database(path)
    database.write(lambda con: con.execute("INSERT INTO migrations VALUES (99, 'future', now()::TIMESTAMP)"))
    database.close()
    with pytest.raises(WorkspaceError, match="newer M3PO Studio"):
        Database(path)


def test_a_decision_does_not_wait_for_a_bulk_change(tmp_path):
    database = Database(tmp_path / "m.duckdb")
    started, release = threading.Event(), threading.Event()

    def bulk(con):
        con.execute("INSERT INTO answers SELECT 1, i, 'x' FROM range(1000) r(i)")
        started.set()
        release.wait(10)

    thread = threading.Thread(target=lambda: database.write(bulk))
    thread.start()
    assert started.wait(10)
    before = time.perf_counter()
    decide = "INSERT INTO decisions (instruction_id, verdict, annotator) VALUES (1, 'skip', 'me')"
    database.write(lambda con: con.execute(decide), lane="decision")
    waited = time.perf_counter() - before
    assert count(database, "decisions") == 1 and count(database, "answers") == 0  # the bulk change is still open
    release.set()
    thread.join()
    assert waited < 2
    assert count(database, "answers") == 1000
    database.close()


def m3po(*words, **options):
    command = [sys.executable, "-m", "m3po", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)


def test_a_workspace_on_a_full_disk_can_be_looked_at_and_exported_to_another(small_disk, tmp_path):
    path = make_workspace(small_disk)
    with (small_disk / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    done = m3po("status", path)
    assert done.returncode == 0 and "24 candidates" in done.stdout, done.stderr
    done = m3po("export", path, tmp_path / "out.jsonl")
    assert done.returncode == 0 and "6 rows" in done.stdout, done.stderr
    done = m3po("import", path, write_rows(tmp_path / "more", 400))
    assert done.returncode == 1 and "disk is full" in done.stderr.strip().splitlines()[-1], (
        done.returncode,
        done.stderr,
    )
    (small_disk / "filler").unlink()
    assert m3po("status", path).returncode == 0


def test_a_limit_on_file_sizes_is_one_sentence_and_loses_nothing_stored(tmp_path):
    path = make_workspace(tmp_path)
    limit = 400_000  # bytes: less than the log of this import needs
    done = m3po(
        "import",
        path,
        write_rows(tmp_path / "more", 2000),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and "cannot be written" in last and "Unexpected" not in last, done.stderr
    done = m3po("status", path)
    assert done.returncode == 0 and "24 candidates" in done.stdout, done.stderr


def write_rows(folder, count):
    [image] = make_images(folder, 1)
    text = "What is in this picture, and what is not? " * 20
    rows = [{"file_name": image.name, "id": f"more-{n}", "instruction": f"{n} {text}"} for n in range(count)]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
