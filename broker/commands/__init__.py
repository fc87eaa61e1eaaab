"""The commands of `extra-broker`, one module each, and what they share: options, standard streams."""

__all__: list[str] = []
