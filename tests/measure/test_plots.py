from __future__ import annotations

import io
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from PIL import Image

from labsvc.measure import (
    Comparison,
    Histogram,
    Load,
    Plot,
    closed_loop,
    compare,
    open_loop,
    plot_loads,
)

APPROVED = Path(__file__).with_name("approved.png")
TIME = re.compile(r"\d\s*(ns|µs|us|ms|s)\b")


def decode(plot: Plot) -> Image.Image:
    """Read the PNG of a plot in full."""
    image = Image.open(io.BytesIO(plot.png))
    image.load()
    return image


def load(*ns: int, failed: int = 0) -> Load:
    """Make a load that met these latencies."""
    latency = Histogram.from_ns(ns)
    errors = {"UNAVAILABLE": failed} if failed else {}
    return Load(latency, latency, Histogram([1_000] * failed), errors, 1.0)


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """Two variants, the second of which does a thousand times the work."""
    return compare({"little": lambda: None, "much": lambda: sum(range(20_000))}, calls=60, rounds=6)


def test_a_notebook_gets_a_picture_and_its_words(comparison: Comparison) -> None:
    """The output is a PNG shown 900 wide, with alternative text in its metadata."""
    plot = comparison.plot("Little and much")
    data, metadata = plot._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert data["image/png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert metadata == {"image/png": {"alt": plot.alt, "width": 900}}
    assert data["text/plain"] == repr(plot)


def test_the_picture_is_large_and_opaque_on_white_with_a_border(comparison: Comparison) -> None:
    """Twice 900 pixels for dense screens, no transparency, so that a dark page cannot hide ink."""
    image = decode(comparison.plot()).convert("RGBA")
    assert image.width == 1800
    assert 700 <= image.height <= 1200
    assert image.getchannel("A").getextrema() == (255, 255)
    inside, border = image.getpixel((12, 12)), image.getpixel((0, image.height // 2))
    assert inside == (255, 255, 255, 255)
    assert isinstance(border, tuple)
    assert max(border[:3]) < 235


def test_both_variants_are_drawn_in_their_colours(comparison: Comparison) -> None:
    """Vermillion and blue, which colour-blind people can tell apart, are really in the picture."""
    colors = decode(comparison.plot()).convert("RGB").getcolors(1_000_000)
    assert colors is not None
    for wanted in ((0xD5, 0x5E, 0x00), (0x00, 0x72, 0xB2)):
        near = sum(
            count
            for count, color in colors
            if isinstance(color, tuple)
            and max(abs(a - b) for a, b in zip(color, wanted, strict=True)) < 12
        )
        assert near > 1_000


def test_the_alternative_text_says_what_is_seen(comparison: Comparison) -> None:
    """Who cannot see the picture learns what is shown, which is faster, and of how many calls."""
    alt = comparison.plot("Little and much").alt
    assert alt.startswith("Little and much. Two panels")
    assert "At the median, from fastest to slowest: little, much." in alt
    assert "60 each in 6 rounds that took turns" in alt


def test_no_time_is_in_the_words(comparison: Comparison) -> None:
    """Words are stored and compared, so they hold no time."""
    plot = comparison.plot()
    assert TIME.search("it took 3 ms")
    assert not TIME.search(plot.alt)
    assert not TIME.search(plot.text)


def test_the_words_travel_in_the_file(comparison: Comparison, tmp_path: Path) -> None:
    """A saved picture keeps its title and description."""
    plot = comparison.plot("Little and much")
    plot.save(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes() == plot.png
    assert decode(plot).info["Title"] == "Little and much"
    assert decode(plot).info["Description"] == plot.alt


def test_the_picture_is_the_one_that_was_approved(tmp_path: Path) -> None:
    """Lines, marks, axes, legend and sizes are those of a picture that somebody looked at.

    After a change that is meant, look at the picture that the failure names, and store it.
    """
    steps = [int(2_000_000 * 1.03**step) for step in range(150)]
    loads = {
        "closed loop": load(*range(1_000_000, 3_000_000, 2_000), failed=12),
        "open loop, counted from the intended start of a call": load(*steps),
        "another way": load(700_000, 900_000, 900_000, 40_000_000),
        "nothing answered": load(failed=3),
    }
    drawn = tmp_path / "picture.png"
    plot_loads(loads, "Three ways to call").save(drawn)
    assert compare_images(str(APPROVED), str(drawn), tol=0.5) is None


def test_an_open_loop_shows_both_ways_of_counting() -> None:
    """One load is drawn from the intended and from the actual start; a closed loop has one line."""
    opened = open_loop(lambda: None, rate=1000, seconds=0.05)
    assert opened.plot().text == (
        "Latency plot: from the intended start, 50 calls; from the actual start, 50 calls"
    )
    assert closed_loop(lambda: None, calls=20).plot().text == "Latency plot: latency, 20 calls"


def test_several_loads_in_one_picture() -> None:
    """Closed and open loop stand side by side."""
    plot = plot_loads({"closed loop": load(1, 2, 3), "open loop": load(4, 5)}, "A stall")
    assert plot.text == "Latency plot: closed loop, 3 calls; open loop, 2 calls"
    assert "Answered calls: 3, 2; warm-up left out." in plot.alt


def test_failures_are_named_and_not_drawn() -> None:
    """A variant whose calls failed says how many, and takes no place in the order."""
    plot = plot_loads({"up": load(1_000, 2_000), "down": load(failed=7)})
    assert "Shown: up, down (7 failed)." in plot.alt
    assert "fastest" not in plot.alt
    assert plot.text == "Latency plot: up, 2 calls; down, 7 calls"


def test_a_single_load_names_its_failures_too() -> None:
    """The picture of one load says how many calls are not on its lines."""
    closed = load(1_000, 2_000, failed=1_200)
    assert "Shown: latency (1,200 failed)." in closed.plot().alt
    assert closed.plot().text == "Latency plot: latency, 1202 calls"
    opened = Load(closed.latency, Histogram([500, 900]), closed.failed, closed.errors, 1.0)
    shown = "from the intended start (1,200 failed), from the actual start (1,200 failed)"
    assert f"Shown: {shown}." in opened.plot().alt


def test_the_words_of_a_picture_without_a_title() -> None:
    """The whole alternative text of a load, of two, and of a comparison with one variant."""
    panels = "Two panels with latency on a logarithmic scale: by percentile, and as a distribution."
    assert load(*[1_000] * 1_500).plot().alt == (
        f"Latency per call. {panels} Shown: latency. Answered calls: 1,500; warm-up left out."
    )
    loads = {"even": load(*[2_000] * 100), "uneven": load(*[1_000] * 98, 9_000, 9_000)}
    assert plot_loads(loads, "Two loads").alt == (
        f"Two loads. {panels} Shown: even, uneven. "
        "At the median, from fastest to slowest: uneven, even. "
        "At the 99th percentile, from fastest to slowest: even, uneven. "
        "Answered calls: 100 each; warm-up left out."
    )
    alone = compare({"only": lambda: None}, calls=6, rounds=6).plot("Alone")
    assert alone.alt.startswith("Alone. ")
    assert alone.alt.endswith("Answered calls: 6 in 6 rounds; warm-up left out.")


@pytest.mark.parametrize(
    "loads",
    [
        {"nothing answered": load(failed=3)},
        {"one call": load(1_000_000)},
        {"all equal": load(*[5_000] * 50)},
        {"zero": load(0, 0, 1)},
        {"nine decades": load(1, 3_000_000_000)},
        {str(number): load(1_000 * number, 2_000 * number) for number in range(1, 9)},
    ],
    ids=lambda loads: next(iter(loads)),
)
def test_odd_data_is_drawn_all_the_same(loads: dict[str, Load]) -> None:
    """No answer, one call, equal calls, a huge range and eight lines all give a picture."""
    assert decode(plot_loads(loads)).width == 1800


def test_without_answers_there_is_a_sentence_and_no_axis() -> None:
    """An axis without a curve would look as if times had been measured."""
    image = decode(plot_loads({"nothing answered": load(failed=3)})).convert("L")
    below, footer = image.height // 2 + 40, image.height - 100
    for left, right in ((20, 170), (1100, 1780)):
        assert image.crop((left, below, right, footer)).getextrema() == (255, 255)


def test_long_names_take_more_rows_in_place_of_less_room() -> None:
    """A legend that does not fit in one row makes the picture taller, not cut."""
    short = decode(plot_loads({"a": load(1), "b": load(2)}))
    names = [f"a name that takes a good deal of room, number {n}" for n in range(4)]
    rows = decode(plot_loads({name: load(1, 2) for name in names}))
    assert rows.height >= short.height + 40


def test_nothing_to_draw_is_an_error() -> None:
    """An empty figure would say nothing."""
    with pytest.raises(ValueError, match="give at least one load"):
        plot_loads({})


def test_the_settings_of_matplotlib_are_neither_changed_nor_obeyed() -> None:
    """A learner's own style stays, and does not reach into the course's figures."""
    loads = {"a": load(*range(1_000, 60_000, 1_000))}
    plain = plot_loads(loads).png
    with mpl.rc_context({"axes.facecolor": "black", "font.size": 20, "text.color": "white"}):
        before = dict(mpl.rcParams)
        assert plot_loads(loads).png == plain
        assert dict(mpl.rcParams) == before


def test_importing_measure_is_cheap() -> None:
    """Drawing and histograms are imported when first used, and pyplot never."""
    code = (
        "import sys; import labsvc.measure as m; late = ('matplotlib', 'numpy', 'PIL');"
        "print([n for n in late if n in sys.modules]);"
        "m.closed_loop(lambda: None, calls=3).plot(); print('matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["[]", "False"]


@pytest.mark.parametrize(
    ("shortest", "longest", "labels"),
    [
        (1_000_000, 3_000_000, "1 ms, 1.2 ms, 1.5 ms, 2 ms, 3 ms"),
        (2_900_000, 9_000_000, "3 ms, 4 ms, 5 ms, 7 ms, 10 ms"),
        (500_000, 30_000_000, "500 µs, 1 ms, 2 ms, 5 ms, 10 ms, 20 ms"),
        (500_000, 300_000_000, "1 ms, 3 ms, 10 ms, 30 ms, 100 ms, 300 ms"),
        (500, 30_000_000, "1 µs, 10 µs, 100 µs, 1 ms, 10 ms"),
    ],
)
def test_a_narrow_scale_has_finer_ticks(shortest: int, longest: int, labels: str) -> None:
    """Each range of latencies has ticks enough to read it, and not too many."""
    from labsvc.measure import figure
    from labsvc.measure.series import Series

    axes = Figure().add_subplot()
    figure._latency_axis(axes, [Series("a", Histogram([longest, shortest]))])
    low, high = axes.get_ylim()
    assert (low, high) == pytest.approx((shortest / 1.25e9, longest * 1.25e-9))
    ticks = [tick for tick in axes.yaxis.get_majorticklocs() if low <= tick <= high]
    assert ", ".join(map(figure._duration, ticks)) == labels
    assert len(axes.yaxis.get_minorticklocs()) == 0


def test_axis_labels_carry_units() -> None:
    """Ticks are written with the unit that suits them."""
    from labsvc.measure.figure import _duration

    ticks = [_duration(seconds) for seconds in (5e-8, 2e-6, 5e-4, 1e-3, 0.3, 1, 20)]
    assert ticks == ["50 ns", "2 µs", "500 µs", "1 ms", "300 ms", "1 s", "20 s"]
    assert all(a != b for a, b in pairwise(ticks))
