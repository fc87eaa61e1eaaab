"""What a handler is called with: what its signature names, converted to its annotations.

The signature is read once, when the application is made. Texts (of paths, queries, forms, topics) are
converted by what they say, `"7"` to `int` for instance; members of JSON have to be of their type already.
msgspec does the conversion: numbers, `bool`, `UUID`, dates, enums, `Literal`, lists, and structs or
dataclasses for JSON. Everything that is wrong is told at once, by the names of the fields.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from extra.http import BadRequest, Convertor, Request
from extra.payloads import JSONValue
from extra.services.annotations import Annotation, evaluated

__all__ = ["ByName", "InvalidArguments", "Parameter", "Signature"]

MISSING: Final = object()

PATTERN: Final = "the pattern"
QUERY: Final = "the query"

BODILESS_METHODS: Final = frozenset(("GET", "HEAD"))
"""Methods of requests that nobody expects to have a body: what they lack is missing in the query."""


class ByName:
    """The type of things that a handler is given by their usual names alone."""


class InvalidArguments(BadRequest):
    """Arguments are missing, or cannot be converted. `errors` says for each which, where, and why."""

    code = "invalid_arguments"

    def __init__(self, errors: list[dict[str, str]]) -> None:
        told = "; ".join(f"{each['field']} ({each['in']}): {each['message']}" for each in errors)
        listed: list[JSONValue] = [dict(each) for each in errors]
        super().__init__(f"invalid arguments: {told}", errors=listed)


class Parameter:
    """One parameter of a handler. `is_list` says whether it takes all values of its name."""

    __slots__ = ("default", "is_list", "is_open", "name", "type")

    def __init__(self, name: str, annotation: Any, default: object, place: str, kind: type | None) -> None:
        """Make one whose values come from `place`, and are of `kind`; None is not known.

        Raises:
            TypeError: none of them can ever be converted to the annotation.
        """
        self.name = name
        self.type = annotation
        self.default = default
        self.is_open = annotation in (inspect.Parameter.empty, Any, object)
        self.is_list = False
        if self.is_open:
            return
        try:
            wanted = Annotation(annotation)
        except TypeError as error:
            raise TypeError(f"parameter {name!r}: {error}") from None
        self.is_list = wanted.is_list
        several = self.is_list and place != PATTERN
        if kind is None or wanted.may_come_from(kind) or (several and wanted.may_come_from_several(kind)):
            return
        given = inspect.formatannotation(kind)
        raise TypeError(f"parameter {name!r}: {given}, as {place} gives it, is never converted to {wanted}")

    def convert(self, value: object, *, strict: bool) -> object:
        """Return `value` as what the annotation says. Raises msgspec.ValidationError."""
        if self.is_open or (self.type is str and isinstance(value, str)):
            return value
        return msgspec.convert(value, self.type, strict=strict)


class Signature:
    """The parameters of a handler, `self` apart, by where they come from."""

    def __init__(
        self,
        function: Callable[..., object],
        given: Mapping[str, type],
        captured: Mapping[str, Convertor],
        *,
        others: type | None,
    ) -> None:
        """Read the signature of `function`, a bound method.

        `given` are the things that a handler of its kind may have, by their usual names: a parameter is one
        of them by its name or by its annotation. `captured` are the kinds in its pattern, by their names.
        `others` is what further ones are when they come: `str` from a query, `object` where they may be
        anything, None if there are none.

        Raises:
            TypeError: a parameter can come from nowhere, can be given by position alone, or has an annotation
                that cannot be evaluated, or that nothing which comes can be converted to.
        """
        self.given: dict[str, str] = {}  # the thing's usual name, by the parameter's
        self.captured: list[Parameter] = []
        self.others: list[Parameter] = []
        self.takes_all = False
        parameters = list(inspect.signature(function).parameters.values())
        for parameter in parameters:
            name = parameter.name
            if parameter.kind is parameter.VAR_KEYWORD:
                self.takes_all = True
                continue
            if parameter.kind is parameter.VAR_POSITIONAL:
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                raise TypeError(f"{name!r} is positional only, and arguments are given by name")
            default = MISSING if parameter.default is parameter.empty else parameter.default
            is_known = name in given and name not in captured
            try:
                annotation = evaluated(parameter.annotation, function)
            except TypeError as error:
                if not is_known:
                    raise TypeError(f"parameter {name!r}: {error}") from None
                annotation = parameter.empty  # its name says what it is
            usual = next((known for known, kind in given.items() if annotation is kind), None)
            if name in captured:
                kind = captured[name].gives
                self.captured.append(Parameter(name, annotation, default, PATTERN, kind))
            elif is_known or usual is not None:
                self.given[name] = usual or name
            elif others is not None:
                kind = None if others is object else others
                self.others.append(Parameter(name, annotation, default, QUERY, kind))
            elif default is MISSING:
                known = ", ".join([*given, *captured])
                raise TypeError(f"parameter {name!r} can come from nowhere: there is {known}")
        named = {parameter.name for parameter in self.captured}
        self.unnamed = [name for name in captured if name not in named] if self.takes_all else []
        self.is_request = (
            bool(parameters)
            and list(self.given) == [parameters[0].name]
            and parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
            and not (self.captured or self.others or self.unnamed)
        )

    def take_captured(
        self,
        values: Mapping[str, object],
        place: str,
        arguments: dict[str, Any],
        errors: list[dict[str, str]],
    ) -> None:
        """Put into `arguments` what a pattern has captured, and into `errors` what is wrong with it."""
        for parameter in self.captured:
            _put(parameter, values[parameter.name], place, arguments, errors, strict=False)
        for name in self.unnamed:
            arguments[name] = values[name]

    def arguments_of(self, request: Request) -> dict[str, Any]:
        """Return the arguments for a request, from its path and its query.

        Raises InvalidArguments.
        """
        arguments: dict[str, Any] = dict.fromkeys(self.given, request)
        errors: list[dict[str, str]] = []
        if self.captured or self.unnamed:
            self.take_captured(request.values, "path", arguments, errors)
        for parameter in self.others:
            _put_from_query(parameter, request, arguments, errors)
        if errors:
            raise InvalidArguments(errors)
        return arguments

    def take_members(
        self, members: Mapping[str, object], arguments: dict[str, Any], errors: list[dict[str, str]]
    ) -> None:
        """Put into `arguments` what a JSON object has of the others, and into `errors` what is wrong."""
        for parameter in self.others:
            _put(parameter, members.get(parameter.name, MISSING), "data", arguments, errors, strict=True)

    async def all_arguments_of(self, request: Request) -> dict[str, Any]:
        """Return the arguments for a request: what path and query have not is looked for in its body.

        Raises InvalidArguments, and what reading the body raises.
        """
        arguments: dict[str, Any] = dict.fromkeys(self.given, request)
        errors: list[dict[str, str]] = []
        self.take_captured(request.values, "path", arguments, errors)
        members: Mapping[str, object] | None = None
        strict = True
        for parameter in self.others:
            name = parameter.name
            if request.query_value(name) is not None:
                _put_from_query(parameter, request, arguments, errors)
                continue
            if members is None:
                members, strict = await _members_of(request)
            value = members.get(name, MISSING)
            if isinstance(value, list) and not strict and not parameter.is_list:
                value = value[0]  # of a form: all values of the field
            place = "query" if request.method in BODILESS_METHODS else "body"
            _put(parameter, value, place, arguments, errors, strict=strict)
        if errors:
            raise InvalidArguments(errors)
        return arguments


def _put_from_query(
    parameter: Parameter, request: Request, arguments: dict[str, Any], errors: list[dict[str, str]]
) -> None:
    values = request.query_values(parameter.name)
    value = MISSING if not values else values if parameter.is_list else values[0]
    _put(parameter, value, "query", arguments, errors, strict=False)


def _put(
    parameter: Parameter,
    value: object,
    place: str,
    arguments: dict[str, Any],
    errors: list[dict[str, str]],
    *,
    strict: bool,
) -> None:
    if value is MISSING:
        if parameter.default is MISSING:
            errors.append({"field": parameter.name, "in": place, "message": "is missing"})
        return
    try:
        arguments[parameter.name] = parameter.convert(value, strict=strict)
    except msgspec.ValidationError as error:
        message = str(error)
        errors.append({"field": parameter.name, "in": place, "message": message[:1].lower() + message[1:]})


async def _members_of(request: Request) -> tuple[Mapping[str, object], bool]:
    """Return what the body holds by name, and whether it has types: JSON does, a form has lists of texts."""
    media_type = request.media_type
    if media_type in ("application/x-www-form-urlencoded", "multipart/form-data"):
        form = await request.form()
        fields: dict[str, object] = {name: form.values(name) for name, _ in form.fields}
        return {**fields, **{name: [upload] for name, upload in form.files}}, False
    if not await request.body():
        return {}, True
    value = await request.json()
    if not isinstance(value, dict):
        raise BadRequest("the body has to be a JSON object")
    return value, True
