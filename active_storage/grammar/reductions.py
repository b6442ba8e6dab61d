"""Reductions: from paths, segments and queries to a spec, and back.

A reduction is first a mapping of names to texts: reducer, dtype and parameters. Texts from several sources are merged,
and then built into a spec, or into the reduction of a whole array (``arrays.py``) if a container stands where the data
type could.
"""

from collections.abc import Iterable, Mapping

from active_storage.errors import InvalidArgument, shown
from active_storage.grammar.arrays import ARRAY_NAMES, ARRAY_PARAMETERS, build_array_reduction, names_container
from active_storage.grammar.parameters import PARAMETERS, parse_dtype
from active_storage.grammar.targets import ReductionPath
from active_storage.grammar.text import decode
from active_storage.model.array_reduction import CONTAINER_TYPES, ArrayReduction
from active_storage.model.dtypes import DTYPES
from active_storage.model.missing import MISSING_RULES, Missing
from active_storage.model.ranges import ByteRange
from active_storage.model.spec import ReductionSpec

# The names of parameters, of objects and of whole arrays.
_PARAMETER_NAMES = frozenset({*PARAMETERS, *ARRAY_NAMES})

# All names that make up a reduction, for queries, payloads and headers.
NAMES = frozenset({"reducer", "dtype", *_PARAMETER_NAMES})


def parse_path(path: ReductionPath) -> dict[str, str]:
    """The texts in a path, decoded: reducer, data type and parameters.

    Raises:
        InvalidArgument: A parameter is unknown, occurs twice, has no value, or its percent-encoding is malformed.
    """
    return {
        "reducer": decode(path.reducer, field="reducer"),
        **parse_segment(decode(path.segment, field="dtype")),
    }


def parse_reduction(reduction: str) -> dict[str, str]:
    """The texts in a decoded ``reducer/segment``, in which each of the two may be empty.

    Raises:
        InvalidArgument: It has more than one slash, or a parameter is wrong as in ``parse_path``.
    """
    # A text of parameters only may omit the slash.
    reducer, _, segment = ("", "", reduction) if reduction.startswith(";") else reduction.partition("/")
    # The path of a variable can have slashes.
    if "/" in segment.partition(";")[0]:
        raise InvalidArgument("reduction", f"{shown(reduction)} is not of the form reducer/dtype;parameter=value")
    texts = {"reducer": reducer, **parse_segment(segment)}
    return {name: text for name, text in texts.items() if text or name in _PARAMETER_NAMES}


def format_reduction(spec: ReductionSpec) -> str:
    """The decoded ``reducer/segment`` of ``spec``."""
    return f"{spec.reducer}/{format_segment(spec)}"


def merge(*sources: Mapping[str, str]) -> dict[str, str]:
    """The texts of several sources, such as the path and the query.

    Raises:
        InvalidArgument: Two sources have different texts for a name.
    """
    merged: dict[str, str] = {}
    for texts in sources:
        for name, value in texts.items():
            if merged.setdefault(name, value) != value:
                raise InvalidArgument(
                    name, f"is {shown(merged[name])} in one part of the request and {shown(value)} in another"
                )
    return merged


def build_reduction(texts: Mapping[str, str]) -> ReductionSpec | ArrayReduction:
    """The reduction of an object or of a whole array that texts ask for.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: The reducer or the data type is absent, or a text has a wrong value.
    """
    return build_array_reduction(texts) if names_container(texts) else build_spec(texts, None)


def build_spec(texts: Mapping[str, str], byte_range: ByteRange | None) -> ReductionSpec:
    """The spec of texts and a byte range.

    Args:
        texts: Reducer, data type and parameters, as texts by name.
        byte_range: The bytes of the object that hold the data; None for those that the parameters name.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: The reducer or the data type is absent, or a text has a wrong value.
    """
    for name in ("reducer", "dtype"):
        if name not in texts:
            raise InvalidArgument(name, "is required")
    for name in texts:
        if name in ARRAY_NAMES and name not in PARAMETERS:
            raise InvalidArgument(name, f"is a parameter of whole arrays, not of {shown(texts['dtype'])}")
    parsed = {name: PARAMETERS[name].parse(name, text) for name, text in texts.items() if name in PARAMETERS}
    dtype, byte_order = parse_dtype(texts["dtype"])
    if byte_order is not None and parsed.setdefault("byte_order", byte_order) != byte_order:
        raise InvalidArgument("byte_order", f"is {parsed['byte_order']}, but {texts['dtype']} is {byte_order}-endian")
    if not MISSING_RULES.keys().isdisjoint(parsed):
        rules = {name: parsed.pop(name) for name in MISSING_RULES if name in parsed}
        if dtype in DTYPES:
            parsed["missing"] = Missing.of(rules, dtype)
    if steps := (*parsed.pop("filters", ()), *parsed.pop("compression", ())):
        parsed["steps"] = steps
    fields = {PARAMETERS[name].field if name in PARAMETERS else name: value for name, value in parsed.items()}
    return ReductionSpec(texts["reducer"], dtype, **fields, range=byte_range)


def parse_segment(segment: str) -> dict[str, str]:
    """The texts in a decoded segment: the data type and the parameters.

    Raises:
        InvalidArgument: A parameter is unknown, occurs twice, or has no value.
    """
    dtype, *pairs = segment.split(";")
    parameters: list[tuple[str, str]] = []
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name not in _PARAMETER_NAMES:
            known = ARRAY_PARAMETERS if dtype in CONTAINER_TYPES else PARAMETERS
            raise InvalidArgument(shown(name), f"is not a parameter; the parameters are {', '.join(known)}")
        if not equals:
            raise InvalidArgument(name, f"has no value; write {name}=value")
        parameters.append((name, value))
    return {"dtype": dtype, **collect(parameters)}


def format_segment(spec: ReductionSpec) -> str:
    """The decoded segment of ``spec``. Equal specs have equal text."""
    items = [spec.dtype]
    for name, parameter in PARAMETERS.items():
        text = parameter.format(name, getattr(spec, parameter.field))
        if text is not None:
            items.append(f"{name}={text}")
    return ";".join(items)


def collect(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The pairs as a mapping.

    Raises:
        InvalidArgument: A name occurs twice.
    """
    collected: dict[str, str] = {}
    for name, value in pairs:
        if name in collected:
            raise InvalidArgument(name, "is given twice")
        collected[name] = value
    return collected
