"""Shared code of tests: settings, engines, streams in pieces of any size, and requests to the application."""

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
    """Settings from these values and the defaults, without the environment and ``.env``."""

    class Bare(Settings):
        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, *_: Any, **__: Any) -> Any:
            return (init_settings,)

    return Bare(**values)


def make_engine(fetchers: Fetchers | None = None, sizes: Sizes | None = None, memory_bytes: int = ROOMY) -> Engine:
    """An engine, by default without fetchers, with the usual sizes and enough memory."""
    return Engine(MemoryGate(memory_bytes, memory_bytes), fetchers or Fetchers(0), sizes or Sizes())


def small_sizes(block: int, task: int) -> Sizes:
    """Small sizes of blocks and tasks, so that small objects are read like large ones."""
    return Sizes(block, task, fewest_tasks=2)


def reduce_source(
    spec: ReductionSpec, source: Source, engine: Engine | None = None, scope: Scope | None = None
) -> Reduction:
    """The reduction of a source, by default with a deadline of a minute."""
    return (engine or make_engine()).reduce(spec, source, scope or Scope.after(60))


def reduce_bytes(spec: ReductionSpec, data: bytes, read_bytes: int = ROOMY) -> Result:
    """The result of ``data``, which the source delivers in pieces of ``read_bytes``."""
    return reduce_source(spec, FakeSource(data, read_bytes=read_bytes)).result


def check_stream(spec: ReductionSpec, data: bytes) -> Result:
    """Pass if the result is the same to the last bit for pieces of any size, and return it."""
    result = reduce_bytes(spec, data)
    for read_bytes in (1, 3, spec.element_bytes + 1, 4093):
        if len(data) // read_bytes < 5000:
            assert reduce_bytes(spec, data, read_bytes) == result, f"in pieces of {read_bytes} bytes"
    return result


def value_of(result: Result) -> Any:
    """The value of a result that is a single value."""
    return np.frombuffer(result.data, np.dtype(result.dtype).newbyteorder("<"))[0]


def ask(
    app: flask.Flask, target: str, method: str = "GET", headers: Mapping[str, str] | None = None, **environ: Any
) -> TestResponse:
    """The application's reply to a request with this raw target."""
    overrides = {"RAW_URI": target, **environ}
    # A test client with cookies would remove the Cookie header of the request.
    return app.test_client(use_cookies=False).open(
        "/", method=method, headers=dict(headers or {}), environ_overrides=overrides, buffered=True
    )


def post_json(app: flask.Flask, path: str, body: Mapping[str, Any]) -> TestResponse:
    """The application's reply to a request of the JSON interface, with credentials."""
    token = base64.b64encode(b"key:secret").decode()
    return app.test_client().open(
        path, method="POST", data=json.dumps(body), headers={"Authorization": f"Basic {token}"}, buffered=True
    )


def read_error(response: TestResponse) -> dict[str, str]:
    """Check that a reply is an S3 error document, and return its fields."""
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
    """Pass if the text has no twelve consecutive characters of a secret."""
    for secret in secrets:
        pieces = {secret[start : start + 12] for start in range(len(secret) - 11)}
        assert not [piece for piece in pieces if piece in text]


class FakeClock(Clock):
    """A clock that a test advances. That wakes up threads that wait for it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._waiting: set[threading.Condition] = set()

    def __call__(self) -> float:
        return self._now

    def wait(self, changed: threading.Condition, until: float) -> None:
        # Added before the time is read, so that no advance is missed.
        self._waiting.add(changed)
        if self._now < until:
            changed.wait()

    def advance(self, seconds: float) -> None:
        """Advance the time, and wake up the threads that wait."""
        self._now += seconds
        for changed in list(self._waiting):
            with changed:
                changed.notify_all()


class Prompt(Fetchers):
    """Fetchers that always help, and finish before the stream continues."""

    def __init__(self) -> None:
        super().__init__(always=True)

    def submit(self, call: Callable[[], None]) -> Future[None]:
        called = super().submit(call)
        wait([called])
        return called
