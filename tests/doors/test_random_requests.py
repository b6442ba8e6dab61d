"""Random parameters through both doors of whole arrays: a result, or an error of the caller that names a parameter."""

import json
import random
import re
import warnings
from typing import Any
from urllib.parse import quote

import flask
import numpy as np
import pytest

from active_storage.grammar.arrays import ARRAY_NAMES
from active_storage.model.reducers import ARRAY_REDUCERS
from handler.app import create_app
from handler.stores.fake import FakeStore
from tests.array_replies import split_items
from tests.doors.array_stores import write_zarr
from tests.doors.test_arrays_json import STORE, post
from tests.helpers import ask, examples, make_settings

ROOT = "/bucket/s.zarr"
DIMS = ("time", "lat", "lon")

ARRAYS = ("tas", "packed", "unsigned", "flag", "complex", "whole", "half", "exp", "time", "lat", "scalar", "empty")
COORDINATES = (
    *("time", "time_odd", "time_nan", "lat", "lon", "zone", "edge", "big", "flags", "square", "scalar", "names"),
    *("nowhere", "empty", "", "g/lat", "0", "é", "a" * 300),
)
NUMBERS = (
    *("0", "1", "-1", "2.5", "281", "1e308", "-1e-320", "1e-5", ".5", "5.", "9" * 19, "9" * 21, "9" * 400),
    *("1e400", "nan", "inf", "-inf", "1_0", " 1", "", "x", "0x1", "²"),
)
DATES = (
    *("2000", "2000-01", "2000-02-30", "2000-13", "2000-01-15T00", "2000-01-15T10:20:30.5", "-0001", "99999-01-01"),
    *("2000-01-01T25", "2000-366", "20000101", "2000-02-30T00:00:00Z"),
)
EXPRESSIONS = (
    *("tas", "tas - 273.15", "sqrt(tas * packed)", "exp(exp)", "exp + tas", "tas / 0", "tas ** tas", "tas + lat"),
    *(
        "tas + square * time",
        "nowhere + tas",
        "1",
        "(",
        "tas +" * 200 + "tas",
        "(" * 50 + "tas" + ")" * 50,
        "1/0 + tas",
    ),
    *(
        "packed + unsigned",
        "flag + tas",
        "tas + names",
        "whole * whole",
        "tas + complex",
        "tas + coarse",
        "log(-1) * tas",
    ),
    *(
        "tas - scalar",
        "tas + empty",
        "lat * 2",
        "-" * 30 + "tas",
        "2 ** -tas",
        "tas if 1",
        "__import__('os')",
        "half * 9e4",
    ),
)
PARTS = ("", ":month", ":year", ":year-month", ":season", ":day", ":dayofyear", ":hour", ":30D", ":1Y", ":1h", ":")
WEIGHTS = ("cos:lat", "cos:", "cos:lon", "cos:edge", "area", "negative", "zeros", "lat", "scalar", "names", "flags", "")
VALUES: tuple[Any, ...] = (
    *([1] * 5, [[1] * 8] * 5, [[1], [2, 3]], [0.0] * 12, [10**400] * 5, [2**64] * 5, ["a"] * 5, [None] * 5, [True] * 5),
    *([{}] * 5, [], [[[]]], [1e308] * 5),
)
# Numbers of groups along lat, or along time.
GROUPS: tuple[Any, ...] = (
    *(
        [3, 1, None, 1.5, 3],
        [0, 0, 1, 2, 0],
        [None, *[0, 1] * 5, 2**63],
        [2**53 + 1, None, 0, 0, 0],
        [-1, 2**64 - 1] * 2,
    ),
    *([0, 1, 1, 0, "1"], None, {}, 5),
)


def _make_store() -> FakeStore:
    rng = np.random.default_rng(1)
    numbers = rng.integers(-100, 100, (12, 5, 8))
    months, packing = np.arange(12) * 30, {"scale_factor": 0.5, "add_offset": 3.0, "_FillValue": -7}
    objects: dict[str, bytes] = {}
    for name, values, dims, attributes in (
        ("tas", rng.normal(280, 10, numbers.shape).astype("f4"), DIMS, {"units": "K"}),
        ("packed", numbers.astype("i2"), DIMS, packing),
        ("unsigned", numbers.astype("i1"), DIMS, {"_Unsigned": "true"}),
        ("flag", numbers > 0, DIMS, {}),
        ("complex", numbers.astype("c8"), DIMS, {}),
        ("whole", numbers.astype("i8"), DIMS, {}),
        ("half", numbers.astype("f2"), DIMS, {}),
        ("exp", numbers.astype("f4"), DIMS, {}),
        ("coarse", numbers.astype("f8"), DIMS, {}),
        ("time", months, DIMS[:1], {"units": "days since 2000-01-15", "calendar": "360_day"}),
        ("time_odd", months, DIMS[:1], {"units": "fortnights since 2000-01-15"}),
        ("time_nan", np.append(months[1:], np.nan), DIMS[:1], {"units": "days since 2000-01-15"}),
        ("lat", np.linspace(80, -80, 5).astype("f4"), DIMS[1:2], {}),
        ("lon", np.arange(8) * 45, DIMS[2:], {}),
        ("zone", np.array([1, 1, 2, 0, 2], "i1"), DIMS[1:2], {}),
        ("edge", np.array([1, np.nan, np.inf, -np.inf, 1.5], "f4"), DIMS[1:2], {}),
        ("big", np.array([0, 2**63, 2**64 - 1, 5, 2**53 + 1], "u8"), DIMS[1:2], {}),
        ("flags", np.array([True, False, True, True, False]), DIMS[1:2], {}),
        ("names", np.array(["a", "b", "c", "d", "e"], "U3"), DIMS[1:2], {}),
        ("square", np.zeros((5, 8)), DIMS[1:], {}),
        ("area", rng.random((5, 8)), DIMS[1:], {}),
        ("negative", -rng.random((5, 8)), DIMS[1:], {}),
        ("zeros", np.zeros((5, 8)), DIMS[1:], {}),
        ("scalar", np.float64(3), (), {}),
        ("empty", np.zeros((0, 5), "f4"), ("none", "lat"), {}),
    ):
        chunks: tuple[int, ...] = (
            (4, 3, 3) if name == "coarse" else (5, 3, 3) if np.ndim(values) == 3 else np.shape(values)
        )
        chunks = tuple(max(1, each) for each in chunks)
        objects |= write_zarr(
            f"{ROOT}/{name}", np.asarray(values), dimensions=dims, chunks=chunks, attributes=attributes
        )
    return FakeStore(objects)


@pytest.fixture(scope="module")
def app() -> flask.Flask:
    return create_app(make_settings(s3_endpoint=STORE), _make_store())


class Draw(random.Random):
    """Random parameters, as texts of the plain-URL door."""

    def bound(self) -> str:
        return self.choice([*NUMBERS, *DATES, "..", "~"])

    def place(self) -> str:
        low, dots = self.choice(["", "~"]) + self.bound(), self.choice(["", "..", f"..{self.bound()}"])
        return f"{self.choice(COORDINATES)}:{low}{dots}{self.choice(['', '', ':cyclic'])}"

    def several(self, items: Any, most: int = 3) -> str:
        return ",".join(self.choice(items) for _ in range(self.randint(0, most)))

    def parameter(self, name: str) -> str:
        """The text of a parameter."""
        if name in ("valid_range", "missing_values"):
            return self.several(NUMBERS)
        texts: dict[str, Any] = {
            "axis": lambda: self.several(["time", "lat", "lon", "0", "1", "-1", "9", "x", "", "9" * 30]),
            "selection": lambda: self.several(
                [":", "::2", "::-1", "0:1", "5:2", "time:0:4", "lat:::-1", "x:1:2", "::0"]
            ),
            "where": lambda: ",".join(self.place() for _ in range(self.randint(1, 2))),
            "group": lambda: self.choice(COORDINATES) + self.choice(PARTS),
            "bins": lambda: self.choice(["-90,0,90", "0,1,2", "1", "nan,1", "2,1", "1e400,2", "9" * 21, ""]),
            "weights": lambda: self.choice(WEIGHTS),
            "other": lambda: self.choice([*ARRAYS, "names", "coarse", "nowhere", ""]),
            "expr": lambda: self.choice(EXPRESSIONS),
            "decode": lambda: self.choice(["cf", "xarray", "none", "x", ""]),
            "edges": lambda: self.choice(["0,1,2", "250,280,300", "x", "1", "2,1", "nan,1", ""]),
            "q": lambda: self.choice(["0.5", "0.1,0.9", "2", "x", ""]),
            "method": lambda: self.choice(["linear", "lower", "x"]),
            "skipna": lambda: self.choice(["true", "false", "x"]),
            "absent": lambda: self.choice(["403", "404"]),
            "var": lambda: self.choice(ARRAYS),
        }
        return str(texts.get(name, lambda: self.choice(NUMBERS))())

    def request(self) -> tuple[str, str, dict[str, str]]:
        """A reducer, an array, and parameters: mostly a few that can be right together."""
        reducer = self.choice([*ARRAY_REDUCERS, "nothing"])
        names = sorted(ARRAY_NAMES - {"var"})
        parameters = {name: self.parameter(name) for name in self.sample(names, self.choice([1, 1, 2, 2, 3, 6]))}
        if self.random() < 0.5:
            parameters["axis"] = self.choice(["time", "lat,lon", "time,lat,lon", "1"])
        if reducer in ("cov", "corr") and self.random() < 0.8:
            parameters["other"] = "packed"
        if reducer == "quantile" and self.random() < 0.8:
            parameters["q"] = "0.5"
        array = "tas" if "expr" in parameters or self.random() < 0.6 else self.choice(ARRAYS)
        return reducer, array, parameters

    def value(self, text: str) -> Any:
        """The text or the number that it is, as a member of JSON."""
        try:
            return self.choice([text, float(text), int(float(text)), int(text)])
        except (ValueError, OverflowError):
            return text

    def members(self, parameters: dict[str, str]) -> dict[str, Any]:
        """The same parameters as members of JSON."""
        members: dict[str, Any] = {}
        for name, text in parameters.items():
            items = text.split(",") if text else []
            if name == "where":
                for item in items:
                    coordinate, _, rule = item.partition(":")
                    low, _, high = rule.partition("..")
                    place = {"nearest": self.value(low[1:])} if rule.startswith("~") else {"from": self.value(low)}
                    place |= {"to": self.value(high)} if high else {}
                    members.setdefault("selection", {})[coordinate] = place | self.choice([{}, {"cyclic": True}])
            elif name == "selection":
                bounds = [self.choice([None, 0, 5, -3, 10**18, 10**30]) for _ in range(3)]
                members.setdefault("selection", {})[self.choice(["time", "0", "lat", "x"])] = {"index": bounds}
            elif name in ("weights", "group") and self.random() < 0.4:
                dims = self.choice([["lat"], ["lat"], ["lat", "lon"], ["time"], [0], [-2], ["x"], [5], [], "lat"])
                members[name] = {"dims": dims, "values": self.choice([*VALUES, *GROUPS])}
            elif name == "weights":
                members[name] = {"cos": text[4:]} if text.startswith("cos:") else {"array": text}
            elif name in ("valid_range", "missing_values", "missing_value", "valid_min", "valid_max"):
                values = [self.value(item) for item in items]
                is_list = name in ("valid_range", "missing_values")
                members.setdefault("missing", {})[name] = values if is_list else self.value(text)
            elif name in ("axis", "bins", "edges", "q"):
                members[name] = [self.value(item) for item in items]
            elif name == "skipna":
                members[name] = {"true": True, "false": False}.get(text, text)
            else:
                members[name] = self.value(text)
        return members


def _names_parameter(text: str) -> bool:
    """Whether an error names a parameter, an array, or the reducer."""
    message = re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
    cause = message[1] if message else json.loads(text)["error"]
    if isinstance(cause, dict):
        cause = cause.get("caused_by", [cause["message"]])[0]
    names = "|".join([*map(re.escape, ARRAY_NAMES), "array", "reducer", "missing", "dtype", "answer"])
    return re.search(rf"\b(?:{names})\b", cause) is not None


@pytest.mark.parametrize("door", ["url", "json"])
def test_random_parameters_give_a_result_or_name_what_is_wrong(app: flask.Flask, door: str) -> None:
    statuses = []
    for number in range(examples(600)):
        draw = Draw(number)
        reducer, array, parameters = draw.request()
        with warnings.catch_warnings():
            # A warning of numpy's is a case that nobody thought of.
            warnings.simplefilter("error")
            if door == "url":
                segment = "".join(f";{name}={quote(text, safe=':,~')}" for name, text in parameters.items())
                question: Any = f"/{reducer}/zarr{segment}{ROOT}/{array}"
                reply = ask(app, question)
            else:
                members = draw.members(parameters)
                if draw.random() < 0.2:
                    members["answer"] = draw.choice(["progress", "partials"])
                store = {"type": "zarr", "url": f"{STORE}{ROOT}", "array": array}
                question = reducer, {"store": store, **members}
                reply = post(app, *question)
        statuses.append(reply.status_code)
        if reply.status_code != 200:
            assert 400 <= reply.status_code < 500, (question, reply.text)
            assert _names_parameter(reply.text), (question, reply.text)
        elif reply.headers["Content-Type"] == "application/cbor-seq":
            last = split_items(reply.data)[-1]
            assert last["type"] == "end" or last["status"] < 500, (question, last)
    assert statuses.count(200) > len(statuses) // 20
