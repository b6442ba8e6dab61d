"""The model of a reduction: values that are valid by construction. It imports numpy only.

It contains the tables of data types, reducers, codecs and rules for missing data. Texts are parsed and formatted in
``active_storage.grammar``; how partial results join is in ``active_storage.algebra``.
"""
