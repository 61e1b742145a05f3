"""Waiting for states that no event announces."""

import time


def eventually(holds, what):
    """Returns once `holds()` is true; fails after ten seconds, saying what did not come."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline, f"not within ten seconds: {what}"
        time.sleep(0.01)
