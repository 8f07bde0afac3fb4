"""What happened in a run: recorded at every boundary of the lab, put in order, and drawn.

What a notebook holds:
    `timeline`      a `with` block that records; two of them side by side
How it is recorded:
    `record`        the events, and the tape on which whoever owns a boundary notes them
    `outgoing`      a call at its caller: `grpc_client` and `http_client` are the plain clients,
                    `patches` wraps them while somebody records
    `incoming`      a call at its handler; `asgi` is that for HTTP
How it is told:
    `parts`         events put together again: calls, handlers and messages, whatever is missing;
                    `kinds` has the terms
    `order`         in words and in causal order, with `phrases` for single events; `spans` has
                    what was done in which handler
    `words`         in one sentence, and what differs between two runs
How it is drawn:
    `picture`       a run, or several below each other; `drawing` has the colours and matplotlib
    `layout`        where everything is, in inches: `frame` around it, a `panel` for each run
    `lanes`         who has a lane, and in which order
    `bars`          what is in them; `rows`, `labels` and `signs` find room, `strip` above them
    `arrows`        what crosses lanes; all of it is `shapes` on a `scale`
"""

from labsvc.timeline.record import note
from labsvc.timeline.timeline import Timeline, commits, side_by_side

__all__ = ["Timeline", "commits", "note", "side_by_side"]
