"""Patterns taken apart."""

import pytest

from extra.http import parse_pattern
from extra.http.convertors import CONVERTORS, Convertor
from extra.http.patterns import ANY_LEVEL, MIXED, REST, TEXT, TYPED


def test_levels_are_ranked_by_what_they_say() -> None:
    pattern = parse_pattern("/a/{b}.c/{d:int}/{e}/{f:path}")
    assert [level.rank for level in pattern.levels] == [TEXT, MIXED, TYPED, ANY_LEVEL, REST]
    assert pattern.names == ("b", "d", "e", "f")
    assert pattern.convertors[1:] == (CONVERTORS["int"], CONVERTORS["str"], CONVERTORS["path"])


def test_any_without_a_kind_is_the_rest() -> None:
    assert parse_pattern("/{any}").levels[0].rank == REST
    assert parse_pattern("/{any:str}").levels[0].rank == ANY_LEVEL


def test_names_do_not_make_a_shape() -> None:
    one, two, three = (parse_pattern(text).levels[0].shape for text in ("/{a}", "/{b}", "/{c:int}"))
    assert one == two != three


def test_text_of_a_plain_pattern_is_as_it_is_sent() -> None:
    assert [level.text for level in parse_pattern("/a b/é/%41").levels] == ["a%20b", "%C3%A9", "%41"]


def test_what_a_level_takes_is_sure_unless_a_service_has_a_say() -> None:
    kinds = {**CONVERTORS, "pair": Convertor(r"(a|b)(\(c\))?")}
    levels = parse_pattern("/a/{b}/{c:int}-{d:date}/{e:pair}/{f:int}-{g:pair}/{h:path}", kinds).levels
    assert [level.repeatable for level in levels] == [True, True, True, False, False, True]


def test_groups_of_a_kind_of_ones_own_do_not_count() -> None:
    kinds = {**CONVERTORS, "pair": Convertor(r"(a|b)(\(c\))?")}
    level = parse_pattern("/{x:pair}-{y:pair}", kinds).levels[0]
    assert level.regex is not None
    match = level.regex.fullmatch("a-b(c)")
    assert match is not None
    assert match.groups() == ("a", "b(c)")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a", "does not start with a slash"),
        ("", "does not start with a slash"),
        ("/{", "malformed"),
        ("/a}", "malformed"),
        ("/{a b}", "malformed"),
        ("/{a}/{a}", "two parameters of one name"),
        ("/{a:nothing}", "no kind 'nothing'"),
        ("/{a:path}/b", "has to be the last level"),
        ("/x{a:path}", "has to be the last level"),
    ],
)
def test_what_is_no_pattern_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_pattern(text)
