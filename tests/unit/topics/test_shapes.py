import pytest

from extra.topics.shapes import SHAPES_LIMIT, Shapes


def shapes_of(*filters: str) -> Shapes:
    shapes = Shapes()
    for topic_filter in filters:
        assert shapes.add(topic_filter)
    return shapes


@pytest.mark.parametrize(
    ("topic_filter", "topic", "spelling"),
    [
        ("a/+", "b/c", "b/+"),
        ("a/+", "b", ""),
        ("a/+", "b/c/d", ""),
        ("+/b", "c/d", "+/d"),
        ("a/#", "b/c/d", "b/#"),
        ("a/b/#", "c/d", "c/d/#"),
        ("a/b/#", "c", ""),
        ("#", "a/b", "#"),
        ("#", "$a", ""),
        ("+", "$a", ""),
        ("+/b", "$a/b", ""),
        ("+/#", "$a/b", ""),
        ("$a/+", "$b/c", "$b/+"),
        ("+/+/#", "a//b", "+/+/#"),
        ("/+", "/", "/+"),
        ("/#", "", "/#"),
    ],
)
def test_a_topic_has_one_spelling_at_most_for_a_shape(topic_filter: str, topic: str, spelling: str) -> None:
    assert shapes_of(topic_filter).spellings(topic) == ([spelling] if spelling else [])


def test_filters_of_one_shape_are_one_look_up() -> None:
    assert shapes_of("a/+/b", "c/+/d", "e/+/f").spellings("x/y/z") == ["x/+/z"]


def test_a_shape_that_came_too_late_is_not_asked_until_it_has_no_filter() -> None:
    first = ["x/" * depth + "+" for depth in range(SHAPES_LIMIT)]
    shapes = shapes_of(*first)
    assert not shapes.add("#")
    assert shapes.remove(first[0])
    assert not shapes.add("#"), "there is room, but one of its filters is elsewhere"
    assert not shapes.remove("#")
    assert not shapes.remove("#")
    assert shapes.add("#")
    assert not shapes.add(first[0])
    assert shapes.spellings("a") == ["#"]


def test_a_shape_is_forgotten_with_its_last_filter() -> None:
    shapes = shapes_of("a/+", "b/+")
    shapes.remove("a/+")
    assert shapes.spellings("b/c") == ["b/+"]
    shapes.remove("b/+")
    assert shapes.spellings("b/c") == []
