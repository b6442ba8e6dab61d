"""Whether the service lives (``/healthz``) and whether it can work (``/readyz``)."""

from handler.contracts.door import Reply, Request, Service, write_xml_error
from handler.errors import NoSuchDoor

METHODS = ("GET", "HEAD")

LIVE_PATH = "/healthz"
READY_PATH = "/readyz"

write_error = write_xml_error


def answer(request: Request, service: Service) -> Reply:
    """200 from a process that answers at all; for readiness, only if the store answers as well.

    Raises:
        ActiveStorageError: The store does not answer.
    """
    if request.path not in (LIVE_PATH, READY_PATH):
        raise NoSuchDoor(f"ask for {LIVE_PATH} or {READY_PATH}")
    if request.path == READY_PATH:
        service.transport.ensure_answers(service.settings.store, request.deadline)
    body = b"ok\n"
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    return Reply(200, headers, body)
