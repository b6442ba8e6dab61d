"""Access to stores. ``source.py`` is the interface; the other modules implement it.

Only this folder opens connections, imports the HTTP libraries and catches their errors. A caller gets either exactly
the bytes that it asked for, or one of the errors of ``active_storage.errors``.
"""
