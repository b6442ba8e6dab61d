"""From the members of a JSON request to the spec. An error names the member by its path in the body."""

from collections.abc import Sequence

from active_storage.errors import InvalidArgument, InvalidCodec, shown
from active_storage.grammar.parameters import ensure_compresses, parse_dtype
from active_storage.model.codecs import CODECS
from active_storage.model.dtypes import DTYPES
from active_storage.model.missing import MISSING_RULES, Missing
from active_storage.model.ranges import Slice
from active_storage.model.spec import ReductionSpec
from active_storage.model.steps import Step
from handler.doors.json_body import name_member
from handler.doors.json_members import Members, MissingMembers, StepMembers


def build_json_spec(reducer: str, members: Members, axis: list[int] | None = None) -> ReductionSpec:
    """The spec of the members of a request.

    Raises:
        UnknownReducer: There is no reducer of that name.
        InvalidArgument: A member has a wrong value; ``field`` is its path in the body.
    """
    if members.shape is None:
        for name, value in (("selection", members.selection), ("axis", axis)):
            if value is not None:
                raise InvalidArgument(name, "requires the member shape")
    if members.shape == []:
        raise InvalidArgument("shape", "is empty; omit it for an array of one dimension")
    dtype, carried = parse_dtype(members.dtype)
    if carried and members.byte_order not in (None, carried):
        raise InvalidArgument("byte_order", f"is {shown(members.byte_order or '')}, but dtype is {carried}-endian")
    optional = {"byte_order": members.byte_order or carried, "order": members.order, "offset": members.offset}
    try:
        return ReductionSpec(
            reducer=reducer,
            dtype=dtype,
            shape=None if members.shape is None else tuple(members.shape),
            selection=None if members.selection is None else _build_slices(members.selection),
            axis=None if axis is None else tuple(axis),
            size=members.size,
            steps=_build_steps(members),
            missing=None if members.missing is None else _build_missing(members.missing, dtype),
            **{name: value for name, value in optional.items() if value is not None},  # type: ignore[arg-type]
        )
    except InvalidArgument as error:
        raise InvalidArgument(_find_path(error.field), error.reason, error.index) from None


def _find_path(field: str) -> str:
    """The path of the member that the spec calls ``field``."""
    if field in MISSING_RULES:
        return f"missing.{field}"
    return field


def _build_slices(selection: Sequence[Sequence[int | None]]) -> tuple[Slice, ...]:
    slices = []
    for index, bounds in enumerate(selection):
        try:
            slices.append(Slice(*bounds))
        except InvalidArgument as error:
            # Only the step can be wrong: every start and every stop is valid.
            raise InvalidArgument(f"selection[{index}]", error.reason, index=2) from None
    return tuple(slices)


def _build_steps(members: Members) -> tuple[Step, ...]:
    filters = [_build_step(each, f"filters[{index}]") for index, each in enumerate(members.filters or ())]
    if members.compression is None:
        return tuple(filters)
    compression = _build_step(members.compression, "compression")
    try:
        ensure_compresses(compression)
    except InvalidCodec as fault:
        raise InvalidArgument("compression.id", fault.fault) from None
    return (*filters, compression)


def _build_step(members: StepMembers, path: str) -> Step:
    """The step at ``path``. Its element size has no default, since writers differ in theirs."""
    parameters = members.model_dump(exclude={"id"}, exclude_none=True)
    try:
        step = Step.of(members.id, parameters)
    except InvalidCodec as fault:
        raise InvalidArgument(name_member((fault.member,), path), fault.fault) from None
    if step.element_size is None and CODECS[step.id].is_sized:
        raise InvalidArgument(f"{path}.element_size", f"is required by {members.id}")
    return step


def _build_missing(members: MissingMembers, dtype: str) -> Missing | None:
    rules = {name: value if isinstance(value, list) else [value] for name, value in members if value is not None}
    if len(rules) != 1:
        raise InvalidArgument("missing", f"has {len(rules)} members; it should have one of {', '.join(MISSING_RULES)}")
    if dtype not in DTYPES:
        # The spec refuses the data type.
        return None
    ((name, values),) = rules.items()
    for index, value in enumerate(values):
        if isinstance(value, float) and DTYPES[dtype].kind in "iub":
            reason = f"{value!r} is not an integer, as {dtype} requires"
            raise InvalidArgument(name, reason, index if MISSING_RULES[name][1] > 1 else None)
    return Missing.of(rules, dtype)
