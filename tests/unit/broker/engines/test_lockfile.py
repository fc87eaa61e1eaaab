"""The file that says who has a store open, and how far it has come."""

import os
from pathlib import Path

import pytest

from broker.engines.lockfile import WIDTH_BYTES, Locked, LockFile


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "store.db-lock")


def test_a_second_one_is_told_who_has_it(path: str) -> None:
    first, second = LockFile(path), LockFile(path)
    first.acquire()
    first.note("e1", 17)
    with pytest.raises(Locked) as caught:
        second.acquire()
    assert caught.value.holder == str(os.getpid())
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_one_that_has_noted_nothing_yet_holds_it_too(path: str) -> None:
    first, second = LockFile(path), LockFile(path)
    first.acquire()
    with pytest.raises(Locked, match="unknown"):
        second.acquire()
    first.release()


def test_what_was_noted_last_is_there_afterwards(path: str) -> None:
    lock = LockFile(path)
    lock.acquire()
    assert lock.noted("e1") == 0
    for offset in (1_000_000, 17):
        lock.note("e1", offset)
        assert lock.noted("e1") == offset
    assert os.stat(path).st_size == WIDTH_BYTES
    lock.release()
    lock.acquire()
    assert lock.noted("e1") == 17
    assert lock.noted("e2") == 0, "that is another log"
    lock.release()


@pytest.mark.parametrize("content", [b"", b"\0" * 96, b"1 e1", b"1 e1 x", b"1 e1 17 18", b"\xff" * 200])
def test_what_is_no_note_counts_as_none(path: str, content: bytes) -> None:
    Path(path).write_bytes(content)
    lock = LockFile(path)
    lock.acquire()
    assert lock.noted("e1") == 0
    lock.release()


def test_a_note_that_cannot_be_written_is_no_failure(path: str) -> None:
    LockFile(path).note("e1", 1)


def test_a_directory_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LockFile(str(tmp_path / "nowhere" / "lock")).acquire()
