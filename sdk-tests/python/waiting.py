"""Waiting: for states that no event announces, and how long for anything at all."""

import os
import time

# In a guest that is emulated beside another everything takes many times as long. Seconds.
PATIENCE = 180 if os.environ.get("WRENN_GUEST_URL") else 20


def eventually(holds, what):
    """Returns once `holds()` is true; fails after a while, saying what did not come."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.01)
