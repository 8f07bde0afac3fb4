"""What happened in a run, in one or two sentences, and what differs between two runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from labsvc.measure.series import WIDTH
from labsvc.timeline.kinds import short, succeeded
from labsvc.timeline.record import CALLER
from labsvc.timeline.shapes import width

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from labsvc.timeline.parts import Run, Story

_MOST_GROUPS = 3  # of calls that are named one by one
_MOST_COUNTS = 3  # that a difference names
_LINE = WIDTH / 100 - 0.5  # inches for it
_MUCH = 2  # times as long
_TIMES = {2: "twice"}


class Count(NamedTuple):
    """A number of a run and its words: for none, for one, for more; "{}" is the number."""

    number: float
    none: str
    one: str
    more: str

    def __str__(self) -> str:
        if not self.number:
            return self.none
        shown = f"{self.number:,.2g}" if isinstance(self.number, float) else f"{self.number:,}"
        return (self.one if self.number == 1 else self.more).format(shown)


def _count(number: int, noun: str, rest: str = "") -> Count:
    """Count things: "no call", "1 call", "2 calls", with `rest` behind it."""
    return Count(number, f"no {noun}{rest}", f"{{}} {noun}{rest}", f"{{}} {noun}s{rest}")


def counts(story: Story) -> list[Count]:
    """Return the counts of a run, the same ones in the same order for every run."""
    called = [call for call in story.calls if call.called is not None]
    late = sum(call.called is not None and call.called.at > call.vain for call in called)
    failed = sum(call.seen is not None and not succeeded(call.seen.detail) for call in called)
    cancelled = sum(run.left is not None and run.left.kind == "cancelled" for run in _runs(story))
    wasted = float(f"{sum(map(story.wasted, _runs(story))):.2g}")
    retried = sum(len(call.runs) - 1 for call in called if call.runs)  # by gRPC itself
    kinds = Counter(event.kind for call in story.calls for event in call.streamed)
    untaken = max(0, kinds["sent"] - kinds["received"])
    swallowed = sum(event.kind == "swallowed" for event in story.proxied)
    ends = Counter(message.last.kind for message in story.messages if message.last is not None)
    again = sum(
        max(0, sum(event.kind == "delivered" for event in message.events) - 1)
        for message in story.messages
    )
    lost = ends["rejected"] + ends["returned"] + ends["expired"]
    return [
        _count(len(called), "call"),
        Count(retried, "no more tries", "{} more try", "{} more tries"),
        Count(late, "none in vain", *["{} in vain"] * 2),
        Count(failed, "none failed", *["{} failed"] * 2),
        _count(cancelled, "handler", " cancelled"),
        Count(wasted, "no work in vain", *["{} s of work in vain"] * 2),
        Count(swallowed, "nothing swallowed", *["swallowed {} times"] * 2),
        _count(untaken, "message", " of streams not taken"),
        _count(len(story.messages), "message"),
        Count(ends["acked"], "none acked", *["{} acked"] * 2),
        Count(again, "none redelivered", *["{} redelivered"] * 2),
        Count(ends["dead-lettered"], "none dead-lettered", *["{} dead-lettered"] * 2),
        Count(lost, "none lost", *["{} lost"] * 2),
    ]


def difference(stories: Mapping[str, Story]) -> str:
    """Name the counts that differ most between runs, and who took much longer."""
    if len(stories) < 2 or not any(story.end for story in stories.values()):  # noqa: PLR2004  # of one there is no difference
        return ""
    rows = [*zip(*(counts(story) for story in stories.values()), strict=True)]
    apart = sorted(rows, key=_ratio, reverse=True)
    for most in range(_MOST_COUNTS, 0, -1):
        chosen = [row for row in apart[:most] if _ratio(row) > 1]
        text = _apart(stories, rows, [row for row in rows if row in chosen])
        if width(text, "difference") <= _LINE:
            break
    return text


def _apart(
    stories: Mapping[str, Story], rows: Sequence[Sequence[Count]], told: Sequence[Sequence[Count]]
) -> str:
    parts = []
    if told:
        for place, name in enumerate(stories):
            parts.append(f"{name}: {', '.join(str(row[place]) for row in told)}")
    else:
        shared = [str(row[0]) for row in rows if row[0].number][:2]
        parts.append(f"the same counts in each: {', '.join(shared)}" if shared else "no difference")
    lasted = {name: story.end - story.start for name, story in stories.items()}
    slow, fast = max(lasted, key=lasted.__getitem__), min(lasted, key=lasted.__getitem__)
    if lasted[fast] and (times := lasted[slow] / lasted[fast]) >= _MUCH:
        parts.append(f"{slow} took {times:,.0f} times as long")
    return "; ".join(parts)


def _ratio(row: Iterable[Count]) -> float:
    numbers = [count.number for count in row]
    return (max(numbers) + 1) / (min(numbers) + 1)


def _runs(story: Story) -> list[Run]:
    return [run for call in story.calls for run in call.runs]


def sentences(story: Story) -> str:
    """Say what became of the calls that were made outside of handlers, and count the rest."""
    if not story.calls and not story.messages:
        signs = len(story.commits) + len(story.proxied) + len(story.notes)
        return f"{_count(signs, 'event')}, but no call." if signs else "Nothing was recorded."
    outer: Counter[tuple[str, str, str]] = Counter(
        (call.called.party, short(call.called.what), "" if call.seen is None else call.seen.detail)
        for call in story.calls
        if call.called is not None and call.outer is None
    )
    parts = [_ended(outer)] if outer else []
    late = list(dict.fromkeys(run.any.party for run in _runs(story) if story.wasted(run)))
    if late:
        begun = f"{parts.pop()}; " if parts else ""
        parts.append(f"{begun}{_listed(late)} worked on after the caller gave up")
    numbers = [
        count for count in counts(story) if count.number and "work in vain" not in count.none
    ]
    fates = Counter(
        (f"at the proxy {story.via(run.call)}" if _proxied(run, story) else "on the way")
        for run in _runs(story)
        if run.fate == "lost"
    )
    losses = [f"{_count(number, 'answer')} lost {where}" for where, number in fates.items()]
    unreached = sum(call.unreached for call in story.calls)
    if unreached:
        losses.append(f"{_count(unreached, 'request')} lost on the way")
    parts.append(", ".join([*map(str, numbers), *losses]))
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in parts if part)


def _proxied(run: Run, story: Story) -> bool:
    return story.via(run.call) not in ("", run.any.party)


def _ended(outer: Counter[tuple[str, str, str]]) -> str:
    calls: dict[tuple[str, str], Counter[str]] = {}
    for (party, what, status), number in outer.items():
        calls.setdefault((party, what), Counter())[status] += number
    told = []
    for (party, what), statuses in [*calls.items()][:_MOST_GROUPS]:
        who = "the caller's" if party == CALLER else f"{party}'s"
        several = "s" if statuses.total() > 1 else ""
        ends = [f"{status}{_times(number)}" for status, number in statuses.items() if status]
        ended = [f"ended with {_listed(ends)}"] if ends else []
        if statuses[""]:
            ended.append(f"did not end{_times(statuses[''])}")
        told.append(f"{who} call{several} to {what} {_listed(ended)}")
    more = len(calls) - len(told)
    return "; ".join([*told, *([f"{_count(more, 'other method')} called"] if more else [])])


def _times(number: int) -> str:
    return f" {_TIMES.get(number, f'{number:,} times')}" if number > 1 else ""


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
