"""The service: it reduces S3 objects while they stream. docs/architecture.md describes the packages."""
