"""Tests of the daemon's own modules: settings, command line, log."""
