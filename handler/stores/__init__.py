"""Where bytes come from. ``source.py`` is the interface; the rest of this folder is what stands behind it.

Only this folder opens connections, knows the HTTP library and catches its errors. What leaves it is either exactly the
bytes that were asked for, or one of the errors of ``active_storage.errors``.
"""
