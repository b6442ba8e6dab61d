"""Measurements of speed, memory and accuracy, side by side in one run. They are written to pages of docs/.

Each page is a module with a function ``measure(run) -> Page`` and a row in ``__main__.py``: ``performance.py``,
``kernels.py``, ``peers.py``, ``arrays.py`` (with ``array_data.py`` and ``array_turns.py``). They share ``rounds.py``
(rows, ratios, targets, tables), ``scene.py`` (the stored objects, the store, the service), ``turns.py`` (ways to ask,
and how long they take), ``machine.py`` (facts about the machine, memory), ``programs.py`` (nginx, wrk and the peer) and
``link.py`` (a slow network).

- Rounds are interleaved: in each round every contender has its turn at a case before the next case comes, and the
  order changes from round to round, so that other work of the machine affects all of them.
- A number is the ratio of two turns of one round. Pages show medians with their quartiles, never a time.
- Every reply is compared with numpy's result for the same bytes. A wrong or missing reply ends the run without a page.
- The service and its client import nothing from here.
"""
