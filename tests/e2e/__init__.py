"""Tests of a real `extra-broker`, with clients that are not ours."""
