"""Publishing with receipts, over one connection after the other."""

import asyncio

import pytest

from extra.client.publications import Publications
from extra.errors import BrokerClosed, InvalidTopic
from extra.pubsub import Receipt


def publications_of(limit: int = 100, limit_bytes: int = 1000) -> Publications:
    return Publications(limit, limit_bytes, lambda: None)


def receipt(offset: int) -> Receipt:
    return Receipt("a", offset, f"e1-{offset}", 0)


async def turn() -> None:
    """Let every task run as far as it can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_publication_is_sent_once_and_gets_its_receipt() -> None:
    publications = publications_of()
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(publications.publish(1, b"one"))
        await turn()
        assert publications.commands_to_send() == [b"one"]
        assert publications.commands_to_send() == []
        assert len(publications) == 1
        publications.answer(1, receipt(7))
    assert task.result() == receipt(7)
    assert len(publications) == 0


async def test_waking_tells_that_there_is_something_to_send() -> None:
    woken: list[int] = []
    publications = Publications(1, 1000, lambda: woken.append(1))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publications.publish(1, b"one"))
        await turn()
        assert woken == [1]
        publications.answer(1, receipt(7))


async def test_an_error_takes_the_place_of_the_receipt() -> None:
    publications = publications_of()
    publications_task = asyncio.create_task(publications.publish(1, b"one"))
    await turn()
    publications.answer(1, InvalidTopic("wildcard"))
    with pytest.raises(InvalidTopic, match="wildcard"):
        await publications_task


async def test_what_was_not_answered_is_sent_again_in_order() -> None:
    publications = publications_of()
    async with asyncio.TaskGroup() as tasks:
        for number, command in enumerate([b"one", b"two", b"three"], 1):
            tasks.create_task(publications.publish(number, command))
        await turn()
        publications.commands_to_send()
        tasks.create_task(publications.publish(4, b"four"))
        await turn()
        publications.answer(2, receipt(2))
        await turn()
        publications.lost()
        assert publications.commands_to_send() == [b"one", b"three", b"four"]
        for number in (1, 3, 4):
            publications.answer(number, receipt(number))


async def test_only_so_many_are_under_way() -> None:
    publications = publications_of(limit=2)
    async with asyncio.TaskGroup() as tasks:
        for number in range(5):
            tasks.create_task(publications.publish(number, b"%d" % number))
        await turn()
        assert publications.commands_to_send() == [b"0", b"1"]
        publications.answer(1, receipt(1))
        await turn()
        assert publications.commands_to_send() == [b"2"]
        for number in (0, 2, 3, 4):
            publications.answer(number, receipt(number))
            await turn()


async def test_only_so_many_bytes_are_under_way_in_the_order_of_the_callers() -> None:
    publications = publications_of(limit_bytes=10)
    async with asyncio.TaskGroup() as tasks:
        for number, size in enumerate([6, 6, 1]):
            tasks.create_task(publications.publish(number, b"x" * size))
        await turn()
        assert publications.commands_to_send() == [b"x" * 6]  # the small one does not overtake
        publications.answer(0, receipt(0))
        await turn()
        assert publications.commands_to_send() == [b"x" * 6, b"x"]
        publications.answer(1, receipt(1))
        publications.answer(2, receipt(2))


async def test_a_single_one_may_be_larger_than_the_bound() -> None:
    publications = publications_of(limit_bytes=10)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(publications.publish(1, b"x" * 50))
        await turn()
        assert publications.commands_to_send() == [b"x" * 50]
        publications.answer(1, receipt(1))


async def test_cancelled_before_it_was_sent_it_never_is() -> None:
    publications = publications_of()
    task = asyncio.create_task(publications.publish(1, b"one"))
    await turn()
    task.cancel()
    await turn()
    assert publications.commands_to_send() == []
    assert len(publications) == 0


async def test_an_answer_to_what_was_given_up_changes_nothing() -> None:
    publications = publications_of()
    task = asyncio.create_task(publications.publish(1, b"one"))
    await turn()
    publications.commands_to_send()
    task.cancel()
    publications.answer(1, InvalidTopic("too late"))
    await turn()
    publications.answer(1, receipt(1))
    assert task.cancelled()


@pytest.mark.parametrize("cancelled", [0, 1, 2, 3])
@pytest.mark.parametrize("when", ["waiting", "granted"])
async def test_cancelling_in_line_leaves_the_room_to_the_others(cancelled: int, when: str) -> None:
    publications = publications_of(limit=1)
    tasks = [asyncio.create_task(publications.publish(number, b"x")) for number in range(4)]
    await turn()
    if when == "waiting":
        tasks[cancelled].cancel()
        await turn()
    publications.answer(0, receipt(0))
    if when == "granted":
        await asyncio.sleep(0)  # the first has its answer and grants room to the next, which has not run yet
        tasks[cancelled].cancel()
    for number in range(4):
        await turn()
        publications.answer(number, receipt(number))
    done = await asyncio.gather(*tasks, return_exceptions=True)
    answered = [outcome for outcome in done if isinstance(outcome, Receipt)]
    assert len(answered) >= 3
    assert len(publications) == 0
    async with asyncio.timeout(1):  # there is room again
        again = asyncio.create_task(publications.publish(9, b"x"))
        await turn()
        publications.answer(9, receipt(9))
        await again


async def test_cancelling_a_large_one_in_line_lets_a_small_one_through() -> None:
    publications = publications_of(limit_bytes=10)
    tasks = [asyncio.create_task(publications.publish(n, b"x" * size)) for n, size in enumerate([6, 6, 3])]
    await turn()
    tasks[1].cancel()
    await turn()
    assert publications.commands_to_send() == [b"x" * 6, b"x" * 3]
    for number in (0, 2):
        publications.answer(number, receipt(number))
    await asyncio.gather(tasks[0], tasks[2])


async def test_the_largest_of_those_sent_can_be_refused() -> None:
    publications = publications_of()
    tasks = [asyncio.create_task(publications.publish(n, b"x" * size)) for n, size in enumerate([1, 9, 3])]
    await turn()
    publications.commands_to_send()
    tasks.append(asyncio.create_task(publications.publish(3, b"x" * 50)))
    await turn()
    publications.refuse_largest(InvalidTopic("too large"))
    with pytest.raises(InvalidTopic):
        await tasks[1]
    for number in (0, 2, 3):
        publications.answer(number, receipt(number))
    await asyncio.gather(tasks[0], tasks[2], tasks[3])


async def test_refusing_the_largest_of_none_changes_nothing() -> None:
    publications_of().refuse_largest(InvalidTopic("too large"))


async def test_closing_answers_everybody() -> None:
    publications = publications_of(limit=1)
    tasks = [asyncio.create_task(publications.publish(number, b"x")) for number in range(3)]
    await turn()
    publications.close()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(outcome, BrokerClosed)
    assert len(publications) == 0
