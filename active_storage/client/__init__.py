"""Clients of the service: one file for each library that it extends."""
