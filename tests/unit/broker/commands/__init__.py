"""Tests of the commands of `extra-broker`."""
