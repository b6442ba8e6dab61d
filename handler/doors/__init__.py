"""The doors: the interfaces by which a request can reach the service.

The rule of this folder: a door translates, and does nothing else. It parses a request to a spec and a source, calls the
engine, and writes the result or the error in its own form. It uses no web framework, so that AWS Lambda can call every
door, and it does not read the environment. Code that two doors need is in a file of its own.

A door is a module with ``METHODS``, ``reply_to(request, service)`` and ``write_error(error, request)``. The files:

- Doors: ``proxy``, ``webhook``, ``aws``, ``json_v1``, ``json_v2``, ``arrays_json``, ``stored``, ``discovery``,
  ``health``.
- For all doors: ``table`` (which door, and the one way through it), ``door`` (the interface), ``service`` (what
  requests share), ``request_target`` (is the request well-formed), ``error_replies`` (errors in S3's XML).
- For doors of S3 clients: ``s3_door`` (question, conditions, reply), ``results`` (headers and ETag of a result).
- For object lambdas: ``lambda_event`` (the event), ``lambda_door`` (from event to reply).
- For AWS: ``aws_object_lambda`` (S3's events), ``aws_http`` (HTTP without a server).
- For the JSON doors: ``json_door`` (the way through), ``json_request`` (the question), ``json_members``, ``json_spec``,
  ``json_location``, ``json_credentials``, ``json_errors``.
- For whole arrays: ``array_door`` (for doors of S3 clients), ``containers`` (whose credentials go where),
  ``array_items`` (items that are sent while they are made), ``array_request``, ``array_members``, ``cbor_body``.
- For CBOR replies: ``cbor_results``.
- For callers' text: ``json_body`` (strict JSON), ``urls`` (strict URLs).
"""
