"""What many tests do in the same way: feed a stream in every way, ask the application for a target as it is sent."""

import base64
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Any
from xml.etree import ElementTree as ET

import flask
import hypothesis
import numpy as np
from werkzeug.test import TestResponse

from active_storage.model.spec import ReductionSpec
from handler.engine.engine import Engine, Reduction
from handler.engine.executor import Fetchers
from handler.engine.memory import MemoryGate
from handler.engine.result import Result
from handler.kernels.sizes import Sizes
from handler.scope import Clock, Scope
from handler.settings import Settings
from handler.stores.fake import FakeSource
from handler.stores.source import Source

ROOMY = 1 << 30

BLOCK_BYTES = Sizes().block_bytes


def examples(count: int) -> int:
    """How many cases hypothesis tries of a test: ``count``, or more where the profile asks for more."""
    assert hypothesis.settings.default
    return max(1, count * hypothesis.settings.default.max_examples // 100)


def make_settings(**values: Any) -> Settings:
    """Settings from these values and the defaults; the environment and ``.env`` are not asked."""

    class Bare(Settings):
        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, *_: Any, **__: Any) -> Any:
            return (init_settings,)

    return Bare(**values)


def make_engine(fetchers: Fetchers | None = None, sizes: Sizes | None = None, memory_bytes: int = ROOMY) -> Engine:
    """An engine that nobody helps, with blocks and memory as usual, or as they are given."""
    return Engine(MemoryGate(memory_bytes, memory_bytes), fetchers or Fetchers(0), sizes or Sizes())


def small_sizes(block: int, task: int) -> Sizes:
    """Small blocks, and objects cut into two tasks or more: small ones are then read as large ones are."""
    return Sizes(block, task, fewest_tasks=2)


def reduce_source(
    spec: ReductionSpec, source: Source, engine: Engine | None = None, scope: Scope | None = None
) -> Reduction:
    """What an engine makes of a source, by default in a minute at most."""
    return (engine or make_engine()).reduce(spec, source, scope or Scope.after(60))


def reduce_bytes(spec: ReductionSpec, data: bytes, read_bytes: int = ROOMY) -> Result:
    """The engine's result of ``data``, which comes in pieces of ``read_bytes``."""
    return reduce_source(spec, FakeSource(data, read_bytes=read_bytes)).result


def check_stream(spec: ReductionSpec, data: bytes) -> Result:
    """The same result, to the last bit, whatever pieces the bytes come in; that result."""
    result = reduce_bytes(spec, data)
    for read_bytes in (1, 3, spec.element_bytes + 1, 4093):
        if len(data) // read_bytes < 5000:
            assert reduce_bytes(spec, data, read_bytes) == result, f"in pieces of {read_bytes} bytes"
    return result


def value_of(result: Result) -> Any:
    """The single value of a result, as numpy reads it."""
    return np.frombuffer(result.data, np.dtype(result.dtype).newbyteorder("<"))[0]


def ask(
    app: flask.Flask, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, **environ: Any
) -> TestResponse:
    """The application's answer to a request target, which arrives as it is written here."""
    overrides = {"RAW_URI": target, **environ}
    # With cookies of its own, the client would take those of the headers away.
    return app.test_client(use_cookies=False).open(
        "/", method=method, headers=dict(headers or {}), environ_overrides=overrides, buffered=True
    )


def post_json(app: flask.Flask, path: str, body: Mapping[str, Any]) -> TestResponse:
    """The application's answer to a request of the JSON interface, in somebody's name."""
    token = base64.b64encode(b"key:secret").decode()
    return app.test_client().open(
        path, method="POST", data=json.dumps(body), headers={"Authorization": f"Basic {token}"}, buffered=True
    )


def read_error(response: TestResponse) -> dict[str, str]:
    """The fields of an S3 error document, having checked that it is one."""
    assert response.headers["Content-Type"] == "application/xml"
    document = ET.fromstring(response.data)
    assert document.tag == "Error"
    fields = {element.tag: element.text or "" for element in document}
    assert list(fields) in (
        ["Code", "Message", "Resource", "RequestId"],
        ["Code", "Message", "Resource", "RequestId", "Region"],
    )
    assert fields["RequestId"] == response.headers["x-amz-request-id"]
    return fields


def check_no_secret(text: str, secrets: Iterable[str]) -> None:
    """No twelve characters of a secret are in the text."""
    for secret in secrets:
        pieces = {secret[start : start + 12] for start in range(len(secret) - 11)}
        assert not [piece for piece in pieces if piece in text]


class FakeClock(Clock):
    """Time that passes when a test says so; who waits for it then wakes up."""

    def __init__(self) -> None:
        self._now = 0.0
        self._waiting: set[threading.Condition] = set()

    def __call__(self) -> float:
        return self._now

    def wait(self, changed: threading.Condition, until: float) -> None:
        # Known before the time is looked at, so that no advance is missed.
        self._waiting.add(changed)
        if self._now < until:
            changed.wait()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
        for changed in list(self._waiting):
            with changed:
                changed.notify_all()


class Prompt(Fetchers):
    """Fetchers who come however busy a stream is, and are done before it goes on."""

    def __init__(self) -> None:
        super().__init__(always=True)

    def submit(self, call: Callable[[], None]) -> Future[None]:
        called = super().submit(call)
        wait([called])
        return called
