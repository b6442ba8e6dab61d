"""What the HTTP libraries raise, and what it means: the one place that translates it.

A library's own text may hold a whole URL, signature and all, so that none of it is used.
"""

import http.client
import ssl

import urllib3.exceptions

from active_storage.errors import ActiveStorageError, StoreCutOff, StoreProtocolError, StoreTimeout, StoreUnreachable
from active_storage.model.origins import Origin
from handler.scope import Scope

LIBRARY_ERRORS = (
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    # What http.client makes of a socket that the watchdog closed while it read a line.
    ValueError,
)


def translate(error: Exception, origin: Origin, scope: Scope, is_body: bool = False) -> ActiveStorageError:
    """What an error of the library's means. Its own text may hold a URL, so that none of it is used."""
    if is_body and scope.is_over:
        return cut_off(scope)
    # To urllib3, a connection that was refused is a kind of timeout.
    is_timeout = isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError)
    if (is_timeout and not isinstance(error, urllib3.exceptions.NewConnectionError)) or scope.is_over:
        return StoreTimeout(f"the store at {origin} did not answer in time")
    if is_body:
        return cut_off(scope)
    # RemoteDisconnected is both.
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return StoreProtocolError(f"what the store at {origin} sent is not well-formed HTTP/1.1")
    if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError):
        return StoreUnreachable(f"no trusted TLS connection to the store at {origin}")
    return StoreUnreachable(f"no connection to the store at {origin}, or it broke before an answer came")


def cut_off(scope: Scope) -> ActiveStorageError:
    """What it means that a body ended early: the time was over, or the store cut it off."""
    if scope.is_over:
        return StoreTimeout("the store had not sent everything when the time for this request was over")
    return StoreCutOff("the store sent fewer bytes than it promised")
