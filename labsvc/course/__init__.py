"""A learner's own copy of the course, and what newer editions bring into it.

`labsvc lab` makes the copy and opens it; `labsvc update` brings a newer edition in. Nothing that a
learner wrote is overwritten without a copy, and what a kill interrupts the next command finishes.

    edition        the course as this checkout has it: its notebooks by name, without outputs
    working_copy   a folder that belongs to the learner: the notebooks by part, and nothing else
    notebook       a notebook as it is stored: read, compared, written
    merge          what the learner wrote, carried over into a newer notebook
    update         a newer edition brought in, notebook by notebook, however often it is interrupted
    restore        a notebook that a cut save has broken, given back as it was last whole
    places         which copy, or which checkout, a command is about
    commands       what `labsvc update` and `labsvc test-out` do, and what they say
"""

from __future__ import annotations

from labsvc.course.edition import Edition
from labsvc.course.update import bring, ready
from labsvc.course.working_copy import WorkingCopy

__all__ = ["Edition", "WorkingCopy", "bring", "ready"]
