from extra.pubsub.journal import Journal


def test_a_journal_is_empty_until_something_has_gone() -> None:
    assert Journal().is_empty()
    for change in ("evicted", "unretained"):
        journal = Journal()
        getattr(journal, change).append(1)
        assert not journal.is_empty()
    for change in ("losses", "forgotten"):
        journal = Journal()
        getattr(journal, change)["a"] = 1
        assert not journal.is_empty()


def test_what_came_later_stands_behind_and_wins() -> None:
    earlier, later = Journal(), Journal()
    earlier.evicted, later.evicted = [1, 3], [2, 4]
    earlier.losses, later.losses = {"a": 1, "b": 2}, {"a": 3}
    earlier.forgotten, later.forgotten = {"x": None}, {"y": None, "x": None}
    earlier.unretained, later.unretained = [1], [4]
    earlier.precede(later)
    assert earlier.evicted == [1, 3, 2, 4]
    assert earlier.losses == {"a": 3, "b": 2}
    assert list(earlier.forgotten) == ["x", "y"]
    assert earlier.unretained == [1, 4]


def test_a_last_message_that_expired_is_something_that_has_gone() -> None:
    earlier, later = Journal(), Journal()
    earlier.lasts = {"a": 1, "b": 1}
    later.lasts = {"b": 2}
    assert not earlier.is_empty()
    earlier.precede(later)
    assert earlier.lasts == {"a": 1, "b": 2}
