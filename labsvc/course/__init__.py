"""A learner's own copy of the course, and what newer editions bring into it.

edition        the course as this checkout has it: its notebooks by number, without outputs
working_copy   a folder that belongs to the learner: the notebooks by part, and nothing else
notebook       a notebook as it is stored: read, compared, written
merge          what the learner wrote, carried over into a newer notebook
update         a newer edition brought in, notebook by notebook, however often it is interrupted
restore        a notebook that a cut save has broken, given back as it was last whole
places         which copy, or which checkout, a command is about
"""

from __future__ import annotations

from labsvc.course.edition import Edition
from labsvc.course.update import bring, ready
from labsvc.course.working_copy import WorkingCopy

__all__ = ["Edition", "WorkingCopy", "bring", "ready"]
