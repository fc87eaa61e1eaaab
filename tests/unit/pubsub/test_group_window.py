from extra.pubsub.group_window import RECENT_OFFSETS, Window


def test_the_position_is_right_before_the_first_that_is_not_settled() -> None:
    window = Window(2)
    assert [window.add(offset) for offset in (5, 7, 9)] == [False] * 3
    assert window.position() == 4
    window.settle(7)
    assert (window.position(), len(window), window.settled) == (4, 3, {7})
    window.settle(5)
    assert (window.floor, len(window), window.settled) == (7, 1, set())
    assert window.position() == 8
    window.settle(9)
    assert (window.position(), len(window)) == (9, 0)
    window.reach(12)
    window.reach(11)
    assert window.position() == 12


def test_what_was_settled_before_it_is_read_again_stays_so() -> None:
    window = Window(0)
    for offset in (1, 2, 3):
        window.add(offset)
    window.settle(2)
    window.clear()
    assert [window.add(offset) for offset in (1, 2)] == [False, True]
    window.settle(1)
    assert (window.position(), window.settled) == (2, set())


def test_what_is_behind_is_let_go_of() -> None:
    window = Window(0)
    window.settled = {3, 6}
    window.reach(4)
    window.prune()
    assert window.settled == {6}


def test_so_many_are_remembered_to_have_been_settled() -> None:
    window = Window(0)
    for offset in range(1, RECENT_OFFSETS + 2):
        window.add(offset)
        window.settle(offset)
    assert not window.was_settled(1)
    assert window.was_settled(2)
    assert not window.was_settled(RECENT_OFFSETS + 2)
