"""What is asked for, as values that are valid by construction; numpy only, for clients and services.

The tables stand here: data types, reducers, codecs, rules for missing data. Texts are read and written in
``active_storage.grammar``; how partial results join is in ``active_storage.algebra``.
"""
