"""How the service is put to work: what starts it, and where.

Nothing here computes, and the service imports nothing of it.
"""
