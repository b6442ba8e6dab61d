"""To run gunicorn yourself: ``gunicorn -c deploy/gunicorn.conf.py handler.wsgi:app``.

Gives gunicorn the same options as ``active-storage serve``, from the same settings.
"""

import sys

from handler.server import gunicorn_options
from handler.settings import find_unknown, load_settings

sys.stderr.writelines(f"{line}\n" for line in find_unknown())
globals().update(gunicorn_options(load_settings()))
