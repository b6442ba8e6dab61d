"""gunicorn, configured for this application. Only this package imports gunicorn.

``options.py`` has the options and the functions that gunicorn calls at startup, ``worker.py`` the worker process,
``cores.py`` the assignment of cores to workers, and ``server.py`` the server that ``active-storage serve`` runs.

Requests are interpreted in ``handler.doors``, and made from WSGI's environment in ``handler.app``.
"""

from handler.server.options import gunicorn_options
from handler.server.server import Server

__all__ = ["Server", "gunicorn_options"]
