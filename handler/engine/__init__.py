"""The engine: from a spec and a source to a result.

A task is a unit of work. The executor reduces tasks and yields their partial results in order. The memory gate counts
the memory that requests hold. A scope has the deadline of a request. HTTP, and the forms of requests and replies, do
not belong here.
"""
