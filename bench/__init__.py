"""How fast, in how much memory, how exact: measured side by side in one run, and written down as a page.

A benchmark is no test: it passes or fails nothing but itself, and only for a reply that is wrong or missing. What is
compared are *contenders* (``contenders.py``), each on the same *cases* (``cases.py``: so many bytes, so many clients at
a time), in a *scene* (``scene.py``: a store, its objects, the service). Both are tables: the speed of a new row is
measured, charted and explained without a line elsewhere.

- Rounds are interleaved: in each, every contender has its turn at a case before the next case comes, and the order
  changes from round to round. What else the machine does then hits all of them.
- A number is the ratio of two times of one round; the page shows medians with their quartiles, never a time.
- Every reply is compared with what numpy says of the same bytes.
- The page, its charts and its data come from one run (``page.py``), and nobody types a number into them.
- Nothing here is imported by the service or its client.
"""
