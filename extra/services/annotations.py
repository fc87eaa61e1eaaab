"""What the annotations of a method say: each is evaluated by itself, and asked what can become of it.

Annotations may be text, all of a module's are under `from __future__ import annotations`. A text is evaluated
where the method stands: among the names of its module, of its service's class, and of the functions around
it that it uses itself. What is imported for type checkers alone is in none of them.

msgspec converts values to annotations, and says at the first attempt what it cannot do. That would be the
first request, and every one after it; so it is found out here what no value of a kind can ever become.
"""

import builtins
import inspect
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, get_type_hints
from uuid import UUID

from msgspec import inspect as types

__all__ = ["Annotation", "evaluated"]

NUMBERS: Final = (types.IntType, types.FloatType, types.DecimalType, types.DateTimeType, types.TimeDeltaType)

BECOMES: Final[dict[type, tuple[type[types.Type], ...]]] = {
    str: (
        *NUMBERS,
        types.BoolType,
        types.StrType,
        types.BytesType,
        types.ByteArrayType,
        types.MemoryViewType,
        types.DateType,
        types.TimeType,
        types.UUIDType,
    ),
    bool: (types.BoolType,),
    int: (*NUMBERS, types.BoolType),
    float: NUMBERS,
    Decimal: (types.DecimalType, types.FloatType),
    UUID: (types.UUIDType,),
    datetime: (types.DateTimeType,),
    date: (types.DateType,),
}
"""What values of a type may become, unless they are strict; a class goes by the first that it derives from.

The text `null` may become None, which is not all that a parameter is for.
"""

OBJECTS: Final = (types.DictType, types.TypedDictType, types.DataclassType, types.StructType)


class Annotation:
    """A type that values are converted to. `is_list` says whether several values may be one of it."""

    __slots__ = ("_alternatives", "is_list", "type")

    def __init__(self, annotation: Any) -> None:
        """Look at an annotation. Raises TypeError when nothing can be converted to it."""
        self.type = annotation
        try:
            found = types.type_info(annotation)
        except (NameError, AttributeError, TypeError) as error:  # the first two of a dataclass's own
            raise TypeError(f"nothing can be converted to {self}: {error}") from None
        self._alternatives = _alternatives_of(found)
        self.is_list = any(_items_of(each) is not None for each in self._alternatives)

    def __str__(self) -> str:
        return inspect.formatannotation(self.type)

    def may_come_from(self, kind: type) -> bool:
        """Return whether some value of `kind` can be converted to this."""
        return any(_may_become(kind, each) for each in self._alternatives)

    def may_come_from_several(self, kind: type) -> bool:
        """Return whether some list of values of `kind` can be converted to this."""
        return any(
            all(any(_may_become(kind, each) for each in _alternatives_of(item)) for item in items)
            for items in map(_items_of, self._alternatives)
            if items is not None
        )


def evaluated(annotation: object, function: Callable[..., object]) -> Any:
    """Return `annotation`, of a parameter of `function`, with all that is text in it evaluated.

    `function` is a plain one, or a method bound to its object.

    Raises:
        TypeError: that cannot be done; it says which text, and why.
    """

    def holder() -> None: ...

    holder.__annotations__ = {"annotation": annotation}
    try:
        return get_type_hints(holder, _names_around(function), include_extras=True)["annotation"]
    except (NameError, AttributeError, LookupError, TypeError, ValueError, SyntaxError) as error:
        text = annotation if isinstance(annotation, str) else repr(annotation)
        hint = ": import it outside of TYPE_CHECKING, at the top" if isinstance(error, NameError) else ""
        raise TypeError(f"annotation {text!r} cannot be evaluated ({error}){hint}") from None


def _names_around(function: Callable[..., object]) -> dict[str, Any]:
    """Return the names that the text of a function sees; the module's go before those of the class."""
    owner = getattr(function, "__self__", None)
    plain = inspect.unwrap(getattr(function, "__func__", function))
    names: dict[str, Any] = {}
    for kind in reversed((owner if isinstance(owner, type) else type(owner)).__mro__):
        names |= vars(kind)
    if not inspect.isfunction(plain):
        return names
    for name, cell in zip(plain.__code__.co_freevars, plain.__closure__ or (), strict=True):
        try:
            names[name] = cell.cell_contents
        except ValueError:
            continue  # it has no value yet
    return names | vars(builtins) | plain.__globals__


def _alternatives_of(found: types.Type) -> list[types.Type]:
    """Return the members of a union, or what is none by itself, without what is said about them."""
    while isinstance(found, types.Metadata):
        found = found.type
    if isinstance(found, types.UnionType):
        return [each for member in found.types for each in _alternatives_of(member)]
    return [found]


def _items_of(found: types.Type) -> tuple[types.Type, ...] | None:
    """Return what the items of a list, a set or a tuple are; None for what is none."""
    if isinstance(found, types.TupleType):
        return found.item_types
    if isinstance(found, (types.ListType, types.SetType, types.FrozenSetType, types.VarTupleType)):
        return (found.item_type,)
    return None


def _may_become(kind: type, found: types.Type) -> bool:
    """Return whether some value of `kind` can be converted to one type. In doubt it can."""
    if isinstance(found, types.AnyType):
        return True
    if _derives(kind, getattr(found, "cls", None)):  # of enums, dataclasses, whatever is a class of its own
        return True
    known = next((each for each in BECOMES if issubclass(kind, each)), None)
    if isinstance(found, types.EnumType):
        found = types.LiteralType(tuple(member.value for member in found.cls))
    if isinstance(found, types.LiteralType):  # whose values are texts and integers
        return known is str or any(isinstance(value, known or kind) for value in found.values)
    if known is not None:
        return isinstance(found, BECOMES[known])
    if issubclass(kind, Mapping):
        return isinstance(found, OBJECTS)
    is_list = _items_of(found) is not None or isinstance(found, types.NamedTupleType)
    return is_list and issubclass(kind, (list, tuple, set, frozenset))


def _derives(kind: type, owner: Any) -> bool:
    try:
        return owner is not None and issubclass(kind, owner)
    except TypeError:  # of typed dictionaries and most protocols nothing is an instance
        return False
