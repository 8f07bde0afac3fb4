"""Pictures of runs: what is drawn and where, what the words say, and the PNG.

The events are written by hand (`events`), as a recording of the lab would have them.
"""

from __future__ import annotations

import io
import subprocess
import sys
import time
from itertools import combinations
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labsvc.measure.series import WIDTH
from labsvc.timeline.layout import NOTHING, Picture, picture
from labsvc.timeline.parts import tell
from labsvc.timeline.picture import plot, side_by_side
from labsvc.timeline.record import Event, Kind
from tests.timeline import events as runs
from tests.timeline.events import NAMES, Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.timeline.shapes import Box

MOST_BYTES = 250_000
SINGLE = [
    runs.plain,
    runs.four_hops,
    runs.lost_answer,
    runs.tries,
    runs.nested,
    runs.stream,
    runs.queue,
    runs.many,
    runs.one_after_the_other,
]


def drawn(run: Script) -> Picture:
    """Lay out one run."""
    return picture({"run": tell(run.events, NAMES)}, "Title")


def texts(found: Picture, look: str = "") -> list[str]:
    """Return the words of a picture, of one look if given."""
    return [words.text for words in found.shapes.words if look in ("", words.look)]


def boxes(found: Picture, look: str) -> list[Box]:
    """Return the boxes of one look, but for the one in the legend."""
    return [box for box in found.shapes.boxes if box.look == look and box.y0 > top(found)]


def top(found: Picture) -> float:
    """Return where the lanes begin."""
    return min(line.y0 for line in found.shapes.lines if line.look == "lane")


def lines(found: Picture, look: str) -> int:
    """Count the lines of one look."""
    return sum(line.look == look for line in found.shapes.lines)


def no_words_overlap(found: Picture) -> None:
    """Hold that no two words overlap, and that all are within the figure."""
    for words in found.shapes.words:
        start, end = words.span
        assert start >= 0
        assert end <= WIDTH / 100, words
        assert 0 < words.y < found.height
    for one, other in combinations(found.shapes.words, 2):
        apart = one.span[1] <= other.span[0] or other.span[1] <= one.span[0]
        assert apart or abs(one.y - other.y) >= 0.9 * (one.height + other.height) / 2, (one, other)


def test_a_plain_call() -> None:
    """A bar at each end, there and back, and a commit."""
    found = drawn(runs.plain())
    assert found.names == ["caller", "orders"]
    assert len(boxes(found, "call")) == len(boxes(found, "handler")) == 1
    assert lines(found, "request") == lines(found, "answer") == 1
    assert boxes(found, "wasted") == []
    assert {"PlaceOrder", "commit", "0 ms"} <= set(texts(found))
    assert lines(found, "deadline") == 0  # it is far behind the end


def test_four_hops_with_a_deadline() -> None:
    """What is done behind the deadline is drawn as work for nobody, at each hop."""
    found = drawn(runs.four_hops())
    assert found.names == ["caller", "orders", "stock", "prices", "depot"]
    [cancelled], wasted = boxes(found, "cancelled"), boxes(found, "wasted")
    [deadline] = {
        line.x0 for line in found.shapes.lines if line.look == "deadline" and line.y1 > top(found)
    }
    assert [box.x0 for box in wasted] == pytest.approx([deadline] * 3)
    assert cancelled.x1 == pytest.approx(deadline, abs=0.05)
    assert texts(found, "status") == ["DEADLINE_EXCEEDED", "cancelled"]
    assert {"work after the caller gave up", "handler cancelled", "commit"} <= set(
        texts(found, "legend")
    )
    assert lines(found, "answer") == 3


def test_an_answer_lost_at_a_proxy() -> None:
    """Its arrow ends in the proxy's lane, as that of a lost request does; tries are numbered."""
    found = drawn(runs.lost_answer())
    assert found.names == ["caller", "network", "orders"]
    assert lines(found, "lost") == 2
    [swallowed] = [words for words in found.shapes.words if words.text == "swallowed 3x"]
    answer = next(line for line in found.shapes.lines if line.look == "lost" and line.y1 < line.y0)
    assert answer.y1 == pytest.approx(swallowed.y)
    assert {"try 2: UNAVAILABLE", "PlaceOrder, try 3", "network cleared", "proxy"} <= set(
        texts(found)
    )


def test_a_lost_request_to_nobody_knows_where() -> None:
    """Half-way."""
    run = Script()
    run.call(0, 90, "caller", "nowhere", "Orders/Get", status="UNAVAILABLE")
    run.call(100, 190, "caller", "orders", "Orders/Get", work=(110, 180))
    found = drawn(run)
    [lost] = [line for line in found.shapes.lines if line.look == "lost"]
    [request] = [line for line in found.shapes.lines if line.look == "request"]
    assert request.y0 < lost.y1 < request.y1


def test_27_nested_calls() -> None:
    """Six rows, and the rest as a band, at both ends."""
    found = drawn(runs.nested())
    assert texts(found, "fold") == ["+ 17 more calls"] * 2
    assert texts(found, "caption") == ["22 of 56 bars are drawn; grey bands are the others."]
    assert lines(found, "request") == 11


def test_27_calls_in_a_row() -> None:
    """They all fit, and those after the deadline are for nobody."""
    found = drawn(runs.tries())
    assert texts(found, "fold") == []
    assert len(boxes(found, "call")) == 39
    assert "Quote" in texts(found, "role")  # too long for the bars


def test_a_stream_of_20_messages() -> None:
    """A tick for each at both ends."""
    found = drawn(runs.stream())
    looks = [mark.look for mark in found.shapes.marks]
    assert looks.count("tick") == 21  # one is in the legend
    assert looks.count("tick on call") == 20


def test_a_queue() -> None:
    """Published, delivered, acked, delivered again, dead-lettered."""
    found = drawn(runs.queue())
    assert found.names == ["shop", "broker", "ledger", "mail"]
    assert len(boxes(found, "queue")) == 5
    assert len(boxes(found, "consumer")) == 5
    assert lines(found, "request") == 10
    assert {"acked", "requeued", "rejected", "dead-lettered"} <= set(texts(found))
    assert [box.torn for box in boxes(found, "queue")].count("r") == 1


@pytest.mark.parametrize("run", [runs.many, runs.one_after_the_other])
def test_1000_calls_are_folded(run: Callable[[], Script]) -> None:
    """The first ones are drawn, and a band for the rest; soon, and small."""
    events = run().events
    begun = time.perf_counter()
    made = plot(events, "Many calls", NAMES)
    assert time.perf_counter() - begun < 8  # seconds; 1 on a machine with nothing else to do
    assert len(made.png) < MOST_BYTES
    found = drawn(run())
    assert texts(found, "fold") == ["+ 960 more calls"] * 2
    assert "1,000 calls" in made.alt
    assert lines(found, "request") <= 40


def test_nothing_at_all() -> None:
    """It says so, in the picture and in both texts."""
    found = drawn(Script())
    assert NOTHING in texts(found)
    made = plot([], "Title")
    assert made.alt == "Title. Nothing was recorded."
    assert made.text == "Timeline: nothing was recorded"
    assert side_by_side({}, "Title").text == "Timelines: nothing was recorded"
    assert side_by_side({"pitfall": [], "fix": []}, "Title").text == "Timelines: pitfall, fix"


def test_a_note_alone() -> None:
    """Its party has a lane then."""
    run = Script()
    run.add(0, "orders", "noted", detail="started")
    assert drawn(run).names == ["orders"]
    assert "orders started" in texts(drawn(run))


@pytest.mark.parametrize("run", SINGLE)
def test_no_words_overlap(run: Callable[[], Script]) -> None:
    """In none of the runs."""
    no_words_overlap(drawn(run()))


def test_words_of_two_runs() -> None:
    """The same lanes, and the counts that differ most."""
    made = side_by_side({name: run.events for name, run in runs.pair().items()}, "Tries", NAMES)
    assert made.text == "Timelines: pitfall, fix"
    assert made.alt.startswith(
        "Tries. pitfall: 39 calls, 26 in vain, 39 failed; fix: 5 calls, none in vain, 5 failed; "
        "pitfall took 9 times as long. pitfall: The caller's calls to PlaceOrder"
    )
    stories = {name: tell(run.events, NAMES) for name, run in runs.pair().items()}
    found = picture(stories, "Tries")
    no_words_overlap(found)
    lanes = texts(found, "lane")
    assert lanes == ["caller", "orders", "stock", "prices"] * 2
    zeros = {words.x for words in found.shapes.words if words.text == "0 ms"}
    assert len(zeros) == 1


def test_one_run_beside_itself() -> None:
    """No difference."""
    run = runs.plain().events
    made = side_by_side({"one": run, "other": run}, "Same", NAMES)
    assert made.alt.startswith("Same. the same counts in each: 1 call. one: The caller's call")


@pytest.mark.parametrize(
    ("run", "alt"),
    [
        (runs.plain, "The caller's call to PlaceOrder ended with OK. 1 call."),
        (
            runs.four_hops,
            (
                "The caller's call to PlaceOrder ended with DEADLINE_EXCEEDED; stock, prices and "
                "depot worked on after the caller gave up. 4 calls, 1 failed, 1 handler cancelled."
            ),
        ),
        (
            runs.lost_answer,
            (
                "The caller's calls to PlaceOrder ended with DEADLINE_EXCEEDED, UNAVAILABLE and "
                "OK. 3 calls, 2 failed, swallowed 4 times, 1 answer lost at the proxy network, "
                "1 request lost on the way."
            ),
        ),
        (runs.queue, "5 messages, 3 acked, 1 redelivered, 1 dead-lettered."),
    ],
)
def test_alternative_texts(run: Callable[[], Script], alt: str) -> None:
    """What happened, in a sentence or two."""
    assert plot(run().events, "Title", NAMES).alt == f"Title. {alt}"


def test_the_png() -> None:
    """It decodes, is opaque and as wide as all figures, and says what was dropped."""
    made = plot(runs.lost_answer().events, "Lost", NAMES, dropped=1200)
    assert made.text == "Timeline: caller, network, orders"
    with Image.open(io.BytesIO(made.png)) as image:
        image.load()
        assert image.width == 2 * WIDTH
        assert "transparency" not in image.info
        assert image.info["Description"] == made.alt
    assert len(made.png) < MOST_BYTES
    story = {"run": tell(runs.plain().events, NAMES)}
    caption = texts(picture(story, "Lost", dropped=1200), "caption")
    assert caption == ["Dropped for want of room: the 1,200 oldest events."]


def test_any_letters_are_drawn() -> None:
    """Mathematics, line breaks, half a letter, a script that the font lacks."""
    run = Script()
    for words in ("$x^$", "a\nb\0", "\ud800", "注文" * 40, "%s {}"):
        run.call(0, 30, words, words, words, status=words, work=(3, 20))
        run.add(10, "caller", "noted", detail=words)
    made = plot(run.events, "$\\frac$ \ud800", {"": "$"})
    assert made.png.startswith(b"\x89PNG")


def test_the_package_does_not_import_matplotlib() -> None:
    """Not before something is drawn: that takes a second."""
    code = "import sys, labsvc.timeline.picture; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


PARTIES = st.sampled_from(["caller", "orders", "stock", "network", "broker"])
EVENTS = st.lists(
    st.builds(
        Event,
        number=st.integers(0, 50),
        at=st.floats(0, 3),
        party=PARTIES,
        kind=st.sampled_from(get_args(Kind)),
        what=st.sampled_from(["", "Orders/Get", "GET /orders", "orders"]),
        detail=st.sampled_from(["", "OK", "200", "503", "CANCELLED", "ReadTimeout"]),
        flow=st.integers(0, 6),
        parent=st.integers(0, 6),
        strand=st.integers(0, 3),
        deadline=st.one_of(st.just(float("inf")), st.floats(-1, 4)),
        target=st.sampled_from(["", *NAMES, "caller", "orders"]),
        attempt=st.integers(1, 3),
    ),
    max_size=60,
)


@given(EVENTS, EVENTS)
@settings(max_examples=60, deadline=None)
def test_odd_events_are_laid_out(one: list[Event], other: list[Event]) -> None:
    """Any events, with any of them missing: words within the figure, none on the other."""
    no_words_overlap(picture({"one": tell(one, NAMES)}, "Title"))
    no_words_overlap(picture({"a": tell(one, NAMES), "b": tell(other, {})}, "Title"))


@given(EVENTS)
@settings(max_examples=8, deadline=None)
def test_odd_events_are_drawn(events: list[Event]) -> None:
    """Any events become a picture."""
    assert plot(events, "Odd", NAMES, dropped=len(events)).png
    assert side_by_side({"a": events, "b": events[::2]}, "Odd", NAMES).alt
