"""What operators ask: alive, ready, metrics in Prometheus' text format."""

import os
import resource
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from broker import __version__
from broker.endpoints.hub import Hub
from broker.settings import describe
from extra import COMPILED
from extra.http import Request, Response, problem
from extra.servers import Counters

__all__ = ["Operations"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

CORE: Final = {
    "sessions": (
        "gauge",
        "sessions",
        "Subscribers: WebSocket sessions, event streams and waiting long-polls.",
    ),
    "subscriptions": (
        "gauge",
        "subscriptions",
        "Filters that sessions are subscribed to, counted per session.",
    ),
    "filters": ("gauge", "filters", "Different filters that anybody is subscribed to."),
    "match_cache_topics": (
        "gauge",
        "match_cache_topics",
        "Topics whose match is cached (broker.match_cache_topics).",
    ),
    "match_cache_hits": ("counter", "match_cache_hits_total", "Matches answered from the cache."),
    "match_cache_misses": ("counter", "match_cache_misses_total", "Matches that had to be looked up."),
    "idempotency_keys": (
        "gauge",
        "idempotency_keys",
        "Receipts kept by key (broker.idempotency_limit_keys).",
    ),
    "scheduled_messages": (
        "gauge",
        "scheduled_messages",
        "Messages that wait to be published later (broker.scheduled_limit_messages).",
    ),
    "scheduled_bytes": (
        "gauge",
        "scheduled_bytes",
        "Bytes of messages that wait to be published later (broker.scheduled_limit_bytes).",
    ),
    "named_sessions": (
        "gauge",
        "named_sessions",
        "Named sessions, held or not (broker.named_sessions_limit).",
    ),
    "named_sessions_expired": (
        "counter",
        "named_sessions_expired_total",
        "Named sessions that nobody came back to in time (broker.session_expiry_s).",
    ),
    "named_sessions_taken_over": (
        "counter",
        "named_sessions_taken_over_total",
        "Times that a connection claimed the named session of another.",
    ),
    "groups": ("gauge", "groups", "Groups, with members or without (broker.groups_limit)."),
    "groups_expired": (
        "counter",
        "groups_expired_total",
        "Groups that nobody came back to in time (broker.group_expiry_s).",
    ),
    "group_members": ("gauge", "group_members", "Members of groups (broker.group_members_limit for each)."),
    "group_unacknowledged": ("gauge", "group_unacknowledged", "Messages that members of groups hold."),
    "group_waiting": (
        "gauge",
        "group_waiting",
        "Messages that groups have read and nobody holds (broker.group_window_limit_messages for each).",
    ),
    "group_deliveries": ("counter", "group_deliveries_total", "Messages handed to a member of a group."),
    "group_redeliveries": (
        "counter",
        "group_redeliveries_total",
        "Those of them that had been handed out before.",
    ),
    "group_acknowledged": ("counter", "group_acknowledged_total", "Messages acknowledged in groups."),
    "group_timeouts": (
        "counter",
        "group_timeouts_total",
        "Messages that a member of a group did not acknowledge in time.",
    ),
    "group_dead_letters": (
        "counter",
        "group_dead_letters_total",
        "Messages that were tried too often, and published to where dead letters go.",
    ),
    "presence_members": (
        "gauge",
        "presence_members",
        "Members present, those in their grace time included (broker.presence_limit_members).",
    ),
    "presence_topics": ("gauge", "presence_topics", "Topics at which anybody is present."),
    "presence_joined": ("counter", "presence_joined_total", "Members that have come."),
    "presence_left": ("counter", "presence_left_total", "Members that have left."),
    "scheduled_published": ("counter", "scheduled_published_total", "Scheduled messages published."),
    "scheduled_refused": (
        "counter",
        "scheduled_refused_total",
        "Scheduled messages that could not be published when their time had come.",
    ),
    "scheduled_cancelled": ("counter", "scheduled_cancelled_total", "Scheduled messages taken back."),
    "published": ("counter", "messages_published_total", "Messages published."),
    "published_bytes": ("counter", "published_bytes_total", "Bytes of payload published."),
    "deliveries": ("counter", "deliveries_total", "Messages handed to a subscriber as they were published."),
    "replayed": ("counter", "messages_replayed_total", "Messages handed to a subscriber from the log."),
    "dropped": (
        "counter",
        "messages_dropped_total",
        "Messages dropped from an outbox (broker.outbox_limit_bytes).",
    ),
    "overflows": (
        "counter",
        "outbox_overflows_total",
        "Subscribers found too slow under overflow=disconnect.",
    ),
    "gaps": (
        "counter",
        "gaps_total",
        "Gaps told because retention had evicted messages, or the epoch had changed.",
    ),
    "log_messages": ("gauge", "log_messages", "Messages in the log."),
    "log_bytes": ("gauge", "log_bytes", "Bytes of the log (retention.total_limit_bytes)."),
    "log_topics": ("gauge", "log_topics", "Topics that the log knows (retention.topics_limit)."),
    "log_evicted": ("counter", "log_evicted_total", "Messages that retention has evicted."),
    "retained_messages": (
        "gauge",
        "retained_messages",
        "Retained messages (broker.retained_limit_messages).",
    ),
    "retained_bytes": (
        "gauge",
        "retained_bytes",
        "Bytes of retained messages (broker.retained_limit_bytes).",
    ),
}
"""Figures of the broker core: their type, name and help."""

STORE: Final = {
    "store_writable": ("gauge", "store_writable", "1 while the store can be written, 0 while it cannot."),
    "store_queue_messages": (
        "gauge",
        "store_queue_messages",
        "Messages that wait for the disk (store.queue_limit_messages).",
    ),
    "store_queue_bytes": (
        "gauge",
        "store_queue_bytes",
        "Bytes of messages that wait for the disk (store.queue_limit_bytes).",
    ),
    "store_waiting": ("gauge", "store_waiting", "Publishers that wait for room in that queue."),
    "store_batches": ("counter", "store_batches_total", "Transactions written."),
    "store_written": ("counter", "store_messages_written_total", "Messages written."),
    "store_failures": ("counter", "store_failures_total", "Transactions that failed."),
    "store_file_bytes": ("gauge", "store_file_bytes", "Size of the store."),
    "store_wal_bytes": ("gauge", "store_wal_bytes", "Size of its write-ahead log."),
    "store_states_waiting": (
        "gauge",
        "store_states_waiting",
        "States beside the log that wait for the disk.",
    ),
    "store_states_written": ("counter", "store_states_written_total", "States that have been written."),
}
"""Figures of an engine that has a file."""


class Operations:
    """`/healthz`, `/readyz` and `/metrics`."""

    def __init__(self, hub: Hub, counters: Counters) -> None:
        self.hub = hub
        self.counters = counters
        self.limits = {
            setting.key: value
            for setting, value in describe(hub.settings)
            if isinstance(value, int | float) and not isinstance(value, bool) and setting.key != "server.port"
        }

    async def health(self, request: Request) -> Response:
        """Answer that the process lives."""
        return Response(200, b"ok\n", content_type="text/plain", headers=(("Cache-Control", "no-store"),))

    async def readiness(self, request: Request) -> Response:
        """Answer whether it can serve."""
        headers = (("Cache-Control", "no-store"),)
        if self.hub.is_draining:
            return problem(503, "broker_closed", "shutting down", headers=headers)
        if not self.hub.broker.is_open:
            return problem(503, "engine_unavailable", "the engine is not open", headers=headers)
        trouble = self.hub.broker.engine.trouble()
        if trouble:
            return problem(503, "engine_unavailable", trouble, headers=headers)
        return Response(200, b"ready\n", content_type="text/plain", headers=headers)

    async def metrics(self, request: Request) -> Response:
        """Answer with every figure. Cost: one step per session."""
        return Response(200, "".join(self._lines()).encode(), content_type=CONTENT_TYPE)

    def _lines(self) -> Iterable[str]:
        version = f'version="{__version__}",compiled="{str(COMPILED).lower()}"'
        yield from _metric("gauge", "build_info", "What runs.", {version: 1})
        figures = self.hub.broker.figures()
        for figure, (kind, name, text) in CORE.items():
            yield from _metric(kind, name, text, {"": figures[figure]})
        for figure, (kind, name, text) in STORE.items():
            if figure in figures:
                yield from _metric(kind, name, text, {"": figures[figure]})
        limits = self.hub.settings
        yield from _metric(
            "gauge",
            "log_limit_bytes",
            "retention.total_limit_bytes",
            {"": limits.retention.total_limit_bytes},
        )
        yield from _metric(
            "gauge",
            "limit",
            "What each setting that is a number says, by its name.",
            {f'name="{name}"': value for name, value in self.limits.items()},
        )
        yield from _metric(
            "counter",
            "limits_met_total",
            "How often a limit was met: something was refused, ended or made to wait for it.",
            {f'limit="{name}"': count for name, count in self._limits_met(figures["overflows"]).items()},
        )
        yield from _metric(
            "counter",
            "errors_total",
            "Errors answered, by face and code.",
            {
                f'face="{face}",code="{code}"': count
                for (face, code), count in sorted(self.hub.tally.errors.items())
            },
        )
        yield from _metric(
            "gauge",
            "outbox_bytes",
            "Bytes of messages that wait in outboxes (broker.outbox_limit_bytes).",
            {"": sum([session.outbox.size for session in self.hub.broker.sessions.values()])},
        )
        yield from _metric(
            "gauge", "polls", "Long-polls that wait (poll.wait_limit_s).", {"": self.hub.polls}
        )
        yield from _metric(
            "counter",
            "goodbyes_total",
            "Connections that the broker has ended, by reason.",
            {f'reason="{reason}"': count for reason, count in self.hub.goodbyes_total.items()},
        )
        cache = self.hub.forms.cache
        yield from _metric(
            "counter", "encodings_total", "Messages written in a wire form.", {"": cache.encoded}
        )
        yield from _metric(
            "gauge", "frame_cache_bytes", "Bytes of encoded messages that are kept.", {"": cache.bytes}
        )
        yield from self._server_lines()
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield from _metric(
            "counter", "cpu_seconds_total", "Processor time.", {"": used.ru_utime + used.ru_stime}
        )
        with suppress(OSError):  # no descriptor is left, or this is no Linux
            with open("/proc/self/statm") as statm:
                resident = int(statm.read().split()[1]) * PAGE_BYTES
            yield from _metric("gauge", "resident_memory_bytes", "Memory that is resident.", {"": resident})

    def _limits_met(self, overflows: int) -> Counter[str]:
        """Return how often each limit was met. A deadline is one."""
        counters = self.counters
        met = Counter(dict.fromkeys(self.limits, 0))
        met.update(self.hub.tally.limits_met)
        met.update(counters.limits_met)
        met.update(counters.timeouts)
        met["broker.outbox_limit_bytes"] += overflows
        return met

    def _server_lines(self) -> Iterable[str]:
        counters = self.counters
        yield from _metric(
            "gauge",
            "connections",
            "Open connections by what they carry (server.connections_limit).",
            {
                'kind="http"': counters.http_connections_now,
                'kind="sse"': counters.streams_now,
                'kind="websocket"': counters.websockets_now,
            },
        )
        yield from _metric(
            "gauge",
            "received_bytes_waiting",
            "Bytes of unfinished requests and messages (server.receive_limit_bytes).",
            {"": counters.buffered_bytes_now},
        )
        yield from _metric(
            "counter",
            "requests_total",
            "Requests answered.",
            {
                f'method="{method}",status="{status}"': count
                for (method, status), count in sorted(counters.requests.items())
            },
        )
        yield from _metric(
            "gauge",
            "unsent_bytes",
            "Bytes written that clients have not taken (server.write_high_water_bytes).",
            {"": counters.unsent_bytes_now},
        )
        yield from _metric(
            "counter",
            "timeouts_total",
            "Connections ended for a deadline, by its setting.",
            {
                f'deadline="{name}"': counters.timeouts[name]
                for name in self.limits
                if name.endswith("_timeout_s")
            },
        )
        for name, text, value in (
            ("connections_accepted_total", "Connections accepted.", counters.accepted),
            ("connections_refused_total", "Connections beyond server.connections_limit.", counters.refused),
            ("protocol_errors_total", "Requests and frames that broke the rules.", counters.protocol_errors),
            ("handler_failures_total", "Bugs: exceptions that nobody foresaw.", counters.handler_failures),
            ("received_bytes_total", "Bytes received.", counters.bytes_received),
            ("sent_bytes_total", "Bytes sent.", counters.bytes_sent),
        ):
            yield from _metric("counter", name, text, {"": value})


def _metric(kind: str, name: str, text: str, samples: dict[str, float]) -> Iterable[str]:
    yield f"# HELP extra_{name} {text}\n# TYPE extra_{name} {kind}\n"
    for labels, value in samples.items():
        yield f"extra_{name}{{{labels}}} {value}\n" if labels else f"extra_{name} {value}\n"
