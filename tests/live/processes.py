"""The processes of a service that a test started."""

from urllib.parse import urlsplit

import psutil


def find_listeners(url: str) -> list[psutil.Process]:
    """The processes that listen at this address, in the order in which they started: gunicorn's first, its workers."""
    port = urlsplit(url).port
    listening = [
        process
        for process in psutil.Process().children(recursive=True)
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    ]
    return sorted(listening, key=lambda process: process.create_time())
