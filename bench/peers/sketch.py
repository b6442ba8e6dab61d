"""The least that could be a service: what it reaches is surely possible on this machine, and none of it is checked.

No limits, no retries, no deadline, no ETag, no log, one data type. It measures the machine: targets that were set by
another machine's sketch mean as much here as this one reaches of them.
"""

import threading
from typing import Any

import cbor2
import numpy as np
import requests
from flask import Flask, Response, request
from requests.adapters import HTTPAdapter

_BLOCK_BYTES = 256 * 1024

_ADAPTER = HTTPAdapter(pool_maxsize=32)
_LOCAL = threading.local()

app = Flask(__name__)


@app.post("/v2/sum/")
def add_up() -> Response:
    """The sum of an object of float32."""
    if not hasattr(_LOCAL, "block"):
        _LOCAL.block = memoryview(bytearray(_BLOCK_BYTES))
    block = _LOCAL.block
    asked = requests.Request("GET", request.get_json()["url"]).prepare()
    answer = _ADAPTER.send(asked, stream=True, timeout=60)
    body: Any = answer.raw._fp  # noqa: SLF001  # http.client's, which fills a buffer
    missing, total = int(answer.headers["Content-Length"]), 0.0
    while missing:
        read = body.readinto(block[: min(missing, len(block))])
        missing -= read
        total += float(np.frombuffer(block[:read], "<f4").sum(dtype=np.float64))
    answer.raw.release_conn()
    return Response(cbor2.dumps({"bytes": np.float32(total).tobytes()}), mimetype="application/cbor")
