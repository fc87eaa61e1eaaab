"""What an engine has by itself; what all engines promise stands in tests/conformance/engines."""

import pytest

from extra.errors import EngineUnavailable, LimitExceeded
from extra.pubsub import MemoryEngine
from tests.conformance.engines.test_engines import Taker
from tests.unit.pubsub.material import GatedEngine, a_message


async def test_many_are_appended_one_by_one() -> None:
    engine = MemoryEngine(retained_limit_messages=1)
    taker = Taker()
    await engine.start(taker)
    messages = [a_message("a", retained=True), a_message("b", retained=True), a_message("c")]
    first, second, third = await engine.append_many(messages, [b"", b"k", b"k"])
    assert (first, third) == (2, 2)
    assert isinstance(second, LimitExceeded)
    assert [(message.topic, message.offset) for message in taker.messages] == [("a", 1), ("c", 2)]


async def test_each_of_many_has_a_key() -> None:
    with pytest.raises(ValueError, match="zip"):
        await MemoryEngine().append_many([], [b""])


async def test_an_engine_in_memory_remembers_nothing_and_has_no_trouble() -> None:
    engine = MemoryEngine()
    assert (engine.remembered(), engine.trouble()) == ([], "")


async def test_what_fails_is_returned() -> None:
    engine = GatedEngine(MemoryEngine())
    engine.is_broken = True
    [answer] = await engine.append_many([a_message()], [b""])
    assert isinstance(answer, EngineUnavailable)
