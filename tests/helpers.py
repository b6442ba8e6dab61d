"""What many tests do in the same way: feed a stream in every way, ask the application for a target as it is sent."""

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from typing import Any
from xml.etree import ElementTree as ET

import flask
import numpy as np
import pytest
from werkzeug.test import TestResponse

from handler.core import blocks, select
from handler.core.result import Result
from handler.memory import MemoryGate
from handler.parts import Helpers
from handler.pipeline import run
from handler.settings import Settings
from handler.spec import ReductionSpec
from handler.upstream.fake import FakeSource

ROOMY = 1 << 30


def make_settings(**values: Any) -> Settings:
    """Settings from these values and the defaults; the environment and ``.env`` are not asked."""

    class Bare(Settings):
        @classmethod
        def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, *_: Any, **__: Any) -> Any:
            return (init_settings,)

    return Bare(**values)


def reduce_bytes(spec: ReductionSpec, data: bytes, read_bytes: int = ROOMY) -> Result:
    """The pipeline's result of ``data``, which comes in pieces of ``read_bytes``."""
    return run(spec, FakeSource(data, read_bytes=read_bytes), MemoryGate(ROOMY, ROOMY), Helpers(0)).result


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
    assert list(fields) == ["Code", "Message", "Resource", "RequestId"]
    assert fields["RequestId"] == response.headers["x-amz-request-id"]
    return fields


def check_no_secret(text: str, secrets: Iterable[str]) -> None:
    """No twelve characters of a secret are in the text."""
    for secret in secrets:
        pieces = {secret[start : start + 12] for start in range(len(secret) - 11)}
        assert not [piece for piece in pieces if piece in text]


class Prompt(Helpers):
    """Helpers who come however busy a stream is, and are done before it goes on."""

    def __init__(self) -> None:
        super().__init__(always=True)

    def call(self, task: Callable[[], None]) -> list[Future[None]]:
        called = super().call(task)
        wait(called)
        return called


def use_blocks(monkeypatch: pytest.MonkeyPatch, block: int, part: int) -> None:
    """Read arrays in blocks, and cut walks into two parts or more, of so many bytes, until the test is over."""
    for module in (blocks, select):
        monkeypatch.setattr(module, "BLOCK_BYTES", block)
    monkeypatch.setattr(blocks, "_spare_buffers", [])
    monkeypatch.setattr(select, "_PART_BYTES", part)
    monkeypatch.setattr(select, "_LEAST_PARTS", 2)
    # Plans are kept, with blocks of the size that they were made for.
    monkeypatch.setattr(select, "_make_plan", select._make_plan.__wrapped__)
