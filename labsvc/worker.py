"""What a process does first that `multiprocessing` has started for a piece of work."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading


def begin() -> None:
    """Leave the stop button to the parent, log nothing, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)  # the parent is told what went wrong
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # however it ends
    os._exit(1)
