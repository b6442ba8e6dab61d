"""The command ``active-storage``: reductions, descriptions and plans on the command line, and the service's commands.

``command.py`` needs neither typer nor any other library of the extra ``cli``: it runs ``serve`` and ``check-config``,
which the service's distribution brings, and everything else by ``app.py``.
"""
