"""How fast, in how much memory, how exact: measured side by side in one run, and written down as pages.

Each page is a module with a function ``measure(run) -> Page`` and a row in ``__main__.py``: ``performance.py``,
``kernels.py``, ``peers.py``, ``arrays.py`` (with ``array_data.py`` and ``array_turns.py``). What they share:
``rounds.py`` (rows, ratios, targets, tables), ``scene.py`` (the stored objects, the store, the service), ``turns.py``
(ways to ask, and how long they take), ``machine.py`` (what it ran on, memory), ``programs.py`` (nginx, wrk and the
peer), ``link.py`` (a slow network).

- Rounds are interleaved: in each round every contender has its turn at a case before the next case comes, and the
  order changes from round to round. What else the machine does then affects all of them.
- A number is the ratio of two turns of one round. Pages show medians with their quartiles, never a time.
- Every reply is compared with what numpy says of the same bytes. A wrong or missing reply ends the run without a page.
- Nothing here is imported by the service or its client.
"""
