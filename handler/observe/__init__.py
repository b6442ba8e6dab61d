"""What is watched of a request: its facts and its stages, said once (``record.py``), and who listens to them.

Subscribers hear when a stage ends and when the request ends. The log line (``log.py``) is one; metrics and traces are
others. Nothing outside this folder writes a log line of a request.
"""
