"""What operators ask: alive, ready, and the metrics."""

import re
from collections import Counter

import pytest

from broker.endpoints.hub import Hub
from broker.endpoints.operations import STORE, Operations
from broker.settings import SETTINGS
from extra.errors import LimitExceeded
from extra.pubsub import parse_since
from extra.servers import Counters
from tests.unit.broker.endpoints.driving import body_of, fields_of, headers_of, make_request, running_hub
from tests.unit.broker.endpoints.test_feed import EventsFeed
from tests.unit.pubsub.material import GatedEngine

SAMPLE = re.compile(r"(?P<name>[a-z_]+)(?:\{(?P<labels>[^}]*)\})? (?P<value>\S+)")


class Troubled(GatedEngine):
    """An engine whose file cannot be written."""

    def trouble(self) -> str:
        return "the disk is full"

    def figures(self) -> dict[str, int]:
        own = dict.fromkeys(STORE, 0)
        return super().figures() | own | {"store_queue_messages": 7}


async def metrics(hub: Hub, counters: Counters | None = None) -> dict[str, float]:
    """Return every sample, with its labels."""
    operations = Operations(hub, counters if counters is not None else Counters())
    response = await operations.metrics(make_request("GET", "/metrics"))
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    samples = {}
    for line in body_of(response).decode().splitlines():
        if not line.startswith("#"):
            found = SAMPLE.fullmatch(line)
            assert found is not None, line
            name = found["name"] if found["labels"] is None else f"{found['name']}{{{found['labels']}}}"
            assert name not in samples
            samples[name] = float(found["value"])
    return samples


async def test_it_is_healthy_while_it_lives() -> None:
    async with running_hub() as hub:
        operations = Operations(hub, Counters())
        for _ in range(2):
            response = await operations.health(make_request("GET", "/healthz"))
            assert (response.status, response.body) == (200, b"ok\n")
            assert headers_of(response) == {"cache-control": "no-store"}
            hub.drain()


async def test_it_is_ready_until_it_stops() -> None:
    async with running_hub() as hub:
        operations = Operations(hub, Counters())
        assert (await operations.readiness(make_request("GET", "/readyz"))).status == 200
        hub.drain()
        response = await operations.readiness(make_request("GET", "/readyz"))
        assert (response.status, fields_of(response)["code"]) == (503, "broker_closed")


async def test_it_is_not_ready_without_its_engine() -> None:
    async with running_hub() as hub:
        await hub.broker.close()
        response = await Operations(hub, Counters()).readiness(make_request("GET", "/readyz"))
        assert (response.status, fields_of(response)["code"]) == (503, "engine_unavailable")


async def test_it_is_not_ready_while_the_engine_has_trouble() -> None:
    async with running_hub(wrap=Troubled) as hub:
        response = await Operations(hub, Counters()).readiness(make_request("GET", "/readyz"))
        assert (response.status, fields_of(response)["code"]) == (503, "engine_unavailable")
        assert fields_of(response)["detail"] == "the disk is full"


async def test_an_engine_with_a_file_has_metrics_of_its_own() -> None:
    async with running_hub(wrap=Troubled) as hub:
        samples = await metrics(hub)
        assert samples["extra_store_writable"] == 0
        assert samples["extra_store_queue_messages"] == 7
        assert {f"extra_{name}" for _, name, _ in STORE.values()} <= set(samples)
    async with running_hub() as hub:
        names = [name for name in await metrics(hub) if not name.startswith("extra_limit")]
        assert not any("store" in name for name in names)


async def test_metrics_are_in_the_format_of_prometheus() -> None:
    """Each family has one HELP and one TYPE, in front of its samples; counters end in `_total`."""
    async with running_hub() as hub:
        response = await Operations(hub, Counters()).metrics(make_request("GET", "/metrics"))
        lines = body_of(response).decode().split("\n")
        assert lines.pop() == ""
        family, kind = "", ""
        seen = Counter[str]()
        for line in lines:
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                assert line.split(" ", 3)[3].strip()
                seen[family] += 1
            elif line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                assert name == family
                assert kind in ("gauge", "counter")
                assert (kind == "counter") == name.endswith("_total")
            else:
                found = SAMPLE.fullmatch(line)
                assert found is not None, line
                assert found["name"] == family
        assert set(seen.values()) == {1}
        assert all(name.startswith("extra_") for name in seen)


async def test_metrics_follow_what_happens() -> None:
    async with running_hub(keep=2) as hub:
        feed = EventsFeed(hub)
        await hub.broker.add_filters(feed.session, ["a", "b/#"], parse_since("now"))
        for number in range(3):
            await hub.broker.publish("a", number)
        await hub.broker.publish("c", "text", retain=True, key="k")
        hub.count_goodbye("slow")
        counters = Counters()
        counters.accepted = 5
        counters.requests["GET", 200] = 3
        counters.websockets_now = 2
        found = await metrics(hub, counters)
        expected = {
            "extra_sessions": 1,
            "extra_subscriptions": 2,
            "extra_messages_published_total": 4,
            "extra_published_bytes_total": 7,
            "extra_deliveries_total": 3,
            "extra_log_messages": 3,
            "extra_log_topics": 2,
            "extra_log_evicted_total": 1,
            "extra_retained_messages": 1,
            "extra_idempotency_keys": 1,
            'extra_goodbyes_total{reason="slow"}': 1,
            'extra_goodbyes_total{reason="shutdown"}': 0,
            'extra_connections{kind="websocket"}': 2,
            "extra_connections_accepted_total": 5,
            'extra_requests_total{method="GET",status="200"}': 3,
        }
        assert {name: found[name] for name in expected} == expected
        assert found["extra_resident_memory_bytes"] > 1_000_000
        assert found["extra_cpu_seconds_total"] > 0
        feed.detach()


NUMBERS = [
    setting.key
    for setting in SETTINGS
    if type(setting.default) in (int, float) and setting.key != "server.port"
]


@pytest.mark.parametrize("setting", NUMBERS)
async def test_every_limit_is_told_and_how_often_it_was_met(setting: str) -> None:
    async with running_hub() as hub:
        found = await metrics(hub)
        section, _, name = setting.partition(".")
        assert found[f'extra_limit{{name="{setting}"}}'] == getattr(getattr(hub.settings, section), name)
        assert found[f'extra_limits_met_total{{limit="{setting}"}}'] == 0


async def test_limits_that_were_met_are_counted_wherever_that_was() -> None:
    async with running_hub() as hub:
        counters = Counters()
        counters.limits_met["websocket.frame_limit_bytes"] = 2
        counters.timeouts["server.head_timeout_s"] = 3
        hub.tally.answer(LimitExceeded("more than 5 (broker.max_payload_bytes)"))
        hub.tally.count("websocket", "limit_exceeded", "more than 5 (broker.max_payload_bytes)")
        hub.polls = 4
        counters.unsent_bytes_now = 5
        counters.buffered_bytes_now = 6
        found = await metrics(hub, counters)
        expected = {
            'extra_limits_met_total{limit="websocket.frame_limit_bytes"}': 2,
            'extra_limits_met_total{limit="server.head_timeout_s"}': 3,
            'extra_limits_met_total{limit="broker.max_payload_bytes"}': 2,
            'extra_timeouts_total{deadline="server.head_timeout_s"}': 3,
            'extra_timeouts_total{deadline="server.body_timeout_s"}': 0,
            'extra_errors_total{face="http",code="limit_exceeded"}': 1,
            'extra_errors_total{face="websocket",code="limit_exceeded"}': 1,
            "extra_polls": 4,
            "extra_unsent_bytes": 5,
            "extra_received_bytes_waiting": 6,
        }
        assert {name: found[name] for name in expected} == expected


async def test_bytes_that_wait_for_subscribers_are_counted() -> None:
    async with running_hub() as hub:
        feed = EventsFeed(hub)
        await hub.broker.add_filters(feed.session, ["a"], parse_since("now"))
        await hub.broker.publish("a", "x" * 1000)
        assert (await metrics(hub))["extra_outbox_bytes"] > 1000
        feed.detach()
        assert (await metrics(hub))["extra_outbox_bytes"] == 0


WATCHED = {
    "server.connections_limit": "extra_connections",
    "server.head_limit_bytes": "extra_protocol_errors_total",
    "server.head_timeout_s": "extra_timeouts_total",
    "server.receive_limit_bytes": "extra_received_bytes_waiting",
    "server.write_high_water_bytes": "extra_unsent_bytes",
    "poll.wait_limit_s": "extra_polls",
    "broker.outbox_limit_bytes": "extra_outbox_bytes",
    "broker.subscriptions_limit": "extra_subscriptions",
    "broker.retained_limit_messages": "extra_retained_messages",
    "broker.retained_limit_bytes": "extra_retained_bytes",
    "broker.idempotency_limit_keys": "extra_idempotency_keys",
    "broker.match_cache_topics": "extra_match_cache_topics",
    "retention.total_limit_bytes": "extra_log_bytes",
    "retention.topics_limit": "extra_log_topics",
    "retention.messages": "extra_log_messages",
    "websocket.ping_timeout_s": "extra_timeouts_total",
}
"""Where to see how near a limit is, or how often it was met."""


@pytest.mark.parametrize(("setting", "metric"), WATCHED.items())
async def test_what_is_bounded_is_counted(setting: str, metric: str) -> None:
    assert setting in {known.key for known in SETTINGS}
    async with running_hub() as hub:
        assert any(name.partition("{")[0] == metric for name in await metrics(hub))


@pytest.mark.parametrize(
    "setting",
    [
        "server.connections_limit",
        "broker.outbox_limit_bytes",
        "broker.retained_limit_messages",
        "broker.retained_limit_bytes",
        "broker.idempotency_limit_keys",
        "broker.match_cache_topics",
        "retention.total_limit_bytes",
        "retention.topics_limit",
    ],
)
async def test_the_help_of_a_metric_names_the_setting_behind_it(setting: str) -> None:
    async with running_hub() as hub:
        response = await Operations(hub, Counters()).metrics(make_request("GET", "/metrics"))
        helps = [line for line in body_of(response).decode().splitlines() if line.startswith("# HELP")]
        assert any(setting in line for line in helps)
