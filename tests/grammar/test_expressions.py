"""Expressions: what they mean is what Python says, and what is refused."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from active_storage.errors import InvalidArgument
from active_storage.grammar.expressions import parse_expression
from active_storage.model.expression import FUNCTIONS, evaluate, format_expression, list_names

NAMES = {"u": 2.5, "v": 0.75, "_w1": 3.0}

_LEAVES = st.sampled_from(list(NAMES)) | st.sampled_from(["2", "0.5", ".25", "1e-1", "3."])


def _combine(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from([" + ", "-", "*", " / "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"-({text})"),
        inner.map(lambda text: f"abs({text})"),
        inner.map(lambda text: f"({text})**2"),
        st.tuples(inner, inner).map(lambda texts: f"hypot({texts[0]}, {texts[1]})"),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(_LEAVES, _combine, max_leaves=12))
def test_an_expression_means_what_python_says(text: str) -> None:
    text = f"u + {text}"
    try:
        wanted: Any = eval(text, {**NAMES, "hypot": np.hypot})  # noqa: S307  # the judge
    except (ZeroDivisionError, OverflowError):
        return
    try:
        node = parse_expression(text)
    except InvalidArgument as error:
        assert "finite" in error.reason or "nested" in error.reason  # noqa: PT017
        return
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(evaluate(node, NAMES), wanted, rtol=1e-12)
    assert parse_expression(format_expression(node)) == node
    assert format_expression(parse_expression(format_expression(node))) == format_expression(node)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_function_is_that_of_numpy(name: str) -> None:
    arguments = ["u", "v"][: FUNCTIONS[name].nin]
    node = parse_expression(f"{name}({','.join(arguments)})")
    assert evaluate(node, NAMES) == FUNCTIONS[name](*(NAMES[each] for each in arguments))
    assert list_names(node) == arguments


def test_a_number_takes_the_data_type_of_the_array_that_it_meets() -> None:
    values = evaluate(parse_expression("(2 * 3 + 1) * u - 273.15"), {"u": np.ones(2, np.float32)})
    assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "ends too early"),
        ("1 + 2", "names no array"),
        ("u +", "ends too early"),
        ("(u", "ends too early"),
        ("u v", "has 'v' where nothing like it can stand"),
        ("u)", "has ')' where nothing like it can stand"),
        ("foo(u)", "has no function 'foo'; the functions are abs, cos"),
        ("sqrt(u, v)", "gives sqrt 2 arguments, not 1"),
        ("hypot(u)", "gives hypot 1 arguments, not 2"),
        ("(" * 100 + "u" + ")" * 100, "is nested more than 24 levels deep"),
        ("**".join(["u"] * 60), "is nested more than 24 levels deep"),
        ("u" + "+u" * 10_000, "has more than 2048 characters"),
        ("u" + "+u" * 200, "has more than 128 operations"),
        ("__import__('os')", 'has "\'" where'),
        ("u.real", "has '.' where"),
        ("u[0]", "has '[' where"),
        ("u if v else u", "has 'if' where"),
        ("1e999 * u", "has the number '1e999', which is too large"),
        ("u + 1 / 0", "which is not a finite number"),
        ("u + 10**400", "which is not a finite number"),
        ("+".join("abcdefghi"), "names 9 arrays; the limit is 8"),
        ("ü + 1", "where nothing like it can stand"),
    ],
)
def test_what_is_no_expression_is_refused(text: str, part: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_expression(text)
    assert caught.value.field == "expr"
    assert part in caught.value.reason


@pytest.mark.parametrize("name", ["2m_temperature", "tas-mean", "g/tas", "größe", "wind speed", "exp"])
def test_any_name_can_stand_between_backticks(name: str) -> None:
    node = parse_expression(f"2 * `{name}` - 273.15")
    assert list_names(node) == [name]
    assert parse_expression(format_expression(node)) == node


@pytest.mark.parametrize("text", ["``", "`tas", "tas`", "`tas``pr`", "`tas`(1)", "`a;b`"])
def test_backticks_stand_around_one_name(text: str) -> None:
    with pytest.raises(InvalidArgument, match="expr"):
        parse_expression(text)
