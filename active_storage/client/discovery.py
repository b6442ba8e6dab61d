"""The discovery document of a service: where its store is, and what it supports."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from active_storage.grammar.targets import OBJECT_DOOR
from active_storage.model.origins import Origin

VERSION = "v1"


@dataclass(frozen=True, slots=True)
class Document:
    """What a service says of itself. Sets are empty where an older service has no such field.

    Attributes:
        store: The ``scheme://host[:port]`` of its store, for which requests are signed.
        reducers: The reducers of single objects.
        array_reducers: The reducers of whole arrays.
        array_parameters: The parameters of whole arrays.
        members: All that it says, by the names in its document.
    """

    store: str
    reducers: frozenset[str]
    array_reducers: frozenset[str] = frozenset()
    array_parameters: frozenset[str] = frozenset()
    members: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def doors(self) -> frozenset[str]:
        """The first path segments that its direct proxy answers: reducers, and the door to objects themselves."""
        return self.reducers | {OBJECT_DOOR}


def read_document(body: bytes) -> Document | None:
    """The document in a reply; None if it is another document, such as a website's page, or of another version."""
    try:
        document = json.loads(body)
        if document["active_storage_version"] != VERSION:
            return None
        return Document(
            str(Origin.parse(document["s3_endpoint"])),
            frozenset(document["available_reducers"]),
            frozenset(document.get("container_reducers", ())),
            frozenset(document.get("container_parameters", ())),
            document,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
