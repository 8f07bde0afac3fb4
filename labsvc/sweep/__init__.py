"""Strike a scenario with a fault at every point where one can strike, and ask what still holds.

    explore      runs the scenario, finds its points, and runs it again with faults
    run          one run: its doors, its child, its points, what broke
    points       where a fault can strike, and what it does there
    protocols    which of these gates looks into a connection:
    http1_gate   finds requests and answers on a connection of HTTP/1.1
    http2_gate   and of HTTP/2
    amqp_gate    finds messages, confirms and acknowledgements on one
    postgres_gate  finds statements of PostgreSQL, and their results
    frames       cuts a connection into frames
    child        a function in a process that can be killed at any point
    packing      what goes into another process
    together     a function in several processes at once
    meeting      where they wait for each other
    commits      a database on which each commit is a point
    outcome      what came out, in words
    picture      and drawn

Points are events, counted, never bytes or times: the same code reaches the same points. The idea of
enumerating the faults of a recorded run is that of Filibuster (Meiklejohn et al., SoCC 2021).
"""

from __future__ import annotations

from labsvc.sweep.child import Database, Ended, SweepError
from labsvc.sweep.explore import again, sweep
from labsvc.sweep.meeting import Meeting
from labsvc.sweep.outcome import Case, Sweep
from labsvc.sweep.points import Event, Fault, Plan, Point, Strike
from labsvc.sweep.run import Door, Run
from labsvc.sweep.together import together

__all__ = [
    "Case",
    "Database",
    "Door",
    "Ended",
    "Event",
    "Fault",
    "Meeting",
    "Plan",
    "Point",
    "Run",
    "Strike",
    "Sweep",
    "SweepError",
    "again",
    "sweep",
    "together",
]
