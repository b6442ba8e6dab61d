"""An array that takes longer than DEADLINE, asked of real services, of which one is killed before it has answered.

The store is slow on purpose: it holds back the chunks of a section until the test has received the section before and
lets them through.
"""

import os
import re
import signal
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

import cbor2
import numcodecs
import numpy as np
import pytest
import requests
import urllib3

from deploy.local.service import service
from deploy.local.store import Store
from handler.settings import ENV_PREFIX
from tests.array_replies import Item, join
from tests.doors.array_stores import write_zarr
from tests.faulty_store import Call, FaultyStore, answer_well, refusal, send
from tests.live.processes import find_listeners

pytestmark = pytest.mark.live

DEADLINE_SECONDS = 3
SECTIONS = 6
# All sections together take longer than DEADLINE, and each one takes a fifth of it and the time to compute.
PAUSE_SECONDS = DEADLINE_SECONDS / (SECTIONS - 1)

# A section is 32 MiB of decoded data: two chunks.
SECTION_CHUNKS = 2
CHUNK_SHAPE = (1, 2048, 1024)
CHUNKS = SECTIONS * SECTION_CHUNKS

PATH = "/bucket/store.zarr/tas"
AXIS = ["time", "lat"]


class PacedStore:
    """A behaviour of ``FaultyStore``: a Zarr array, whose chunks from some number on are held back.

    Args:
        objects: The objects by their paths.
    """

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self._objects = objects
        self._passing = 0
        self._changed = threading.Condition()

    def let_through(self, chunks: int) -> None:
        """Answer requests for the first chunks, also those that wait, and hold back the others."""
        with self._changed:
            self._passing = chunks
            self._changed.notify_all()

    def __call__(self, call: Call) -> None:
        path = call.head.split(b" ")[1].decode()
        if (data := self._objects.get(path)) is None:
            send(call, refusal("404 Not Found", "NoSuchKey", "There is no such key."))
            return
        name = path.rpartition("/")[2]
        if not name.startswith("."):
            number = int(name.partition(".")[0])
            with self._changed:
                self._changed.wait_for(lambda: number < self._passing)
        send(call, answer_well(call, data, f'"{zlib.crc32(data):08x}"'))


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    """An array of 192 MiB that compresses well. Its sums depend on the order of the additions."""
    few = np.random.default_rng(8).normal(size=(CHUNKS, 1, CHUNK_SHAPE[2]))
    values = np.broadcast_to(few, (CHUNKS, *CHUNK_SHAPE[1:]))
    codec = numcodecs.Zlib(1)
    return write_zarr(PATH, values, chunks=CHUNK_SHAPE, compressors=codec, dimensions=("time", "lat", "lon"))


@dataclass(frozen=True)
class Scene:
    """Two services, and the store behind them.

    Attributes:
        store: Its origin.
        pace: What it lets through.
        services: The addresses of the services.
        session: The client.
    """

    store: str
    pace: PacedStore
    services: tuple[str, str]
    session: requests.Session

    def post(self, service: str, name: str, **members: Any) -> requests.Response:
        """The response to a request about the array, whose body is not read yet."""
        body = {"store": {"type": "zarr", "url": f"{self.store}/bucket/store.zarr", "array": "tas"}, "axis": AXIS}
        response = self.session.post(f"{service}/arrays/v1/{name}", json=body | members, stream=True, timeout=60)
        assert response.status_code == 200, response.text
        return response

    def ask(self, service: str, name: str) -> Item:
        """The reply to a request about the array."""
        with self.post(service, name) as response:
            reply: Item = cbor2.loads(response.content)
        return reply

    def receive(self, service: str, **members: Any) -> Iterator[Item]:
        """The items of a reply as they come: until its ``end``, or until the connection breaks."""
        with self.post(service, "mean", **members) as response:
            raw: Any = response.raw
            decoder = cbor2.CBORDecoder(raw)
            try:
                while True:
                    item = decoder.decode()
                    yield item
                    if item["type"] == "end":
                        return
            except (urllib3.exceptions.HTTPError, cbor2.CBORDecodeEOF):
                return

    def let_section_through(self, number: int) -> None:
        """After a pause, let the chunks of a section through."""
        time.sleep(PAUSE_SECONDS)
        self.pace.let_through((number + 1) * SECTION_CHUNKS)


@pytest.fixture
def scene(objects: dict[str, bytes]) -> Iterator[Scene]:
    pace = PacedStore(objects)
    settings = {f"{ENV_PREFIX}DEADLINE": f"{DEADLINE_SECONDS}s", f"{ENV_PREFIX}WORKERS": "1"}
    with ExitStack() as stack:
        store = stack.enter_context(FaultyStore(pace))
        first, second = (stack.enter_context(service(Store(store.url), settings)) for _ in range(2))
        session = stack.enter_context(requests.Session())
        session.trust_env = False
        # Neither the services nor the store end while requests wait.
        stack.callback(pace.let_through, CHUNKS)
        yield Scene(store.url, pace, (first, second), session)


def kill(service: str) -> None:
    """End a service at once, with all its processes."""
    [group] = {os.getpgid(process.pid) for process in find_listeners(service)}
    os.killpg(group, signal.SIGKILL)


def test_a_plain_url_answers_504_and_names_the_json_door(scene: Scene) -> None:
    scene.pace.let_through(SECTION_CHUNKS)
    url = f"{scene.services[0]}/mean/zarr;axis={','.join(AXIS)}{PATH}"
    with scene.session.get(url, timeout=60) as response:
        assert response.status_code == 504
        error = ET.fromstring(response.content)
    assert error.findtext("Code") == "DeadlineExceeded"
    assert re.search(rf"after \d+ of {CHUNKS} chunks .*POST /arrays/v1/", error.findtext("Message") or "")


def test_progress_answers_in_one_request(scene: Scene) -> None:
    items: list[Item] = []
    for item in scene.receive(scene.services[0], answer="progress"):
        # One that is sent while a section takes long.
        if item["type"] == "progress" and item["sections"] < len(items):
            continue
        if item["type"] in ("header", "progress"):
            scene.let_section_through(len(items))
        items.append(item)
    assert [item["type"] for item in items] == ["header", *["progress"] * SECTIONS, "result", "end"]
    assert items[-2]["bytes"] == scene.ask(scene.services[0], "mean")["bytes"]


def test_another_service_gives_the_sections_that_a_killed_one_did_not(scene: Scene) -> None:
    first, second = scene.services
    plan = scene.ask(first, "plan")
    assert plan["sections"] == SECTIONS

    came: list[Item] = []
    for item in scene.receive(first, answer="partials", plan=plan["digest"]):
        if len(came) < 2:
            scene.let_section_through(len(came))
        else:
            # Two sections have come. The store holds back a chunk of the third one.
            kill(first)
        came.append(item)
    header, *sections = came
    assert [section["section"] for section in sections] == [0, 1]

    lacking = [len(sections), plan["sections"]]
    rest: list[Item] = []
    for item in scene.receive(second, answer="partials", plan=plan["digest"], sections=lacking):
        if item["type"] != "end":
            scene.let_section_through(len(sections) + len(rest))
        rest.append(item)
    other_header, *others, end = rest
    of_chunks = (SECTIONS - 2) * SECTION_CHUNKS
    assert other_header == header | {"sections": lacking, "of_chunks": of_chunks}
    assert end == {"type": "end"}
    sections += others
    assert [section["section"] for section in sections] == list(range(SECTIONS))

    whole = scene.ask(second, "mean")
    assert join(header, sections).tobytes() == whole["bytes"]
    assert whole["count"] == [CHUNKS * CHUNK_SHAPE[1]] * CHUNK_SHAPE[2]
