"""gunicorn, set up for this application. The only room that knows gunicorn.

``options.py`` has the options and the functions that gunicorn calls at startup, ``worker.py`` the worker process,
``cores.py`` which core each worker runs on, ``server.py`` the whole that ``active-storage serve`` runs.

What does not belong here: what a request means (``handler.doors``), and how WSGI becomes a request (``handler.app``).
"""

from handler.server.options import gunicorn_options
from handler.server.server import Server

__all__ = ["Server", "gunicorn_options"]
