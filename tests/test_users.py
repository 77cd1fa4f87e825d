"""The users file: hashes, roles, refusals; and the login check, whose time tells nothing and which slows guessing."""

import io
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner

from m3po import users
from m3po.cli import app
from m3po.errors import BadInputError, UsageError
from m3po.users import OWNER, User, Users, add_user, check_hash, hash_password, read_users, remove_user


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "users"
    add_user(path, "ann", "s:ecret pass", "annotator")
    add_user(path, "Zoë K", "correct horse", "curator")
    return path


def test_no_password_is_in_the_file_and_every_salt_is_another(path):
    text = path.read_text()
    assert "s:ecret" not in text and "correct horse" not in text
    assert path.stat().st_mode & 0o077 == 0
    assert hash_password("same pass") != hash_password("same pass")
    known = read_users(path)
    assert [user for user, _ in known.values()] == [User("ann", "annotator"), User("Zoë K", "curator")]
    assert check_hash("s:ecret pass", known["ann"][1]) and not check_hash("s:ecret pas", known["ann"][1])


def test_the_hash_is_scrypt_of_the_standard():
    """RFC 7914, section 12, second vector: password "password", salt "NaCl", N 1024, r 8, p 16."""
    expected = "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830da"
    assert users._scrypt("password", b"NaCl", 1024, 8, 16).hex() == expected[:64]


def test_adding_again_changes_password_and_role_and_removing_takes_out(path):
    add_user(path, "ann", "another password", "viewer")
    known = read_users(path)
    assert known["ann"][0].role == "viewer" and check_hash("another password", known["ann"][1])
    remove_user(path, "ann")
    assert list(read_users(path)) == ["Zoë K"]
    with pytest.raises(BadInputError, match="has no user 'ann'"):
        remove_user(path, "ann")


@pytest.mark.parametrize("line", ["ann:secret", "ann:curator:secret", "ann", "ann:curator:scrypt$3$8$1$aa$bb"])
def test_a_plain_password_is_refused_with_the_command_that_mends_it(tmp_path, line):
    path = tmp_path / "old"
    path.write_text(f"# people\n{line}\n")
    with pytest.raises(BadInputError, match=r"line 2 .*python -m m3po users .* add ann --role") as refused:
        Users(path)
    assert "secret" not in str(refused.value)
    with pytest.raises(BadInputError, match="line 2"):
        add_user(path, "bob", "long enough")
    assert path.read_text() == f"# people\n{line}\n"


def test_what_cannot_be_is_one_sentence(path, tmp_path):
    for name in ("", " ann", "a:b", "#x", "a\nb", "x" * 81):
        with pytest.raises(BadInputError, match="no name for a user"):
            add_user(path, name, "long enough")
    with pytest.raises(BadInputError, match="at least 8"):
        add_user(path, "bob", "short")
    with pytest.raises(UsageError, match="no role 'boss'"):
        add_user(path, "bob", "long enough", "boss")
    with pytest.raises(BadInputError, match="cannot be read"):
        Users(tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(BadInputError, match="names no user"):
        Users(tmp_path / "empty")
    path.write_text(path.read_text() * 2)
    with pytest.raises(BadInputError, match="second time"):
        Users(path)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("me", "used by the program"), ("Me", "used by the program"), ("YOU", "used by the program"),
        ("A  Curator", "used by the program"), ("imported", "used by the program"),
        ("\u0430nn", "more than one script"), ("Zo\u00eb \u039aim", "more than one script"),
        ("Zoe\u0308", "another way of writing 'Zo\u00eb'"), ("\uff41nn", "another way of writing 'ann'"),
        ("\ufb01n", "another way of writing 'fin'"),
    ],
)  # fmt: skip
def test_names_that_are_taken_for_others_are_known(name, why):
    assert why in users.why_no_name(name)


def test_names_of_any_script_are_names():
    for name in ("Zoë K", "Иван Smith", "李雷", "田中さん", "김민준", "محمد", "σ-team", "ann.b_2", "meg"):
        assert users.why_no_name(name) == "", name


def test_nobody_new_is_called_as_the_program_calls_others_and_who_is_goes_on(path, caplog):
    before = path.read_text()
    with pytest.raises(BadInputError, match="'me' is used by the program itself: give the user another name"):
        add_user(path, "me", "long enough")
    assert path.read_text() == before and not caplog.records
    path.write_text(before.replace("\nann:", "\nme:"))  # as an earlier version took it
    assert Users(path).find("me") == User("me", "annotator")
    assert [(record.levelname, "line 2: the name 'me'" in record.getMessage()) for record in caplog.records] == [
        ("WARNING", True)
    ]
    add_user(path, "me", "a new password")
    assert check_hash("a new password", read_users(path)["me"][1])


def test_the_file_is_read_again_when_it_changes(path):
    known = Users(path)
    assert known.find("ann") == User("ann", "annotator") and known.find("bob") is None
    add_user(path, "bob", "long enough", "viewer")
    remove_user(path, "ann")
    assert known.find("bob") == User("bob", "viewer") and known.find("ann") is None
    assert not known.check("ann", "s:ecret pass")
    path.write_text("bob:plain")  # half edited: nobody is locked out
    assert known.find("bob") == User("bob", "viewer")


def test_guessing_is_slowed_and_the_right_password_is_not_looked_at_meanwhile(path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(users, "check_hash", lambda password, hashed: password == "s:ecret pass")
    known = Users(path, clock=lambda: now[0])
    for _ in range(users.FREE_TRIES):
        assert known.wait_of("ann") == 0 and not known.check("ann", "guess")
    waits = []
    for _ in range(9):
        waits.append(known.wait_of("ann"))
        assert not known.check("ann", "s:ecret pass")  # too early: refused unlooked-at
        now[0] += waits[-1]
        assert not known.check("ann", "guess")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert known.wait_of("Zoë K") == 0
    now[0] += 61
    assert known.check("ann", "s:ecret pass") and known.wait_of("ann") == 0


def test_guesses_in_parallel_wait_like_others(path, monkeypatch):
    known, there, looked_at = Users(path, clock=lambda: 100.0), threading.Barrier(30), []
    wait_of, mine = known.wait_of, threading.local()

    def wait_for_all(name: str) -> float:
        found = wait_of(name)
        if not vars(mine):
            mine.looked = True
            there.wait(10)  # all have passed the first look before one password is looked at
        return found

    monkeypatch.setattr(known, "wait_of", wait_for_all)
    monkeypatch.setattr(users, "check_hash", lambda password, hashed: looked_at.append(password) or False)
    with ThreadPoolExecutor(30) as pool:
        assert not any(pool.map(lambda n: known.check("ann", f"guess {n}"), range(30)))
    assert len(looked_at) == users.FREE_TRIES


def test_a_wrong_name_takes_as_long_as_a_wrong_password(path):
    known = Users(path)

    def time_of(name: str) -> float:
        taken = []
        for _ in range(4):
            begun = time.process_time()
            assert not known.check(name, "wrong password")
            taken.append(time.process_time() - begun)
        return statistics.median(taken)

    there, nowhere = time_of("ann"), time_of("nobody")
    assert nowhere > 0.01 and 0.5 < there / nowhere < 2


def test_without_a_file_there_is_one_curator():
    assert User("me", "curator") == OWNER


def test_the_command_adds_lists_and_removes(tmp_path, monkeypatch):
    path, runner = tmp_path / "users", CliRunner()

    def call(*words: str, typed: str = ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return runner.invoke(app, ["users", str(path), *words], input=typed)

    assert call("add", "ann", typed="a long password\n").exit_code == 0
    assert call("add", "cora", "--role", "curator", typed="another one\n").exit_code == 0
    assert Users(path).check("ann", "a long password")
    assert [line.split() for line in call("list").stdout.splitlines()] == [["ann", "annotator"], ["cora", "curator"]]
    assert call("remove", "ann").exit_code == 0 and "ann" not in call("list").stdout
    for words in (("add",), ("remove",), ("change", "ann")):
        assert isinstance(call(*words).exception, UsageError)


def test_an_account_made_anew_under_a_name_is_another_one(path):
    known = Users(path)
    first = known.find_account("ann")
    add_user(path, "ann", "s:ecret pass", "curator")  # the same password again: another salt
    second = known.find_account("ann")
    remove_user(path, "ann")
    assert known.find_account("ann") is None and len({first, second, None}) == 3
    assert known.find_account("nobody") is None
