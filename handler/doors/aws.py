"""The AWS Lambda function: one entry point for S3 Object Lambda's events and for HTTP requests.

``handler.doors.aws.lambda_handler`` is what Lambda calls. This file sets the function up, and chooses by the kind of an
event. ``aws_object_lambda.py`` answers S3's events, ``aws_http.py`` those of a Function URL or an HTTP API.

The settings come from the function's environment. Nothing in the three files knows Flask.

Sources: "Writing Lambda functions for S3 Object Lambda Access Points" (Amazon S3 User Guide), WriteGetObjectResponse
(Amazon S3 API Reference), "Invoking Lambda function URLs" (AWS Lambda Developer Guide).
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import botocore.session
from botocore.config import Config

from active_storage.errors import InvalidArgument
from handler.doors.aws_http import answer_http
from handler.doors.aws_object_lambda import ObjectLambda
from handler.doors.service import Service
from handler.scope import Scope
from handler.settings import load_settings

# The time that is reserved for sending the reply, of the time that Lambda gives the function.
_SENDING_SECONDS = 2.0

_REQUEST_ID_RE = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)

Document = Mapping[str, Any]


class Context(Protocol):
    """Lambda's context of an invocation: the part that is used here."""

    def get_remaining_time_in_millis(self) -> int:
        """The time until Lambda ends the invocation."""


def lambda_handler(event: Any, context: Context) -> dict[str, Any] | None:
    """Answer an event.

    Returns:
        The reply that Lambda sends to the caller; None if the reply was sent to S3 already.

    Raises:
        InvalidArgument: The kind of the event is unknown.
    """
    return _function()(event, context)


@functools.cache
def _function() -> "Function":
    """The function, made once for each environment that Lambda starts."""
    return Function(Service.of(load_settings()), make_s3_client())


def make_s3_client() -> Any:
    """The client that sends replies to S3."""
    # A token is valid for one reply, so that S3 would refuse a second try. TLS protects the body, so that it need not
    # be signed.
    config = Config(s3={"payload_signing_enabled": False}, retries={"total_max_attempts": 1})
    return botocore.session.get_session().create_client("s3", config=config)


class Function:
    """The function with its service and its S3 client.

    Args:
        service: The service, which all events share.
        s3: A botocore client, which sends replies to S3.
    """

    def __init__(self, service: Service, s3: Any) -> None:
        self._service = service
        object_lambda = ObjectLambda(service, s3)
        # Each kind is recognised by a member that only its events have.
        self._kinds: Mapping[str, Callable[[Document, str, Scope], dict[str, Any] | None]] = {
            "getObjectContext": object_lambda.write_object,
            "headObjectContext": object_lambda.describe_object,
            "listObjectsContext": object_lambda.pass_on_listing,
            "listObjectsV2Context": object_lambda.pass_on_listing,
            "requestContext": functools.partial(answer_http, service),
        }

    def __call__(self, event: Any, context: Context) -> dict[str, Any] | None:
        """The same as ``lambda_handler``."""
        members = event if isinstance(event, Mapping) else {}
        kind = next((name for name in self._kinds if isinstance(members.get(name), Mapping)), None)
        if kind is None:
            raise InvalidArgument("event", f"is of an unknown kind; it should have one of {', '.join(self._kinds)}")
        seconds_left = context.get_remaining_time_in_millis() / 1000 - _SENDING_SECONDS
        scope = self._service.open_scope(
            self._service.settings.deadline, request_id=_find_request_id(members), latest_seconds=seconds_left
        )
        return self._kinds[kind](members, kind, scope)


def _find_request_id(event: Document) -> str | None:
    """AWS's own id of an event."""
    request_id = str(event.get("xAmzRequestId") or "")
    return request_id if _REQUEST_ID_RE.fullmatch(request_id) else None
