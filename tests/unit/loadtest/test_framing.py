"""What is left of a stream when its framing is taken off."""

from collections.abc import Callable

import pytest

from loadtest.generator.framing import Chunks, Frames, Framing


def content(
    framing: Framing, data: bytes, size: int, pong: Callable[[], object] = lambda: pytest.fail("no ping")
) -> bytes:
    """Feed `data` in pieces of a size."""
    parts = []
    for start in range(0, len(data), size):
        parts += [bytes(part) for part in framing.strip(memoryview(data[start : start + size]), pong)]
    return b"".join(parts)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_chunks(size: int) -> None:
    """RFC 9112 7.1."""
    assert content(Chunks(), b"5\r\nhello\r\n10\r\n" + b"x" * 16 + b"\r\n1\r\n!\r\n", size) == (
        b"hello" + b"x" * 16 + b"!"
    )


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
def test_frames_of_every_length(size: int) -> None:
    """RFC 6455 5.2."""
    long, longer = b"l" * 300, b"L" * 70_000
    data = b"\x81\x05hello" + b"\x82\x7e\x01\x2c" + long + b"\x82\x7f" + (70_000).to_bytes(8, "big") + longer
    assert content(Frames(), data, size) == b"hello" + long + longer


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_control_frames_are_taken_off_and_a_ping_is_answered(size: int) -> None:
    """RFC 6455 5.5."""
    pongs: list[int] = []
    data = b"\x81\x02ab\x89\x03abc\x8a\x00\x81\x02cd"
    assert content(Frames(), data, size, lambda: pongs.append(1)) == b"abcd"
    assert pongs == [1]
