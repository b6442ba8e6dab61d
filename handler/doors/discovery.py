"""The discovery document, ``GET /.well-known/s3-active-storage``: it tells a client how to sign and send requests."""

import json

from active_storage.errors import NoSuchDoor
from active_storage.grammar.arrays import ARRAY_PARAMETERS, COUNTS, GROUP_VALUES
from active_storage.grammar.parameters import PARAMETERS
from active_storage.grammar.targets import DISCOVERY_PATH, JSON_PREFIXES, OBJECT_DOOR
from active_storage.model.array_reduction import CONTAINER_TYPES
from active_storage.model.codecs import CODECS
from active_storage.model.dtypes import DTYPES
from active_storage.model.reducers import ARRAY_REDUCERS, REDUCERS
from handler.doors.door import Reply, Request
from handler.doors.error_replies import write_xml_error
from handler.doors.service import Service

METHODS = ("GET", "HEAD")

write_error = write_xml_error


def reply_to(request: Request, service: Service) -> Reply:
    """The document. Clients have relied on its first four fields since the first version.

    Raises:
        NoSuchDoor: The path names another well-known document.
    """
    if request.path != DISCOVERY_PATH:
        raise NoSuchDoor(f"no such well-known document; the only one is {DISCOVERY_PATH}")
    document = {
        "active_storage_version": "v1",
        "s3_endpoint": str(service.settings.public_store),
        "available_reducers": list(REDUCERS),
        "supported_datatypes": list(DTYPES),
        "supported_parameters": list(PARAMETERS),
        "supported_codecs": list(CODECS),
        "object_door": OBJECT_DOOR,
        "json_doors": list(JSON_PREFIXES),
        "containers": list(CONTAINER_TYPES),
        "container_reducers": list(ARRAY_REDUCERS),
        "container_parameters": [*ARRAY_PARAMETERS, GROUP_VALUES, COUNTS],
    }
    body = json.dumps(document).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    return Reply(200, headers, body)
