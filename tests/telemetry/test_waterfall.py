"""Waterfalls: what is drawn, and what is told to those who do not see it."""

from __future__ import annotations

import io
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labsvc.measure.series import WIDTH
from labsvc.telemetry import waterfall
from tests.telemetry.otlp import span, trace

if TYPE_CHECKING:
    from labsvc.measure.plots import Plot
    from labsvc.telemetry import Span

MOST_BYTES = 200_000
ORDER = trace(
    span("a", name="POST /orders", kind="server", service="web", at=(0, 9)),
    span("b", "a", name="/shop.v1.Stock/Get", kind="client", service="web", at=(1, 5)),
    span(
        "c", "b", name="/shop.v1.Stock/Get", kind="server", service="stock", at=(2, 4), error=True
    ),
)


def opened(plot: Plot) -> Image.Image:
    """Decode a figure."""
    image = Image.open(io.BytesIO(plot.png))
    image.load()
    return image


def colors(image: Image.Image, column: float) -> set[tuple[int, ...]]:
    """Return the colours in one column of a figure, which is between 0 and 1."""
    left = int(column * image.width)
    pixels = image.crop((left, 0, left + 1, image.height)).getcolors(2**24) or []
    return {color for _, color in pixels if isinstance(color, tuple)}


def test_the_words() -> None:
    """The alternative text has each row in order, with its depth and what failed."""
    plot = ORDER.plot("One order")
    assert plot.alt == (
        "Waterfall. One order. 3 spans; hatched: the side that asks."
        " All times are of this machine's clock."
        " web: POST /orders, depth 0; web: Stock/Get, depth 1; stock: Stock/Get, depth 2, error."
    )
    assert plot.text == repr(plot) == "Waterfall: web, stock"


def test_the_png() -> None:
    """It is opaque, as wide as all figures, of a modest size, and has its words inside."""
    plot = ORDER.plot("One order")
    image = opened(plot)
    assert image.width == 2 * WIDTH
    assert "transparency" not in image.info
    assert (image.info["Title"], image.info["Description"]) == ("One order", plot.alt)
    assert len(plot.png) < MOST_BYTES


def test_bars_are_where_their_times_are() -> None:
    """The colour of a service is in the columns of its spans, and in no others."""
    found = trace(span("a", service="web", at=(0, 10)), span("b", "a", service="db", at=(6, 8)))
    image = opened(waterfall.plot(found, "Title")).convert("RGB")
    blue, orange = (0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)

    def drawn(column: float) -> list[bool]:
        at = 0.4 + 0.575 * column / 1.03
        return [
            any(sum(map(abs, map(int.__sub__, seen, color))) < 30 for seen in colors(image, at))
            for color in (blue, orange)
        ]

    assert drawn(0.3) == [True, False]
    assert drawn(0.55) == [True, False]
    assert drawn(0.7) == [True, True]
    assert drawn(0.9) == [True, False]


def test_no_more_rows_than_fit() -> None:
    """Of a long trace the first rows are drawn, and the caption says so."""
    many = trace(*(span(f"{n}", "0" if n else "", at=(n, n + 1)) for n in range(500)))
    plot = many.plot("Many")
    assert "500 spans, the first 60 are drawn;" in plot.alt
    assert plot.alt.count("depth") == waterfall.MOST_ROWS
    assert plot.text == "Waterfall: shop"
    assert opened(plot).height < 4200
    assert len(plot.png) < MOST_BYTES


def test_no_spans() -> None:
    """A trace of which nothing is kept is drawn too."""
    plot = trace().plot("Nothing")
    assert plot.alt.startswith("Waterfall. Nothing. 0 spans;")
    assert plot.text == "Waterfall: no service"
    assert opened(plot).width == 2 * WIDTH


@pytest.mark.parametrize(("services", "rows"), [(1, 1), (3, 1), (15, 3)])
def test_many_services_have_more_rows_in_the_legend(services: int, rows: int) -> None:
    """It stays within the width, and the figure grows by what it needs."""
    spans = [span(f"{n}", service=f"service {n % services}", at=(n, n + 1)) for n in range(15)]
    inches = opened(trace(*spans).plot("Services")).height / 200
    assert inches == pytest.approx(0.76 + 0.24 * rows + 15 * 0.3 + 0.75, abs=0.02)


@pytest.mark.parametrize(("last", "unit"), [(0, "ms"), (0.001, "ms"), (999, "ms"), (1000, "s")])
def test_any_length_can_be_drawn(last: float, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to hours: there is an axis with a unit."""
    labels = []
    draw = waterfall._bars

    def look(axes: Any, *arguments: Any) -> None:
        draw(axes, *arguments)
        labels.append(axes.get_xlabel())

    monkeypatch.setattr(waterfall, "_bars", look)
    trace(span("a", at=(0, last))).plot("Length")
    assert labels == [f"{unit} since the first span began"]


def test_any_letters_are_drawn() -> None:
    """Mathematics, line breaks, half a letter, a script that the font lacks, an underscore."""
    names = ["$x^$", "a\nb\0", "\ud800", "注文" * 40, "%s {}", "_hidden", "_", ""]
    spans = [span(f"{n}", service=name, name=name, at=(n, n)) for n, name in enumerate(names)]
    plot = trace(*spans).plot("$\\frac$ \ud800")
    assert plot.png.startswith(b"\x89PNG")
    assert plot.text == f"Waterfall: $x^$, a b, ?, {'注文' * 40}, %s {{}}, _hidden, _, "
    plot.text.encode()
    plot.alt.encode()


def test_the_package_does_not_import_matplotlib() -> None:
    """Not before something is drawn: that takes a second."""
    code = "import sys, labsvc.telemetry; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


IDS = st.sampled_from(["", "1", "2", "3", "4"])
SPANS = st.lists(
    st.builds(
        span,
        IDS,
        IDS,
        at=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
        name=st.text(max_size=60),
        service=st.text(max_size=20),
        kind=st.sampled_from(["client", "server", "internal"]),
        error=st.booleans(),
    ),
    max_size=8,
)


@given(SPANS)
@settings(max_examples=4, deadline=None)
def test_odd_spans_are_drawn(spans: list[Span]) -> None:
    """Any spans become a picture: circles of parents, an end before the start, any names."""
    assert trace(*spans).plot("Odd").png
