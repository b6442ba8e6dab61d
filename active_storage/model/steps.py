"""A step of encoding: a codec of the table with its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from active_storage.errors import InvalidCodec, shown
from active_storage.model.codecs import CODECS, COMPRESSIONS, FILTERS, Value, find_id

# Larger than any element: HDF5's longest numbers have 16 bytes.
_MAX_ELEMENT_BYTES = 4096

# Our name, and numcodecs' name.
_ELEMENT_SIZES = ("element_size", "elementsize")


@dataclass(frozen=True, slots=True)
class Step:
    """A step of encoding, which is undone in reading: a codec of ``CODECS`` and its parameters.

    Attributes:
        id: A name in ``CODECS``. An alias is replaced by it.
        element_size: The size of an element in bytes; None for that of the data type.
        parameters: Pairs of name and value, in the order of the table, without those that only writers need and those
            that have the default: steps of equal meaning are equal.

    Raises:
        InvalidCodec: The codec is unknown, or a parameter has a wrong name or value.
    """

    id: str
    element_size: int | None = None
    parameters: tuple[tuple[str, Value], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", find_id(self.id))
        if self.id not in CODECS:
            known = ", ".join(FILTERS + COMPRESSIONS)
            raise InvalidCodec(self.id, "id", f"unknown codec {shown(self.id)}; the codecs are {known}")
        size = self.element_size
        if size is not None and not 1 <= size <= _MAX_ELEMENT_BYTES:
            raise InvalidCodec(self.id, "element_size", f"should be from 1 to {_MAX_ELEMENT_BYTES}")
        object.__setattr__(self, "parameters", _normal_parameters(self))

    @classmethod
    def of(cls, name: str, members: Mapping[str, Any]) -> Self:
        """The step of this name with these parameters, ``element_size`` among them, in our or numcodecs' spelling.

        Raises:
            InvalidCodec: As for the class.
        """
        rest = {key: value for key, value in members.items() if key not in _ELEMENT_SIZES}
        sizes = [members[key] for key in _ELEMENT_SIZES if key in members]
        if len(sizes) > 1 or any(type(size) is not int for size in sizes):
            raise InvalidCodec(name, "element_size", "should be an integer, given once")
        return cls(name, sizes[0] if sizes else None, tuple(rest.items()))

    def value(self, name: str) -> Value | None:
        """The value of a parameter, by default that of the table."""
        return dict(self.parameters).get(name, CODECS[self.id].parameters[name].default)


def _normal_parameters(step: Step) -> tuple[tuple[str, Value], ...]:
    row = CODECS[step.id]
    values = dict(step.parameters)
    if len(values) != len(step.parameters):
        raise InvalidCodec(step.id, "parameters", "contain a name twice")
    for name in values:
        if name not in row.parameters and name not in row.writer:
            known = ", ".join(("element_size", *row.parameters))
            raise InvalidCodec(step.id, name, f"is not a parameter of this codec; the parameters are {known}")
    normal = []
    for name, parameter in row.parameters.items():
        if name not in values:
            if parameter.is_required:
                raise InvalidCodec(step.id, name, "is required")
            continue
        try:
            value = parameter.check(values[name])
        except ValueError as fault:
            raise InvalidCodec(step.id, name, str(fault)) from None
        if value != parameter.default:
            normal.append((name, value))
    return tuple(normal)
