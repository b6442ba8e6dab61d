"""The service in the process of its only caller, without a server: ``active-storage reduce --local``.

A request goes through the same table of doors as with a server. Nobody else sends requests, so that there is no
deadline, no log and no name that may not be near; the origins are those that the caller named, and memory is limited as
always.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from handler.doors import table as doors
from handler.doors.door import Request
from handler.doors.service import Service
from handler.observe.record import NOBODY
from handler.settings import load_settings

# Longer than any reduction: the caller ends it with Ctrl+C.
_NO_DEADLINE = "8760h"

Answer = Callable[[str, str, Mapping[str, str], bytes | None], tuple[int, list[tuple[str, str]], Iterable[bytes]]]


def open_local(store: str, region: str, origins: Sequence[str]) -> Answer:
    """The service for one caller.

    Args:
        store: The store that ``s3://bucket/key`` means, ``scheme://host[:port]``.
        region: The region that requests are signed for, unless the store names another.
        origins: The other origins that may be fetched from.

    Returns:
        What answers a request of method, target, headers and body with status, headers and the pieces of a body, which
        the caller closes.

    Raises:
        SettingsError: A setting has an invalid value.
    """
    flags = {
        "s3-endpoint": store,
        "s3-public-endpoint": store,
        "s3-region": region,
        "allowed-origins": ",".join(dict.fromkeys((store, *origins))),
        "allow-special-addresses": "true",
        "deadline": _NO_DEADLINE,
        "array-deadline": _NO_DEADLINE,
    }
    settings = load_settings([f"--{name}={value}" for name, value in flags.items()])
    return make_answer(replace(Service.of(settings), subscribers=NOBODY))


def make_answer(service: Service) -> Answer:
    """What answers requests by a service in this process."""
    settings = service.settings

    def answer(
        method: str, target: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, list[tuple[str, str]], Iterable[bytes]]:
        path, _, query = target.partition("?")
        request = Request(
            scope=service.open_scope(settings.deadline),
            method=method,
            path=path,
            query=query,
            headers={name.lower(): text for name, text in headers.items()}
            | {"host": settings.public_store.authority, "content-length": str(len(body or b""))},
            read_body=lambda most: (body or b"")[:most],
        )
        reply = doors.reply_to(request, service)
        return reply.status, reply.headers, reply.body if not isinstance(reply.body, bytes) else [reply.body]

    return answer
