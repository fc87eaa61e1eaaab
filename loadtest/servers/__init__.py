"""Servers to measure beside the broker, each as bare as its kind allows."""
