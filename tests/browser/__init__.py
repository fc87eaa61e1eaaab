"""The console and the faces, driven from a real Chromium against a real `extra-broker`."""
