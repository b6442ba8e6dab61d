"""Beside its peers: the service, the store alone, and Reductionist, the same interface written in Rust.

``make bench-peers`` needs programs that are not this project's: nginx is the store, wrk asks, Reductionist is the peer.
``programs.py`` finds and starts them, and says how to install what is missing; nothing of theirs is kept here.

- What is asked for is a table, with what has to be reached (``cases.py``).
- How it is asked: by wrk for some seconds, or a number of times by threads where an object takes long (``turns.py``).
- In each round every case comes once, and every contender has its turn at it, in another order than in the last round;
  a number is a ratio of two turns of one round (``measure.py``).
- Then what is no race: memory under load, signed requests to a real S3 store, a slow link (``link.py``), and where the
  time of a small request goes (``profile.py``).
- The page, its charts and its data come from one run (``page.py``). Whether a target is met is worked out there.
"""
