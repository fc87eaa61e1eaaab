"""Giving up what takes too long."""

import asyncio
from collections.abc import Callable, Coroutine
from math import inf, nan
from typing import Any

import pytest

from extra.http import Handler, Request, Response
from extra.services import Service, ServiceLimits, Services, Socket, TimedOut, on, pre
from extra.services.limits import AnswerLimit, LimitPassed, check_timeout, within
from extra.testing import FakeClock, TestClient


async def test_what_never_suspends_is_not_timed() -> None:
    async def quick() -> int:
        return 7

    async def broken() -> int:
        raise ZeroDivisionError

    assert await within(1e-9, quick()) == 7
    with pytest.raises(ZeroDivisionError):
        await within(1e-9, broken())


async def test_what_suspends_goes_on_where_it_was() -> None:
    async def slow() -> str:
        text = ""
        for part in "abc":
            await asyncio.sleep(0)
            text += part
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "d")
        return text + str(await future)

    assert await within(60, slow()) == "abcd"
    assert await within(inf, slow()) == "abcd"


async def test_failure_after_suspending_is_raised() -> None:
    async def broken() -> None:
        await asyncio.sleep(0)
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await within(60, broken())


async def test_what_takes_too_long_is_cancelled() -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    with pytest.raises(TimedOut, match=r"no answer within timeout_s=0\.001"):
        await within(0.001, hang())
    assert seen == ["cancelled"]


async def test_cancelling_from_outside_is_no_time_out() -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    for limit_s in (inf, 60.0):
        task = asyncio.create_task(within(limit_s, hang()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert seen == ["ended", "ended"]


async def test_closing_ends_it() -> None:
    seen: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    coroutine = within(inf, hang())
    coroutine.send(None)
    coroutine.close()
    assert seen == ["ended"]


@pytest.mark.parametrize("value", [0, -1, -0.0, nan, -inf])
def test_limit_within_which_nothing_can_be_done_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"^timeout_s=.*: it has to be above 0; math\.inf is no limit$"):
        check_timeout(value)
    with pytest.raises(ValueError, match=r"^timeout_s=.*: it has to be above 0"):
        ServiceLimits(timeout_s=value)


def test_limits_are_checked_by_name() -> None:
    check_timeout(None)
    check_timeout(inf)
    assert ServiceLimits(timeout_s=inf, leave_timeout_s=0).leave_timeout_s == 0
    for name, value in (("threads_limit", -1), ("stop_timeout_s", nan)):
        with pytest.raises(ValueError, match=f"^{name}={value}: it has to be 0 or more$"):
            ServiceLimits(**{name: value})  # type: ignore[arg-type]  # of any of them


class Around:
    """Middleware that waits before or after what follows, and notes what it sees."""

    def __init__(self, before_s: float = 0, after_s: float = 0) -> None:
        self.before_s = before_s
        self.after_s = after_s
        self.seen: list[int | str] = []

    async def __call__(self, request: Request, following: Handler) -> Response:
        try:
            if self.before_s:
                await asyncio.sleep(self.before_s)
            response = await following(request)
            self.seen.append(response.status)
            if self.after_s:
                await asyncio.sleep(self.after_s)
        except asyncio.CancelledError:
            self.seen.append("cancelled")
            raise
        response.add_header("X-Around", "1")
        return response


class Slow(Service):
    @on(GET="/quick", timeout_s=5)
    async def quick(self) -> None: ...

    @on(GET="/slow/{seconds:int}", timeout_s=5)
    async def slow(self, seconds: int) -> None:
        await asyncio.sleep(seconds)

    @on(GET="/usual/{seconds:int}")
    async def usual(self, seconds: int) -> None:
        await asyncio.sleep(seconds)

    @on(GET="/endless/{seconds:int}", timeout_s=inf)
    async def endless(self, seconds: int) -> None:
        await asyncio.sleep(seconds)

    @pre(lambda request: asyncio.sleep(20))
    @on(WEBSOCKET="/socket", timeout_s=inf)
    async def socket(self, socket: Socket) -> None:
        await socket.send("open")


async def ask(path: str, around: Around, *, in_class: bool = False) -> tuple[int, float, str | None]:
    """Return the status of an answer, after how many seconds it came, and what middleware has added."""
    clock = FakeClock()
    with clock.driving():
        service = Slow()
        if in_class:
            service.middleware = [around]  # type: ignore[misc]  # of the class, until an object says otherwise
        outer = [] if in_class else [around]
        async with TestClient(
            Services(service, middleware=outer, limits=ServiceLimits(timeout_s=10))
        ) as client:
            begun = asyncio.get_running_loop().time()
            asking = asyncio.create_task(client.get(path))
            for _ in range(40):
                await clock.elapse(1)
                if asking.done():
                    break
            answer = await asking
            return answer.status, asyncio.get_running_loop().time() - begun, answer.header("x-around")


CASES = (
    ("/slow/3", 1, 0, 204, 4, [204]),
    ("/slow/9", 0, 0, 503, 5, [503]),  # the method is given up, and the middleware sees it
    ("/slow/4", 3, 0, 503, 5, [503]),  # they are too slow together
    ("/slow/2", 1, 9, 503, 5, [204, "cancelled"]),  # the middleware is given up
    ("/slow/9", 0, 9, 503, 6, [503, "cancelled"]),  # both are
    ("/quick", 0, 9, 503, 5, [204, "cancelled"]),  # of a method that has not suspended
    ("/quick", 3, 1, 204, 4, [204]),
    ("/usual/1", 20, 0, 503, 10, ["cancelled"]),  # before the route is known
    ("/usual/1", 0, 20, 503, 10, [204, "cancelled"]),
    ("/endless/15", 5, 9, 204, 29, [204]),
)
OF_THE_APPLICATION = (
    ("/nowhere", 20, 0, 503, 10, ["cancelled"]),
    ("/nowhere", 5, 0, 404, 5, [404]),
)


@pytest.mark.parametrize(
    ("in_class", "path", "before_s", "after_s", "status", "seconds", "seen"),
    [
        *[(False, *case) for case in (*CASES, *OF_THE_APPLICATION)],
        *[(True, *case) for case in CASES],
    ],
)
async def test_middleware_counts(
    in_class: bool,
    path: str,
    before_s: float,
    after_s: float,
    status: int,
    seconds: float,
    seen: list[object],
) -> None:
    around = Around(before_s, after_s)
    told_status, after_s, mark = await ask(path, around, in_class=in_class)
    assert (told_status, mark, around.seen) == (status, None if "cancelled" in seen else "1", seen)
    assert after_s == pytest.approx(seconds, abs=1)


async def test_middleware_counts_before_a_handshake(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    with clock.driving():
        services = Services(Slow, middleware=[Around(5)], limits=ServiceLimits(timeout_s=10))
        async with TestClient(services) as client:

            async def receive() -> str | bytes:
                async with client.websocket("/socket") as socket:
                    return await socket.receive()

            receiving = asyncio.create_task(receive())
            await clock.elapse(24)
            assert not receiving.done()
            await clock.elapse(2)
            assert await receiving == "open"
    assert caplog.records == []


async def test_middleware_that_is_given_up_is_logged_with_its_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await ask("/usual/1?x=1", Around(20))
    told = "GET /usual/1: no answer within timeout_s=10: middleware cancelled"
    assert [record.getMessage() for record in caplog.records] == [told]


class Adding:
    """Middleware that never waits."""

    async def __call__(self, request: Request, following: Handler) -> Response:
        return await following(request)


async def test_answer_that_is_there_at_once_leaves_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Services(Slow, middleware=[Adding()]) as services:
        loop = asyncio.get_running_loop()
        clocks: list[float] = []
        monkeypatch.setattr(loop, "call_at", lambda when, *rest, **more: clocks.append(when))
        response = services.begin(Request("GET", b"/quick"))  # whose limit is not the application's
        monkeypatch.undo()
    assert isinstance(response, Response)
    assert clocks == []


async def test_limit_of_a_method_that_fails_at_once_counts_for_its_middleware() -> None:
    limit = AnswerLimit(60)

    async def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await limit.inside(5, broken())
    assert limit.limit_s == 5


async def forever() -> Response:
    await asyncio.Event().wait()
    raise AssertionError


async def give_another() -> Response:
    """Go past being cancelled."""
    try:
        return await forever()
    except asyncio.CancelledError:
        return Response(204)


async def fail_instead() -> Response:
    try:
        return await forever()
    except asyncio.CancelledError:
        raise ZeroDivisionError from None


@pytest.mark.parametrize("is_around", [False, True])
async def test_cancelling_is_taken_back_whatever_comes_of_it(is_around: bool) -> None:
    """Or else task groups and time limits that come later in the same task go wrong."""
    task = asyncio.current_task()
    assert task is not None

    async def run(call: Callable[[], Coroutine[Any, Any, Response]]) -> Response:
        limit = AnswerLimit(0.001)
        return await (limit.around(call()) if is_around else limit.inside(0.001, call()))

    assert (await run(give_another)).status == 204
    assert task.cancelling() == 0
    with pytest.raises(ZeroDivisionError):
        await run(fail_instead)
    assert task.cancelling() == 0
    with pytest.raises(LimitPassed):
        await run(forever)
    assert task.cancelling() == 0


async def test_client_that_leaves_while_a_method_is_called_again_is_not_a_limit_that_passes() -> None:
    limit = AnswerLimit(0.001)
    passed = asyncio.Event()

    async def ask_again() -> Response:
        with pytest.raises(LimitPassed):
            await limit.inside(0.001, forever())
        passed.set()
        return await limit.inside(0.001, forever())

    asking = asyncio.create_task(limit.around(ask_again()))
    await passed.wait()
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_method_that_middleware_has_not_waited_for_keeps_its_limit() -> None:
    limit = AnswerLimit(0.001)
    method: list[asyncio.Task[Response]] = []

    async def answer_before() -> Response:
        method.append(asyncio.create_task(limit.inside(0.001, forever())))
        await asyncio.sleep(0)
        return Response(202)

    assert (await limit.around(answer_before())).status == 202
    with pytest.raises(LimitPassed):
        await asyncio.wait_for(method[0], 1)


async def test_limit_counts_behind_an_application_within_the_method() -> None:
    """Which gets the same request, and has middleware of its own."""
    around = Around(0, 9)
    clock = FakeClock()
    with clock.driving():
        async with Services(Slow, middleware=[Around(1)]) as inner:

            class Outer(Service):
                @on(GET="{any}")
                async def pass_on(self, request: Request) -> Response:
                    return await inner.handle(request)

            limits = ServiceLimits(timeout_s=5)
            async with TestClient(Services(Outer, middleware=[around], limits=limits)) as client:
                asking = asyncio.create_task(client.get("/slow/1"))
                await clock.elapse(6)
                assert asking.done()
                assert (await asking).status == 503
    assert around.seen == [204, "cancelled"]
