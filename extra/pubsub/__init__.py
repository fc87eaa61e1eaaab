"""The broker core: messages, the log, subscriptions and sessions.

With no server and no third-party import.
"""

from extra.pubsub.broker import Broker
from extra.pubsub.clock import Clock, SystemClock
from extra.pubsub.ends import End
from extra.pubsub.engine import Delivery, Engine
from extra.pubsub.gaps import GapTeller, describe_gap
from extra.pubsub.group import Group
from extra.pubsub.group_member import GroupMember, Refusal
from extra.pubsub.group_messages import GroupMessages
from extra.pubsub.group_options import GroupOptions, check_delay
from extra.pubsub.groups import Groups
from extra.pubsub.history import Page
from extra.pubsub.limits import BrokerLimits
from extra.pubsub.log import Log, Slice
from extra.pubsub.memory import MemoryEngine
from extra.pubsub.message import FORMS_LIMIT, FrameCache, Gap, Message, Receipt, WireForm, compose
from extra.pubsub.messages import Messages
from extra.pubsub.named import NamedSession, NamedSessions
from extra.pubsub.outbox import Outbox, parse_overflow
from extra.pubsub.position import Position, Since, format_cursor, parse_cursor, parse_since
from extra.pubsub.presence import Member, Place, Presence, PresencePage, check_presence, encode_shown
from extra.pubsub.retained import RetainedMessages
from extra.pubsub.retention import DEFAULT_POLICY, Policy, PolicyTable
from extra.pubsub.schedule import Scheduled, ScheduledPage
from extra.pubsub.session import Consumer, Replay, Session

__all__ = [
    "DEFAULT_POLICY",
    "FORMS_LIMIT",
    "Broker",
    "BrokerLimits",
    "Clock",
    "Consumer",
    "Delivery",
    "End",
    "Engine",
    "FrameCache",
    "Gap",
    "GapTeller",
    "Group",
    "GroupMember",
    "GroupMessages",
    "GroupOptions",
    "Groups",
    "Log",
    "Member",
    "MemoryEngine",
    "Message",
    "Messages",
    "NamedSession",
    "NamedSessions",
    "Outbox",
    "Page",
    "Place",
    "Policy",
    "PolicyTable",
    "Position",
    "Presence",
    "PresencePage",
    "Receipt",
    "Refusal",
    "Replay",
    "RetainedMessages",
    "Scheduled",
    "ScheduledPage",
    "Session",
    "Since",
    "Slice",
    "SystemClock",
    "WireForm",
    "check_delay",
    "check_presence",
    "compose",
    "describe_gap",
    "encode_shown",
    "format_cursor",
    "parse_cursor",
    "parse_overflow",
    "parse_since",
]
