"""The clients, and what clients and the service share: the model, the grammar, the algebra and the errors.

It imports botocore and numpy, and nothing from the service.
"""
