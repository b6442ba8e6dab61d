"""Deployment: the programs and files that build and start the service.

The service imports nothing from here.
"""
