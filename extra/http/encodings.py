"""Which content encodings a client takes (RFC 9110 12.5.3)."""

from collections.abc import Sequence

__all__ = ["encodings_taken"]


def encodings_taken(field: str | None, known: Sequence[str]) -> list[str]:
    """Return those of `known` that an `Accept-Encoding` takes: what it likes best first, then in our order.

    Without a field there are none. A weight that is none counts as a refusal.
    """
    weights: dict[str, float] = {}
    for item in (field or "").lower().split(","):
        name, _, parameters = item.partition(";")
        quality = parameters.partition("q=")[2].strip() if "q=" in parameters else "1"
        try:
            weights[name.strip()] = float(quality)
        except ValueError:
            weights[name.strip()] = 0.0
    usual = weights.get("*", 0.0)
    found = [(weights.get(name, usual), name) for name in known]
    return [name for weight, name in sorted(found, key=lambda each: -each[0]) if weight > 0]
