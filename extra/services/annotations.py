"""What the annotations of a method say: each is evaluated by itself.

Annotations may be text, all of a module's are under `from __future__ import annotations`. A text is evaluated
where the method stands: among the names of its module, of its service's class, and of the functions around
it that it uses itself. What is imported for type checkers alone is in none of them.
"""

import builtins
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

__all__ = ["evaluated"]


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
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
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
