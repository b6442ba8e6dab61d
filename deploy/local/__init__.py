"""A whole deployment on one machine, for the demo, the tests and the benchmarks.

Everything listens on loopback only, runs as child processes, and is gone when its ``with`` block ends. The keys are the
demo's, known to everybody, so nothing here may serve data that matters.
"""
