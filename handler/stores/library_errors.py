"""The errors of the HTTP libraries, translated into the service's own, here and nowhere else.

The text of a library's error is not used, because it may hold a URL with a signature.
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
    # http.client raises it if the socket is shut down while it reads a line.
    ValueError,
)


def translate(error: Exception, origin: Origin, scope: Scope, is_body: bool = False) -> ActiveStorageError:
    """The service's error for an error of a library.

    Args:
        error: The error.
        origin: The server of the request.
        scope: The scope of the caller's request.
        is_body: Whether the body was being read.
    """
    if is_body and scope.is_over:
        return cut_off(scope)
    # In urllib3 a refused connection is a subclass of a timeout.
    is_timeout = isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError)
    if (is_timeout and not isinstance(error, urllib3.exceptions.NewConnectionError)) or scope.is_over:
        return StoreTimeout(f"the store at {origin} did not answer in time")
    if is_body:
        return cut_off(scope)
    # RemoteDisconnected is both, and means a broken connection.
    if isinstance(error, http.client.HTTPException) and not isinstance(error, ConnectionError):
        return StoreProtocolError(f"the response of the store at {origin} is not well-formed HTTP/1.1")
    if isinstance(error, ssl.SSLError | urllib3.exceptions.SSLError):
        return StoreUnreachable(f"a trusted TLS connection to the store at {origin} could not be made")
    return StoreUnreachable(f"the connection to the store at {origin} failed before a response arrived")


def cut_off(scope: Scope) -> ActiveStorageError:
    """The error for a body that ended early: the time was over, or the store cut it off."""
    if scope.is_over:
        return StoreTimeout("the time for this request was over before the store had sent everything")
    return StoreCutOff("the store sent fewer bytes than it announced")
