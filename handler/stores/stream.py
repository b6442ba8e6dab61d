"""The stream of a range over HTTP, which is resumed after a cut.

Each later response is compared with the first one (``ask_again`` in ``source.py``) before a byte of it is used.
"""

from collections.abc import Callable

from active_storage.errors import ActiveStorageError, StoreCutOff, StoreProtocolError
from active_storage.model.ranges import ByteRange
from handler.stores.exchange import Exchange
from handler.stores.source import Stream, ask_again
from handler.stores.store_request import StoreRequest
from handler.stores.tries import Tries


class HttpStream(Stream):
    """The bytes of one range, resumed after a cut.

    Args:
        ask: Sends a request for a range.
        request: The request.
        byte_range: The range; None for the whole object.
        tries: The tries to get the range.

    Raises:
        ActiveStorageError: The store does not send the range.
    """

    def __init__(
        self,
        ask: Callable[[StoreRequest, ByteRange | None], Exchange],
        request: StoreRequest,
        byte_range: ByteRange | None,
        tries: Tries,
    ) -> None:
        self._ask = ask
        self._request = request
        self._byte_range = byte_range
        self._tries = tries
        self._exchange = tries.run(lambda: ask(request, byte_range))
        self.facts = self._exchange.facts

    def readinto(self, buffer: memoryview, /) -> int:
        window = buffer[: self.facts.length - self.bytes_read]
        if not window:
            return 0
        try:
            read = self._exchange.readinto(window)
        except ActiveStorageError as error:
            self._tries.count_failure(error)
            self._exchange.close()
            self._exchange = self._tries.run(self._resume)
            return self.readinto(buffer)
        self.bytes_read += read
        return read

    def close(self) -> None:
        self._exchange.close()

    def _resume(self) -> Exchange:
        done = self.bytes_read
        if done and self.facts.strong_etag is None:
            raise StoreCutOff("the store cut the object off, and sent no strong ETag to resume the same object by")
        from_start = not self._request.takes_range
        rest = self._byte_range if from_start else ByteRange(self.facts.start + done, self.facts.stop - 1)
        exchange = ask_again(lambda: self._ask(self._request.pinned_to(self.facts), rest), self.facts)
        try:
            expected = (self.facts.start + (0 if from_start else done), self.facts.stop)
            if (exchange.facts.start, exchange.facts.stop) != expected:
                # A store may send any range as the part of a number.
                raise StoreProtocolError("the store sends another part of the object than before")
            if from_start:
                exchange.skip(done)
        except ActiveStorageError:
            exchange.close()
            raise
        return exchange
