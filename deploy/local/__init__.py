"""A complete deployment on one machine, for the demo, the tests and the benchmarks.

All programs listen on loopback only, run as child processes, and end with their ``with`` blocks. The keys are public,
so that nothing here may serve private data.
"""
