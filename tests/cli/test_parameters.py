"""The options of parameters: each parameter of the client has one, and its text becomes the client's argument."""

from typing import Any

import pytest
from typer.main import get_command

from active_storage.cli import parameters
from active_storage.cli.app import app
from active_storage.cli.parameters import read_array_arguments, read_object_arguments
from active_storage.client.arguments import Near, ObjectArguments, QuestionArguments, Span
from active_storage.errors import InvalidArgument
from active_storage.grammar.arrays import ARRAY_PARAMETERS
from active_storage.grammar.parameters import PARAMETERS


def find_options() -> dict[str, Any]:
    command: Any = get_command(app)
    return {each.name: each for each in command.commands["reduce"].params}


def test_each_parameter_of_the_client_and_of_the_grammar_has_an_option_with_a_help() -> None:
    known: set[str] = set()
    for arguments in (ObjectArguments, QuestionArguments):
        known |= arguments.__optional_keys__
    assert known | {*ARRAY_PARAMETERS, *PARAMETERS, "dtype"} == set(parameters.NAMES)
    assert find_options().keys() >= set(parameters.NAMES)
    assert set(parameters._TEXTS) == set(parameters.NAMES)


def test_a_new_parameter_of_the_grammar_has_a_help() -> None:
    option = parameters._annotate("new_parameter").__metadata__[0]
    assert (option.metavar, option.help) == ("VALUE", "the parameter new_parameter")


def test_no_option_takes_a_secret() -> None:
    assert not {name for name in find_options() if name and ("secret" in name or "key" in name or "token" in name)}


@pytest.mark.parametrize(
    ("texts", "arguments"),
    [
        ({"axis": "time,1"}, {"axis": ["time", 1]}),
        ({"selection": "0:3,::2"}, {"selection": [slice(0, 3), slice(None, None, 2)]}),
        ({"selection": "lat:0:3"}, {"selection": {"lat": slice(0, 3)}}),
        ({"where": "lat:-30..30,lon:~5:cyclic"}, {"where": {"lat": Span("-30", "30"), "lon": Near("5", True)}}),
        ({"where": "time:2000"}, {"where": {"time": Span("2000", "2000")}}),
        ({"group": "time.month"}, {"group": "time.month"}),
        ({"weights": "cos:lat"}, {"weights": "cos:lat"}),
        ({"expr": "u*u + v*v", "other": "v"}, {"expr": "u*u + v*v", "other": "v"}),
        ({"bins": "0,1,2.5", "edges": "1,2"}, {"bins": [0.0, 1.0, 2.5], "edges": [1, 2]}),
        ({"missing_value": "-1", "valid_range": "0,9"}, {"missing_value": [-1], "valid_range": [0, 9]}),
        ({"gt": "273.15", "le": "300"}, {"gt": 273.15, "le": 300}),
        ({"q": "0.1,0.5", "method": "linear"}, {"q": [0.1, 0.5], "method": "linear"}),
        ({"skipna": "true", "ddof": "1", "decode": "none"}, {"skipna": True, "ddof": 1, "decode": "none"}),
        ({"container": "zarr", "concat": "time"}, {"container": "zarr", "concat": "time"}),
        ({"absent": "403"}, {"absent": "403"}),
    ],
)
def test_a_text_becomes_an_argument_for_a_whole_array(texts: dict[str, str], arguments: dict[str, Any]) -> None:
    assert read_array_arguments({"var": "/g/tas", **texts}) == ("g/tas", arguments)


def test_a_text_becomes_an_argument_for_a_plain_object() -> None:
    texts = {"dtype": ">i2", "shape": "4,5", "selection": "0:2,:", "axis": "1", "filters": "shuffle:4", "offset": "8"}
    assert read_object_arguments({**texts, "compression": "zlib", "missing_value": "-1"}) == (
        ">i2",
        {
            "shape": [4, 5],
            "selection": [slice(0, 2), slice(None)],
            "axis": [1],
            "filters": "shuffle:4",
            "compression": "zlib",
            "offset": 8,
            "missing_value": [-1],
        },
    )


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("where", ["lat=-30:30"], "lat:-30..30"),
        ("where", ["lat=-30..30", "time=2000-01:2000-06"], "lat:-30..30,time:2000-01..2000-06"),
        ("where", ["lon=350:10:cyclic", "lat=~5"], "lon:350..10:cyclic,lat:~5"),
        ("where", ["lat:-30..30"], "lat:-30..30"),
        ("where", ["time=2000"], "time:2000"),
        ("selection", ["time=0:120", "0=0:3"], "time:0:120,0:0:3:"),
        ("selection", ["0:3,:"], "0:3,:"),
        ("axis", ["time", "lat,lon"], "time,lat,lon"),
        ("var", "tas", "tas"),
    ],
)
def test_options_have_the_notation_of_urls_and_that_of_python(name: str, options: Any, text: str) -> None:
    assert parameters._join(name, options) == text


def test_times_of_the_day_are_written_with_two_dots() -> None:
    with pytest.raises(InvalidArgument, match="several colons; write two dots"):
        parameters._join("where", ["time=2000-01-01T12:00:2000-01-02"])


@pytest.mark.parametrize(
    ("read", "texts", "message"),
    [
        (read_array_arguments, {"shape": "4"}, "shape: is a parameter of plain objects"),
        (read_object_arguments, {"dtype": "int8", "where": "lat:1..2"}, "where: is a parameter of whole arrays"),
        (read_array_arguments, {"ddof": "x"}, "ddof: 'x' is not an integer"),
    ],
)
def test_a_wrong_parameter_is_named(read: Any, texts: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^{message}"):
        read(texts)
