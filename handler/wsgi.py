"""``handler.wsgi:app``, for any WSGI server that provides the raw request target as ``RAW_URI``."""

from handler.app import create_app
from handler.settings import load_settings

app = create_app(load_settings())
