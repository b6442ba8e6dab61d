"""The bytes of one range, resumed where they break off.

Each later answer is compared with the first one (``ask_again`` in ``source.py``) before a byte of it is used.
"""

from collections.abc import Callable

from active_storage.errors import ActiveStorageError, StoreCutOff, StoreProtocolError
from active_storage.model.ranges import ByteRange
from handler.scope import Scope
from handler.stores.exchange import Exchange
from handler.stores.source import Stream, ask_again
from handler.stores.store_request import StoreRequest
from handler.stores.tries import Tries


class HttpStream(Stream):
    """The bytes of one range, resumed where they break off.

    Args:
        exchange: Asks for a range.
        request: What is asked for.
        byte_range: The range, None for the whole object.
        tries: How often it may be asked for.
        scope: What bounds the work.
    """

    def __init__(
        self,
        exchange: Callable[[StoreRequest, ByteRange | None], Exchange],
        request: StoreRequest,
        byte_range: ByteRange | None,
        tries: "Tries",
        scope: Scope,
    ) -> None:
        self._ask = exchange
        self._request = request
        self._byte_range = byte_range
        self._tries = tries
        self._scope = scope
        self._exchange = tries.make(lambda: exchange(request, byte_range))
        self.facts = self._exchange.facts

    def readinto(self, buffer: memoryview, /) -> int:
        window = buffer[: self.facts.length - self.bytes_read]
        if not window:
            return 0
        try:
            read = self._exchange.readinto(window)
        except ActiveStorageError as error:
            self._tries.fail(error)
            self._exchange.close()
            self._exchange = self._tries.make(self._resume)
            return self.readinto(buffer)
        self.bytes_read += read
        return read

    def close(self) -> None:
        self._exchange.close()

    def _resume(self) -> Exchange:
        done = self.bytes_read
        if done and self.facts.strong_etag is None:
            raise StoreCutOff("the store cut the object off, and gives no strong ETag by which to go on with the same")
        whole_again = not self._request.takes_range
        rest = self._byte_range if whole_again else ByteRange(self.facts.start + done, self.facts.stop - 1)
        exchange = ask_again(lambda: self._ask(self._request.pinned_to(self.facts), rest), self.facts)
        try:
            expected = (self.facts.start + (0 if whole_again else done), self.facts.stop)
            if (exchange.facts.start, exchange.facts.stop) != expected:
                # A part that is asked for by its number can be any range.
                raise StoreProtocolError("the store sends another part of the object than before")
            if whole_again:
                exchange.skip(done)
        except ActiveStorageError:
            exchange.close()
            raise
        return exchange
