"""The filter tree: which items, say subscriptions, have a filter that matches a topic?

How it works. A dict maps each filter without wildcards to the items held there: the topic itself finds them.
The filters with wildcards have a dict of their own. Those of the first few shapes (shapes.py) are found there
by their spelling; those of any others stand in a trie by levels (trie.py) that names the ones which match.
Items never enter the trie: ten thousand at one filter cost it nothing, and one more is one dict operation.
Answers are cached by topic, the least recently used going first. A reverse look-up over the cached
topics says which answers a filter has a part in: when it gains or loses an item those are dropped, no others.

Invariants between calls:
- a cached answer is the one that would be computed now;
- a list once given out never changes: an answer that is wrong by now is dropped, not mended;
- the cache keeps within its limits, and every cached topic is in the reverse look-up, and no other;
- a filter is in its dict while it holds an item; while it is in the dict of wildcards its shape counts it,
  and it is in the trie unless that shape is asked by spelling.

Alternatives that lost. Filters without wildcards in the trie too: 126 bytes for each instead of 31 (of a
million; the filter and its item not counted). All filters with wildcards in the trie: 158 bytes for each
instead of 63, and a match among a million of them, where each step misses the processor's cache, takes twice
as long. Shapes alone: with filters made to have a shape each, a match would try them all. Items in the trie
instead of a dict beside it: 190 bytes for each filter with wildcards instead of 126, and no faster.
Forgetting every answer upon any change: a client that reconnects slows down all hot topics. Trying each
cached topic against the filter that changed: 960 us with 4,096 topics, compiled; the reverse look-up takes
1 us.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, final

from mypy_extensions import mypyc_attr

from extra.topics.index import TopicIndex
from extra.topics.names import check_filter, check_topic, has_wildcard
from extra.topics.shapes import Shapes
from extra.topics.trie import LevelTrie

__all__ = ["FilterTree", "TreeStatistics"]

T = TypeVar("T", bound=Hashable)

_CACHE_LIMIT: Final = 4096
_CACHE_LIMIT_ITEMS: Final = 1_048_576
_INVALIDATION_STEPS: Final = 1024
"""So many steps are taken to find the cached answers that a change concerns; then all are dropped: 0.2 ms."""
_LONGEST_CACHED_TOPIC: Final = 1024
"""In characters. Without it, the cache of a peer's 64 KiB topics would come to hundreds of megabytes."""


@final
@dataclass
class TreeStatistics:
    """What a tree holds at one moment, and what its cache has done since the tree was made."""

    filters: int
    """Filters that hold an item or more."""
    items: int
    """Pairs of a filter and an item."""
    cache_size: int
    """Topics whose answer is cached."""
    cached_items: int
    """Items in the cached answers, taken together."""
    hits: int
    """Answers that came from the cache."""
    misses: int
    """Answers that were computed."""
    invalidations: int
    """Cached answers dropped because a filter that matches the topic gained or lost an item."""
    evictions: int
    """Cached answers dropped to keep within the limits."""


@final
@mypyc_attr(native_class=True)
class FilterTree(Generic[T]):
    """Items under topic filters, found by topic.

    Items are told apart as in a set, and are never None. The cache keeps the answers of `cache_limit` topics
    (0: none), and of fewer when these would hold more than `cache_limit_items` items together, 8 bytes each.
    """

    def __init__(
        self, *, cache_limit: int = _CACHE_LIMIT, cache_limit_items: int = _CACHE_LIMIT_ITEMS
    ) -> None:
        self._exact: dict[str, T | _Crowd[T]] = {}
        self._wild: dict[str, T | _Crowd[T]] = {}
        self._wild_shapes = Shapes()
        self._wild_trie = LevelTrie()
        self._items = 0
        self._cache_limit = cache_limit
        self._cache_limit_items = cache_limit_items
        self._cache: OrderedDict[str, list[T]] = OrderedDict()
        self._cached_topics = TopicIndex()
        self._cached_items = 0
        self._hits = 0
        self._misses = 0
        self._invalidations = 0
        self._evictions = 0

    def __len__(self) -> int:
        """Return the number of pairs of a filter and an item."""
        return self._items

    def add(self, topic_filter: str, item: T) -> None:
        """Hold `item` under `topic_filter`. Where it is held there already, nothing changes.

        Cost: a step per level, whatever the number of filters and items, and one per cached answer dropped.

        Raises:
            InvalidFilter: `topic_filter` is none, see `check_filter`.
        """
        assert item is not None
        wild = has_wildcard(topic_filter)
        filters = self._wild if wild else self._exact
        held = filters.get(topic_filter)
        if held is None:
            check_filter(topic_filter)
            filters[topic_filter] = item
            if wild and not self._wild_shapes.add(topic_filter):
                self._wild_trie.add(topic_filter)
        elif isinstance(held, _Crowd):
            if item in held.items:
                return
            held.items[item] = None
        elif held is item or held == item:
            return
        else:
            filters[topic_filter] = _Crowd({held: None, item: None})
        self._items += 1
        self._invalidate(topic_filter)

    def remove(self, topic_filter: str, item: T) -> None:
        """Let go of `item` under `topic_filter`, and of the filter with its last item. Cost: as for `add`.

        Raises:
            KeyError: `item` is not held there.
        """
        wild = has_wildcard(topic_filter)
        filters = self._wild if wild else self._exact
        held = filters.get(topic_filter)
        if isinstance(held, _Crowd):
            del held.items[item]
            if len(held.items) == 1:
                (last,) = held.items
                filters[topic_filter] = last
        elif held is not None and (held is item or held == item):
            del filters[topic_filter]
            if wild and not self._wild_shapes.remove(topic_filter):
                self._wild_trie.remove(topic_filter)
        else:
            raise KeyError(item)
        self._items -= 1
        self._invalidate(topic_filter)

    def match(self, topic: str) -> list[T]:
        """Return every item whose filter matches `topic`, in no particular order.

        An item under several such filters is there once for each. The list is shared with the cache: read it,
        do not change it. It stays as it is when items come and go. Never awaits.
        Cost: one look-up when cached, else a step per level and branch of wildcards.

        Raises:
            InvalidTopic: `topic` is none, see `check_topic`.
        """
        answer = self._cache.get(topic)
        if answer is not None:
            self._cache.move_to_end(topic)
            self._hits += 1
            return answer
        check_topic(topic)
        self._misses += 1
        answer = []
        held = self._exact.get(topic)
        if held is not None:
            _extend(answer, held)
        if self._wild:
            for spelling in self._wild_shapes.spellings(topic):
                held = self._wild.get(spelling)
                if held is not None:
                    _extend(answer, held)
            if self._wild_trie.root:
                for topic_filter in self._wild_trie.filters_matching(topic):
                    _extend(answer, self._wild[topic_filter])
        self._remember(topic, answer)
        return answer

    def steps(self) -> int:
        """Return how many steps over branches of wildcards all questions so far have cost."""
        return self._wild_trie.steps

    def filters(self) -> list[str]:
        """Return the filters that hold an item or more, in no particular order. The list is the caller's."""
        return [*self._exact, *self._wild]

    def statistics(self) -> TreeStatistics:
        return TreeStatistics(
            filters=len(self._exact) + len(self._wild),
            items=self._items,
            cache_size=len(self._cache),
            cached_items=self._cached_items,
            hits=self._hits,
            misses=self._misses,
            invalidations=self._invalidations,
            evictions=self._evictions,
        )

    def _remember(self, topic: str, answer: list[T]) -> None:
        if (
            self._cache_limit <= 0
            or len(answer) > self._cache_limit_items
            or len(topic) > _LONGEST_CACHED_TOPIC
        ):
            return
        self._cache[topic] = answer
        self._cached_topics.add(topic)
        self._cached_items += len(answer)
        while len(self._cache) > self._cache_limit or self._cached_items > self._cache_limit_items:
            oldest, dropped = self._cache.popitem(last=False)
            self._cached_topics.discard(oldest)
            self._cached_items -= len(dropped)
            self._evictions += 1

    def _invalidate(self, topic_filter: str) -> None:
        """Drop the answers that a filter concerns: all, where it takes long to tell which."""
        topics = self._cached_topics.matching_within(topic_filter, self._cache_limit, _INVALIDATION_STEPS)
        if topics is None:
            self._invalidations += len(self._cache)
            self._cache.clear()
            self._cached_topics = TopicIndex()
            self._cached_items = 0
            return
        for topic in topics:
            self._cached_topics.discard(topic)
            self._cached_items -= len(self._cache.pop(topic))
            self._invalidations += 1


@final
@mypyc_attr(native_class=True)
class _Crowd(Generic[T]):
    """The items of a filter that holds two or more. A lone one stands bare: a dict for it takes 224 bytes."""

    def __init__(self, items: dict[T, None]) -> None:
        self.items = items


def _extend(answer: list[T], held: T | _Crowd[T]) -> None:
    if isinstance(held, _Crowd):
        answer.extend(held.items)
    else:
        answer.append(held)
