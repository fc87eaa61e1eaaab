"""The standard streams of a filter: every byte, at once, and a quiet end."""

import asyncio
import io
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from broker.commands import streams
from broker.commands.streams import (
    StreamError,
    end_by_signal,
    end_with_reader,
    read_lines,
    warn,
    write_line,
    write_out,
)


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """A pipe: the end to read from, and the one to write to, without a buffer."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as source, os.fdopen(writing, "wb", 0) as sink:
        yield source, sink


async def all_lines(file: IO[bytes] | None) -> list[bytes]:
    return [line async for line in read_lines(file)]


async def test_lines_come_as_they_are_written(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, sink = pipe
    lines = read_lines(source)
    sink.write(b"one\ntw")
    assert await anext(lines) == b"one"
    second = asyncio.ensure_future(anext(lines))
    await asyncio.sleep(0)
    assert not second.done()
    sink.write(b"o\n")
    assert await second == b"two"
    await lines.aclose()


async def test_last_line_without_a_line_feed_counts(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, sink = pipe
    sink.write(b"one\n\ntwo")
    sink.close()
    assert await all_lines(source) == [b"one", b"", b"two"]


async def test_bytes_are_bytes(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, sink = pipe
    sink.write(b"a\0b\r\n\xff\x80\n")
    sink.close()
    assert await all_lines(source) == [b"a\0b\r", b"\xff\x80"]


async def test_regular_file_is_read_though_the_event_loop_cannot_wait_for_it(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"x" * 100_000 + b"\n" + b"y" * 200_000)
    with path.open("rb") as file:
        assert [len(line) for line in await all_lines(file)] == [100_000, 200_000]


def test_nothing_gives_no_line() -> None:
    with Path(os.devnull).open("rb") as file:
        assert asyncio.run(all_lines(file)) == []


@given(pieces=st.lists(st.binary(max_size=6).map(lambda piece: piece.replace(b"a", b"\n")), max_size=8))
@hypothesis_settings(max_examples=60, deadline=None)
def test_lines_are_the_same_however_the_input_is_cut(pieces: list[bytes]) -> None:
    async def lines_of_pieces() -> list[bytes]:
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", 0) as source, os.fdopen(writing, "wb", 0) as sink:
            collecting = asyncio.ensure_future(all_lines(source))
            for piece in pieces:
                if piece:
                    sink.write(piece)
                await asyncio.sleep(0)
            sink.close()
            return await collecting

    whole = b"".join(pieces).split(b"\n")
    expected = whole if whole[-1] else whole[:-1]
    assert asyncio.run(lines_of_pieces()) == expected


async def test_cancelled_reading_leaves_the_input_alone(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    source, sink = pipe
    reading = asyncio.ensure_future(all_lines(source))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    sink.write(b"later\n")
    sink.close()
    assert await all_lines(source) == [b"later"]


async def test_input_that_somebody_else_took_is_waited_for_again(
    pipe: tuple[IO[bytes], IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sink = pipe
    read = os.read
    taken_away = iter([True])

    def read_or_not(descriptor: int, size: int) -> bytes:
        if descriptor == source.fileno() and next(taken_away, False):
            raise BlockingIOError
        return read(descriptor, size)

    monkeypatch.setattr(os, "read", read_or_not)
    sink.write(b"one\n")
    sink.close()
    assert await all_lines(source) == [b"one"]


async def test_line_beyond_the_limit_is_refused(
    pipe: tuple[IO[bytes], IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LINE_LIMIT_BYTES", 10)
    source, sink = pipe
    sink.write(b"0123456789\n0123456789a")
    lines = read_lines(source)
    assert await anext(lines) == b"0123456789"
    with pytest.raises(StreamError, match="a line of input is longer than 10 bytes"):
        await anext(lines)


async def test_closed_input_is_an_error() -> None:
    with pytest.raises(StreamError, match="standard input is closed"):
        await all_lines(None)


async def test_directory_as_input_is_an_error(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)

    class Directory(io.BytesIO):
        def fileno(self) -> int:
            return descriptor

    try:
        with pytest.raises(StreamError, match="standard input cannot be read: Is a directory"):
            await all_lines(Directory())
    finally:
        os.close(descriptor)


def test_output_is_written_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    write_out(b"one\n")
    assert capfd.readouterr().out == "one\n"


def test_closed_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(StreamError, match="standard output is closed"):
        write_out(b"x")


def test_full_disk_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(StreamError, match="standard output cannot be written: No space left on device"):
            write_out(b"x")


def test_pipe_that_is_full_and_non_blocking_is_waited_for(
    pipe: tuple[IO[bytes], IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever shares the pipe may have made it non-blocking."""
    source, sink = pipe
    os.set_blocking(sink.fileno(), False)
    while sink.write(b"x" * 65_536) == 65_536:
        pass
    taken = []
    monkeypatch.setattr(sys, "stdout", sink)
    monkeypatch.setattr(select, "select", lambda *_: taken.append(source.read(65_536)))
    write_out(b"y" * 1000)
    assert len(taken) == 1


async def test_loop_goes_on_while_nobody_takes_the_output(
    pipe: tuple[IO[bytes], IO[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sink = pipe
    monkeypatch.setattr(sys, "stdout", sink)
    line = b"y" * 200_000  # more than a pipe holds
    writing = asyncio.ensure_future(write_line(line))
    await asyncio.sleep(0)
    assert not writing.done()
    os.set_blocking(source.fileno(), False)
    taken = bytearray()
    while len(taken) < len(line):
        taken += source.read(65_536) or b""
        await asyncio.sleep(0)
    await writing
    assert taken == line


@pytest.mark.slow
def test_filter_ends_with_its_reader_though_it_has_nothing_to_write() -> None:
    program = (
        "import asyncio\n"
        "from broker.commands.streams import end_with_reader, write_line\n"
        "async def main():\n"
        "    end_with_reader()\n"
        "    await write_line(b'ready\\n')\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.stdout.close()
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (-signal.SIGPIPE, b"")


async def test_output_that_is_no_pipe_is_not_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", None)
    with (tmp_path / "out").open("wb", 0) as file:
        monkeypatch.setattr(sys, "stdout", file)
        end_with_reader()
        await write_line(b"x" * 10_000)
    assert (tmp_path / "out").read_bytes() == b"x" * 10_000


def test_warning_is_one_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    warn("trouble")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "extra-broker: trouble\n")


def test_warning_without_standard_error_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    warn("trouble")


@pytest.mark.slow
def test_broken_pipe_ends_the_process_as_sigpipe_does() -> None:
    """A shell shows 141, and nothing is printed."""
    program = "from broker.commands.streams import write_out\nwhile True: write_out(b'x' * 65536)"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (-signal.SIGPIPE, b"")


def test_ending_by_a_signal_takes_its_default_action(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[object] = []
    monkeypatch.setattr(signal, "signal", lambda number, action: done.append((number, action)))
    monkeypatch.setattr(signal, "raise_signal", done.append)
    with pytest.raises(AssertionError):
        end_by_signal(signal.SIGPIPE)
    assert done == [(signal.SIGPIPE, signal.SIG_DFL), signal.SIGPIPE]
