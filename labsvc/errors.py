"""The errors a learner meets from labsvc itself.

    Exception
    └── LabError             the lab cannot do what was asked
        ├── PortInUseError   another program listens on the port
        ├── EngineError      a child program is missing or did not start
        └── LoopDeadError    the lab's background thread has ended

Every message ends with what to do next. Wrong arguments are a `TypeError` or
`ValueError`, as everywhere in Python.
"""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked. The message ends with what to do."""


class PortInUseError(LabError):
    """Another program listens on the port that was asked for."""


class EngineError(LabError):
    """A child program (etcd, rclone) is missing, or did not get ready."""


class LoopDeadError(LabError):
    """The lab's background thread has ended; nothing it carried runs any more."""
