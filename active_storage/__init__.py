"""What clients import, and what clients and the service share: the model, the grammar, the algebra, the errors.

It needs botocore and numpy, and nothing of the service.
"""
