"""Clients of the service, a file for each library that is taught to speak to it."""
