"""What clients import. It needs botocore and numpy, and shares the grammar and the spec with the service."""
