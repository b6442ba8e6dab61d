"""Observation of requests: the facts and the stages of each (``record.py``), and the subscribers that receive them.

Subscribers are called when a stage ends and when the request ends. The log line (``log.py``) is one; metrics and traces
can be others. Nothing outside this folder writes a log line of a request.
"""
