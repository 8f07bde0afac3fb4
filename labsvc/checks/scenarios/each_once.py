"""Exercise of notebook 62: each event of a log has one effect, wherever its reader dies (C22)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.crash_points import killed_among_few, killed_among_many
from labsvc.checks.scenarios.database_errors import failures
from labsvc.checks.scenarios.effects import NOT_USED, what_is_wrong, where_to_look
from labsvc.checks.scenarios.event_log import Stage
from labsvc.checks.verdict import Verdict, broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

CASE_SECONDS = 20.0


@exercise("62-each-once", title="Apply each event once, whatever happens", deadline=40)
def each_once(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`catch_up(db, bootstrap, topic)`: one effect for each event, in order, at every crash."""
    cases = Cases(answer, sandbox)
    ways = (
        _called_again,
        *failures(),
        _on_another_database,
        killed_among_few,
        killed_among_many,
        _old_ones_deleted,
    )
    return next(
        filter(None, (cases.broken(way, within=CASE_SECONDS) for way in ways)), None
    ) or solved("each event has one effect, in the order of its order", cases=cases.count)


def _called_again(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Call it for an empty log, for events, for none, and for more of them."""
    stage = Stage(answer, room)
    for count in (0, 1, 0, 1):
        if count:
            stage.log.write()
        stage.call()
        if verdict := what_is_wrong(stage, "your function was called again", NOT_USED):
            return verdict
    return None


def _on_another_database(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let a second database start at the beginning of a log that the first one has read."""
    stage = Stage(answer, room)
    stage.log.write()
    stage.call()
    stage.new_database()
    stage.call()
    written, found = stage.log.written, len(stage.rows("effects"))
    if found < written:
        return broken(
            f"a new database got {found} of {written} effects: how far you have read is noted"
            " outside of it",
            "A variable dies with its process, and a group's offset is in the log. Keep the"
            " position where the effects are.",
            events=written,
        )
    return what_is_wrong(stage, "a new database started at the beginning")


def _old_ones_deleted(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let the log delete the events that it has been read for, and call it twice more."""
    stage = Stage(answer, room)
    stage.log.write()
    stage.call()
    stage.log.delete_all()
    stage.log.write()
    stage.call()
    positions = where_to_look(stage)
    stage.call()
    after = "the log has deleted its old events, it was called twice more"
    return what_is_wrong(stage, after, positions)
