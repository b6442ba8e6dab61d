"""The discovery document, ``GET /.well-known/s3-active-storage``: what a client must know to sign and to ask."""

import json

from handler.contracts.door import Reply, Request, Service, write_xml_error
from handler.errors import NoSuchDoor
from handler.params import DISCOVERY_PATH, OBJECT_DOOR, PARAMETERS
from handler.spec import DTYPES, REDUCERS

METHODS = ("GET", "HEAD")

write_error = write_xml_error


def answer(request: Request, service: Service) -> Reply:
    """The document. Its first four fields are what clients have relied on since it was first published.

    Raises:
        NoSuchDoor: Another well-known document is asked for.
    """
    if request.path != DISCOVERY_PATH:
        raise NoSuchDoor(f"the only well-known document here is {DISCOVERY_PATH}")
    document = {
        "active_storage_version": "v1",
        "s3_endpoint": str(service.settings.public_store),
        "available_reducers": list(REDUCERS),
        "supported_datatypes": list(DTYPES),
        "supported_parameters": list(PARAMETERS),
        "object_door": OBJECT_DOOR,
    }
    body = json.dumps(document).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return Reply(200, headers, body)
