"""What to ask a store for: origin, target and headers, as they are to be sent. Nothing is sent here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from active_storage.model.origins import Origin
from handler.stores.source import ObjectFacts


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """What to ask a store for; its ``repr`` shows origin and path only.

    Attributes:
        origin: Where to connect.
        target: The request target, as it is to be sent.
        headers: As they are to be sent, ``Host`` among them.
        has_fixed_range: A signature covers ``Range``: it is among the headers, and no other can be asked for.
        names_part: The target asks for a part by its number, so that a 206 comes unasked.
    """

    origin: Origin
    target: str
    headers: Mapping[str, str]
    has_fixed_range: bool = False
    names_part: bool = False

    def __repr__(self) -> str:
        return f"<StoreRequest {self.origin}{self.target.partition('?')[0]}>"

    @property
    def takes_range(self) -> bool:
        """Whether any range can be asked for, such as the rest of one that broke off."""
        return not (self.has_fixed_range or self.names_part)

    def pinned_to(self, facts: ObjectFacts) -> "StoreRequest":
        """The request for more of the same object: with ``If-Match``, where it has a strong ETag.

        A condition of the caller's stays as it is, since a signature may cover it.
        """
        etag = facts.strong_etag
        if etag is None or "if-match" in self.headers:
            return self
        return replace(self, headers={**self.headers, "if-match": str(etag)})


def own_headers(host: str) -> dict[str, str]:
    """What every request says of itself, to a ``Host``: who asks, and that the bytes are wanted as they are stored."""
    return {"host": host, "user-agent": "s3-active-storage", "accept-encoding": "identity"}
