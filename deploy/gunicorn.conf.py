"""For whoever runs gunicorn themselves: ``gunicorn -c deploy/gunicorn.conf.py handler.wsgi:app``.

The same options as ``active-storage serve``, from the same settings.
"""

from handler.server import gunicorn_options
from handler.settings import load_settings

globals().update(gunicorn_options(load_settings()))
