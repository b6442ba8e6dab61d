"""Liveness (``/healthz``) and readiness (``/readyz``)."""

from active_storage.errors import NoSuchDoor
from handler.doors.door import Reply, Request
from handler.doors.error_replies import write_xml_error
from handler.doors.service import Service

METHODS = ("GET", "HEAD")

LIVE_PATH = "/healthz"
READY_PATH = "/readyz"

write_error = write_xml_error


def reply_to(request: Request, service: Service) -> Reply:
    """Status 200. Readiness also requires that the store answers.

    Raises:
        ActiveStorageError: The store does not answer.
    """
    if request.path not in (LIVE_PATH, READY_PATH):
        raise NoSuchDoor(f"no such path; ask for {LIVE_PATH} or {READY_PATH}")
    if request.path == READY_PATH:
        service.transport.ensure_answers(service.settings.store, request.scope)
    body = b"ok\n"
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    return Reply(200, headers, body)
