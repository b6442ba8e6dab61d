"""What a store says of a request loses what was sent in confidence, whatever part of that it repeats."""

import base64
import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from active_storage.errors import StoreError, WrongRegion
from handler.stores.answers import read_failure
from handler.stores.hiding import _MAX_SENT_CHARACTERS, Secrets
from tests.faulty_store import FaultyStore, plain, says, service
from tests.stores.test_transport import document, fail

TOKEN = "FwoGZXIvYXdzEJr//" + "".join(f"{number:x}Qz" for number in range(400))
PASSWORD = "correct-horse battery:staple"
BASIC = base64.b64encode(f"somebody-else:{PASSWORD}".encode()).decode()
V4 = "authorization=AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261123/us-east-1/s3/aws4_request, SignedHeaders={}, "


@pytest.mark.parametrize(
    ("sent", "said", "message"),
    [
        # The beginning, the end and the middle of a token.
        (f"x-amz-security-token={TOKEN}", f"token {TOKEN[:200]} is bad", "token *** is bad"),
        (f"/b/k?X-Amz-Security-Token={TOKEN}&x=1", f"token {TOKEN[-9:]}", "token ***"),
        (f"x-amz-security-token={TOKEN}", f"token {TOKEN[50:58].upper()}", "token ***"),
        (f"x-amz-security-token={TOKEN}", f"token {TOKEN[50:57]}", f"token {TOKEN[50:57]}"),
        (f"/b/k?access={TOKEN}", f"got {TOKEN[100:112]}", "got ***"),
        ("/b/k?X-Amz-Signature=" + "0123456789abcdef" * 4, "you sent 456789ABCDEF0", "you sent ***"),
        # Basic, as it was sent, and as the server reads it.
        (f"authorization=Basic {BASIC}", f"no {BASIC[:12]}", "no ***"),
        (f"authorization=Basic {BASIC}", f"{PASSWORD} of somebody-else", "*** of ***"),
        (f"authorization=basic {BASIC}", f"wrong: {PASSWORD[9:20]}", "wrong: ***"),
        (f"authorization=Basic {base64.b64encode(b'me:pass1').decode()}", "pass1 of me is wrong", "*** of me is wrong"),
        (f"authorization=Basic {base64.b64encode(b'me:no').decode()}", "no", "no"),
        ("authorization=Bearer open-sesame", "no open-sesame", "no ***"),
        ("authorization=AWS AKIDEXAMPLE:c2lnbmF0dXJl", "sent c2lnbmF0dX", "sent ***"),
        ("x-amz-server-side-encryption-customer-key=MTIzNDU2Nzg5", "key MTIzNDU2", "key ***"),
        # What everybody may know of a request stays.
        (V4.format("host;x-amz-content-sha256"), "the region us-east-1 is wrong", "the region us-east-1 is wrong"),
        (V4.format("host;x-amz-content-sha256"), "sign x-amz-content-sha256", "sign x-amz-content-sha256"),
        (V4.format("host"), "no key AKIDEXAMPLE", "no key ***"),
        ("/climate-data/model-output/2020.nc x=1", "no model-output/2020", "no model-output/2020"),
    ],
)
def test_each_run_of_a_secret_is_hidden(sent: str, said: str, message: str) -> None:
    assert fail(403, document(message=said), secrets=sent).message == message


def test_a_password_is_no_code() -> None:
    """A server could read the one of the JSON door, and call its refusal by it."""
    secret = base64.b64encode(b"somebody:Hunter2000Hunter").decode()
    for code in ("Hunter2000Hunter", "hunter2000", "NoHunter2000"):
        error = fail(403, document(code), secrets=f"authorization=Basic {secret}")
        assert error.code == "AccessDenied"


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied", "SlowDown"])
def test_a_code_of_s3_stands_in_the_log(code: str) -> None:
    assert fail(403, document(code)).logged_code == code
    assert WrongRegion("PermanentRedirect", None).logged_code == "PermanentRedirect"


@pytest.mark.parametrize("code", ["Hunter2", "XMinioServerNotInitialized", "AccessDenied2"])
def test_any_other_code_is_told_to_the_caller_only(code: str) -> None:
    error = fail(403, document(code))
    assert isinstance(error, StoreError)
    assert (error.code, error.logged_code) == (code, "StoreError")


def test_of_a_request_too_long_to_be_searched_nothing_is_repeated() -> None:
    long = f"/b/k {'a' * _MAX_SENT_CHARACTERS}"
    error = read_failure(403, {}, document("AccessDenied", "in its words"), long, is_conditional=False)
    assert (error.code, error.message) == ("AccessDenied", "the store answered 403")


def count_lines(call: Callable[[], object]) -> int:
    """How many lines of Python a call runs."""
    counted = 0

    def trace(*_: Any) -> Any:
        nonlocal counted
        counted += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return counted


@pytest.mark.parametrize(
    "make",
    [
        lambda length: "/b/k " + "a" * length,
        lambda length: "/b/k " + "a " * (length // 2),
        lambda length: "/b/k?" + "Signature=" * (length // 10),
        lambda length: "/b/k?" + "&sig=secret-of-mine" * (length // 19),
        lambda length: "/b/k x-amz-security-token=" + "%25" * (length // 3),
        lambda length: "/b/k authorization=Basic " + "QUFB" * (length // 4),
    ],
)
def test_the_work_grows_with_the_length_of_what_was_sent(make: Callable[[int], str]) -> None:
    """Up to the 64 KiB that are searched; what the regular expressions take is counted in ``test_patterns.py``."""
    said = "the key aaaa%20secret-of-mine " * 10
    small, large = (
        count_lines(lambda length=length: Secrets.of(make(length), said).hide(said))  # type: ignore[misc]
        for length in (_MAX_SENT_CHARACTERS // 2 - 99, _MAX_SENT_CHARACTERS - 99)
    )
    assert large < 2.1 * small + 500


def test_a_servers_answer_to_basic_gives_nothing_away(capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the password nor what begins like it is in the reply or in the log."""
    secret = base64.b64encode(b"somebody:Hunter2000Hunter").decode()
    for code in ("Hunter2000Hunter", "Hunter", "SomeOtherCode"):
        refusing = says(plain("403 Forbidden", document(code, f"not {code} of somebody:Hunter2000")))
        with FaultyStore(refusing) as store, service(store) as (app, _):
            body = json.dumps({"interface_type": "http", "url": f"{store.url}/bucket/key", "dtype": "float32"})
            headers = {"Authorization": f"Basic {secret}"}
            response = app.test_client().post("/v2/sum/", data=body, headers=headers)
        assert response.status_code == 401
        assert "Hunter2000" not in response.text
        assert "Hunter" not in capfd.readouterr().err
