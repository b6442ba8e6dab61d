"""Canaries: events with a known secret in every place that can have one. No secret may be visible afterwards.

It may not be in the reply (except route and token, in the two headers for them), in the log, or in the ``repr`` of any
object of ours: while a request is handled, the local variables of all our functions are inspected.
"""

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import pytest
from werkzeug.test import TestResponse

import active_storage
import handler
from handler.engine.engine import Engine
from handler.settings import Settings
from tests.events import make_event, post
from tests.faulty_store import CHAPTERS, Behaviour, FaultyStore, cuts_off, first, holds, service, well
from tests.helpers import check_no_secret, make_settings

ROUTE = "cAnArYrOuTe" * 3
TOKEN = "7a9c0b1d" * 8
LINK_SIGNATURE = "c0ffee00" * 8
CLIENT_SIGNATURE = "badc0de5" * 8
LINK_KEY = "AKIACANARYLINK777777"
CLIENT_KEY = "AKIACANARYCLIENT8888"
SESSION = "FwoGZXIvYXdzEJr//CaNaRy+" * 8 + "=="
CUSTOMERS_KEY = "Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5Q2FuYXJ5MDE="
COOKIE = "session-of-the-canary-in-the-cookie"
WEBHOOK_TOKEN = "canary-token-of-the-webhook"
OTHER_WEBHOOK_TOKEN = "canary-token-of-the-webhook-to-come"
WRONG_TOKEN = "canary-token-of-somebody-else"
OBJECT_KEY = "canary-name-of-a-private-object"

SECRETS = (
    *(ROUTE, TOKEN, LINK_SIGNATURE, CLIENT_SIGNATURE, LINK_KEY, CLIENT_KEY, SESSION, quote(SESSION, safe="")),
    *(CUSTOMERS_KEY, COOKIE, WEBHOOK_TOKEN, OTHER_WEBHOOK_TOKEN, WRONG_TOKEN),
)
# An object's key is private too, although it gives no access.
PRIVATE = (*SECRETS, OBJECT_KEY)

_SCOPE = "20261123/us-east-1/s3/aws4_request"
LINK_QUERY = (
    f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(f'{LINK_KEY}/{_SCOPE}', safe='')}"
    f"&X-Amz-Date=20261123T060000Z&X-Amz-Expires=3600&X-Amz-Security-Token={quote(SESSION, safe='')}"
    f"&X-Amz-SignedHeaders=host&X-Amz-Signature={LINK_SIGNATURE}"
)
HEADERS = {
    "Authorization": [f"AWS4-HMAC-SHA256 Credential={CLIENT_KEY}/{_SCOPE}, SignedHeaders=host, {CLIENT_SIGNATURE}"],
    "X-Amz-Security-Token": [SESSION],
    "X-Amz-Server-Side-Encryption-Customer-Algorithm": ["AES256"],
    "X-Amz-Server-Side-Encryption-Customer-Key": [CUSTOMERS_KEY],
    "Cookie": [COOKIE],
}
QUERY = f"X-Amz-Signature={CLIENT_SIGNATURE}&X-Amz-Credential={CLIENT_KEY}"

OURS = tuple(str(Path(str(package.__file__)).parent) for package in (active_storage, handler))


def event_for(store: str, query: str = "", headers: Mapping[str, Any] | None = None, **members: Any) -> dict[str, Any]:
    """An event about an object of a store, with secrets in every place."""
    event = make_event(
        f"{store}/bucket/{OBJECT_KEY}?{LINK_QUERY}",
        f"/bucket/{OBJECT_KEY}?lambdaArn=a&{QUERY}&{query}",
        {**HEADERS, **(headers or {})},
        ROUTE,
        TOKEN,
    )
    event["userIdentity"] = {"type": "IAMUser", "principalId": CLIENT_KEY, "accessKeyId": CLIENT_KEY}
    event["getObjectContext"] |= members
    return event


@dataclass(frozen=True)
class Scenario:
    """An event and its outcome.

    Attributes:
        status: The status of the reply.
        event: Makes the event, or the bytes of the body, from the store's origin.
        path: The path to which it is posted.
        behave: The behaviour of the store.
        authorization: The ``Authorization`` header; None for no header.
    """

    status: int
    event: Callable[[str], Any] = event_for
    path: str = "/sum/float32"
    behave: Behaviour = well
    authorization: str | None = f"Bearer {WEBHOOK_TOKEN}"


def with_host(host: str) -> Callable[[str], Any]:
    return lambda store: event_for(store.replace("127.0.0.1", host))


SCENARIOS: Mapping[str, Scenario] = {
    "success": Scenario(200),
    "success by the other token": Scenario(200, authorization=f"Bearer {OTHER_WEBHOOK_TOKEN}"),
    "success, resumed": Scenario(200, behave=first(cuts_off(1001))),
    "success, of a range": Scenario(200, lambda store: event_for(store, headers={"Range": ["bytes=0-7"]})),
    "no token": Scenario(401, authorization=None),
    "a wrong token": Scenario(403, authorization=f"Bearer {WRONG_TOKEN}"),
    "truncated JSON": Scenario(400, lambda store: json.dumps(event_for(store)).encode()[:-1]),
    "JSON followed by a word": Scenario(400, lambda store: json.dumps(event_for(store)).encode() + LINK_KEY.encode()),
    "a newline in the route": Scenario(400, lambda store: event_for(store, outputRoute=f"{ROUTE}\r\n{TOKEN}")),
    "a list for a token": Scenario(400, lambda store: event_for(store, outputToken=[TOKEN])),
    "no link": Scenario(400, lambda store: event_for(store, inputS3Url={LINK_SIGNATURE: 1})),
    "a malformed link": Scenario(400, lambda store: event_for(store, inputS3Url=LINK_QUERY)),
    "a link with a space": Scenario(400, lambda store: event_for(f"{store}/a b")),
    "a link with credentials": Scenario(400, with_host(f"{CLIENT_KEY}:{LINK_SIGNATURE}@127.0.0.1")),
    "an origin that is not allowed": Scenario(403, with_host("evil.example")),
    "a malformed header": Scenario(400, lambda store: event_for(store, headers={"A": [f"{COOKIE}\r\n"]})),
    "a malformed range": Scenario(400, lambda store: event_for(store, headers={"Range": [COOKIE]})),
    "a condition": Scenario(412, lambda store: event_for(store, headers={"If-Match": [f'"{COOKIE}"']})),
    "a conflict": Scenario(400, lambda store: event_for(store, "dtype=int8")),
    "a name that is given twice": Scenario(400, lambda store: event_for(store, "axis=0&axis=1")),
    "another version": Scenario(501, lambda store: event_for(store, f"versionId={COOKIE}")),
    "an unknown reducer": Scenario(404, path="/median/float32"),
    "a bad data type": Scenario(400, path="/sum/float31"),
    "an endpoint with something else in its query": Scenario(400, path=f"/sum/float32?token={COOKIE}"),
    "half an element": Scenario(400, behave=holds(bytes(7))),
    "a body that breaks off": Scenario(502, behave=cuts_off(1001)),
    **{
        fault.does: Scenario(fault.whole.status, behave=fault.behave)
        for chapter in ("Refusals", "Redirects", "Repeated secrets")
        for fault in CHAPTERS[chapter]
        if fault.behave and not fault.settings
    },
}


class Observer:
    """A profile function that collects the ``repr`` of our objects in the local variables of our functions.

    Attributes:
        seen: The ``repr`` of each object, at the end of each function.
    """

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def __call__(self, frame: FrameType, happened: str, _: object) -> None:
        # At the end of __init__ an object may be incomplete, so that its repr fails.
        if happened == "return" and frame.f_code.co_name != "__init__" and frame.f_code.co_filename.startswith(OURS):
            self.seen |= {repr(each) for each in frame.f_locals.values() if has_our_repr(each)}


def has_our_repr(value: object) -> bool:
    """Whether a class of ours is among the bases of the value's class."""
    return any(each.__module__.partition(".")[0] in ("active_storage", "handler") for each in type(value).__mro__)


@contextlib.contextmanager
def observing() -> Iterator[Observer]:
    observer = Observer()
    before = sys.getprofile()
    sys.setprofile(observer)
    try:
        yield observer
    finally:
        sys.setprofile(before)


@dataclass
class Seen:
    """Everything that is visible of a request."""

    response: TestResponse
    objects: set[str] = field(default_factory=set)


def run_scenario(scenario: Scenario) -> Seen:
    """The reply to the event of a scenario, and the objects that existed meanwhile."""
    tokens = f"{WEBHOOK_TOKEN},{OTHER_WEBHOOK_TOKEN}"
    headers = {"Authorization": scenario.authorization} if scenario.authorization else {}
    with FaultyStore(scenario.behave) as store, service(store, webhook_tokens=tokens, log_level="debug") as (app, _):
        event = scenario.event(store.url)
        with observing() as observer:
            response = post(app, scenario.path, event, headers)
        return Seen(response, observer.seen)


def check_not_visible(seen: Seen, log: str) -> None:
    """Pass if no secret is in the reply, the log or an object, except route and token in their headers."""
    for name, value in (("x-amz-request-route", ROUTE), ("x-amz-request-token", TOKEN)):
        assert seen.response.headers.getlist(name) in ([], [value])
        seen.response.headers.remove(name)
    check_no_secret(f"{seen.response.headers}{seen.response.data.decode('latin-1')}", PRIVATE)
    check_no_secret(log, PRIVATE)
    for each in seen.objects:
        check_no_secret(each, SECRETS)


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_no_secret_of_an_event_is_visible(
    scenario: Scenario, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    seen = run_scenario(scenario)
    assert seen.response.status_code == scenario.status, seen.response.data
    log = capfd.readouterr()
    assert '"door": "webhook"' in log.err
    check_not_visible(seen, f"{log.out}{log.err}")
    # urllib3 logs the path, but not the query, at the debug level.
    check_no_secret(caplog.text, SECRETS)
    kinds = {re.split("[( ]", each.lstrip("<"))[0] for each in seen.objects}
    assert {"Request", "Service", "Reply"} <= kinds
    if scenario.status == 200:
        assert {"LambdaEvent", "Echo", "StoreRequest", "Question", "ReductionSpec"} <= kinds


def test_no_secret_is_visible_after_an_unexpected_exception(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")

    def fail(*arguments: object) -> None:
        raise ValueError(SECRETS)

    monkeypatch.setattr(Engine, "reduce", fail)
    seen = run_scenario(Scenario(500))
    assert seen.response.status_code == 500
    check_not_visible(seen, capfd.readouterr().err)
    check_no_secret(caplog.text, SECRETS)


def test_a_bad_token_in_the_settings_is_not_shown() -> None:
    with pytest.raises(ValueError, match="webhook_tokens") as caught:
        make_settings(webhook_tokens=",".join(SECRETS))
    check_no_secret(str(caught.value), SECRETS)
    check_no_secret(repr(make_settings(webhook_tokens=WEBHOOK_TOKEN)), SECRETS)
    assert Settings.model_config["hide_input_in_errors"]
