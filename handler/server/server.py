"""The server: gunicorn with this application, in the foreground."""

from typing import Any

from gunicorn.app.base import BaseApplication

from handler.app import create_app
from handler.server.options import gunicorn_options
from handler.settings import Settings


class Server(BaseApplication):
    """The server.

    Args:
        settings: The configuration.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Give gunicorn its options."""
        for name, value in gunicorn_options(self._settings).items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application, once in each worker."""
        return create_app(self._settings)
