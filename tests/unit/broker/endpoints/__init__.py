"""Tests of the endpoints: handlers and feeds, driven in process."""
