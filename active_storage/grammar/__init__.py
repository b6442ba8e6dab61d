"""From text to values and back: the one grammar of paths, queries, parameters and byte ranges.

    target     = "/" reducer "/" segment "/" object      a reduction of an object
    segment    = dtype *( ";" name "=" value )            RFC 3986, section 3.3: path parameters
               / container *( ";" name "=" value )        a whole array: ``arrays.py``
    object     = bucket "/" key                           neither parsed nor decoded
    query      = pair *( "&" pair )                       the same names as in the segment, and S3's own
    reduction  = reducer "/" segment                      without an object; either of the two may be empty

The reducer and the segment are percent-decoded before they are parsed, since clients differ in what they encode there
(boto3 writes ``;`` as ``%3B``). The object and the store's part of the query are forwarded undecoded. ``parse_`` and
``format_`` are pairs: one reads what the other writes.
"""
