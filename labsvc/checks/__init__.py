"""Check what a learner wrote against real services and real faults.

`check("22-deadlines", get_order)` prints a verdict, `progress()` what is solved,
`hint("22-deadlines")` the next hint, and `solution("22-deadlines")` the code of the course.
`replay("22-deadlines")` runs the case again that broke last, and leaves its services up.

    engine         runs a check from its beginning to its verdict
    registry       the exercises, loaded notebook by notebook
    catalogue      what is known of them before: modules, hints, what the solution does differently
    submission     the learner's function, called within limits
    run            one call of it, in a thread that is ended when the time is up
    examiner       what is wrong with any answer: found
    wording        and said
    racing         lets threads meet a race that is in a function
    handler        the answer as a server of the scenario calls it
    kinds          how an answer is written: def, async def, with yield
    learner_code   finds the learner's own lines in errors, threads and coroutines
    values         what came back, against what was asked for
    world          what an answer must leave as it found it
    leftovers      what an answer leaves behind: threads, tasks, processes
    verdict        what a check says
    cases          an answer under every fault that can strike it
    replays        the case that broke last, run again
    sandbox        the private services of one check
    in_child       an answer in a process that can be killed
    queue_sandbox  a broker and a queue of one check
    asking         helpers of the scenarios: status codes, channels, waiting
    hints          the next hint, from vague to exact
    solutions      the code of the course's solution
    progress       what is solved and which hints were shown, kept over restarts
    testing_out    which exercise shows that a part is known
    reset          gives one notebook back as it came

`scenarios` holds the exercises, and a file of texts per notebook. The engine's docstring shows how
to add one.
"""

from __future__ import annotations

from labsvc.checks.engine import check, run_check
from labsvc.checks.hints import hint
from labsvc.checks.progress import show as progress
from labsvc.checks.replays import replay
from labsvc.checks.solutions import solution
from labsvc.checks.verdict import Verdict

__all__ = ["Verdict", "check", "hint", "progress", "replay", "run_check", "solution"]
