"""The service: reductions on S3 objects, made while the bytes stream by. docs/architecture.md is the map."""
