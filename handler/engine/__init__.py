"""The engine: from a spec and a source to a result.

A task is a unit of work. The executor reduces tasks and gives their partial results in order. The memory gate counts
what requests hold. A scope bounds how long they take.

What does not belong here: HTTP, and the forms of requests and replies.
"""
