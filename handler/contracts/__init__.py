"""The doors, a file each. A door translates: what it was sent to a spec and a source, a result to its own clothes.

Every door has ``METHODS``, ``answer(request, service)`` and ``write_error(error, request)``; between what one that
reduces reads and what it writes lies the pipeline. ``doors.py`` holds the table. No door knows the framework it is
served by, so that a function without a server can use them.
"""
