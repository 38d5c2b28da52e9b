"""Deployed models over HTTP: requests, sessions with a store, several models, reload, a page."""
