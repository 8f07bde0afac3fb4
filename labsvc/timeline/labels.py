"""The words of bars: in them if they fit, else beside them, else nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.timeline.scale import PAD, SIGN, Span, free
from labsvc.timeline.shapes import Words, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.timeline.bars import Bar, Sign
    from labsvc.timeline.scale import Scale


def outside(bar: Bar, scale: Scale) -> Span:
    """Return from where to where a bar reaches with the words that do not fit in it."""
    start, end = scale.ends(bar)
    name = _name(bar, scale)
    text = _texts(bar, named=name is not None)[:1]
    if not text or _on_it(bar, scale, text[0]).span[0] > (start if name is None else name.span[1]):
        return start, end
    wide = width(text[0], "status") + 2 * PAD
    if end + wide <= scale.right:
        return start, end + wide
    return (start - wide, end) if start - wide >= scale.left else (start, end)


def words(bars: Sequence[Bar], scale: Scale, *, crowded: bool = False) -> list[Words]:
    """Return the words of a row of bars, without those that would overlap anything; `y` is 0.

    Where it is crowded, no name stands beside its bar.
    """
    solid = [scale.ends(bar) for bar in bars]
    taken = [(x - SIGN, x + SIGN) for bar in bars for x in (scale.x(s.at) for s in bar.signs)]
    names = {bar: _name(bar, scale) for bar in bars}
    found = [name for name in names.values() if name is not None]
    taken += [name.span for name in found]
    for bar, name in names.items():
        start, end = scale.ends(bar)
        for text in _texts(bar, named=crowded or name is not None):
            right, on_it = _right(bar, scale, text), _on_it(bar, scale, text)
            left = right._replace(x=start - PAD - (right.x - end - PAD), align="right")
            spots = [
                *([right] if right.span[1] <= scale.right and free(right.span, solid) else []),
                *([on_it] if on_it.span[0] >= start + PAD else []),
                *([left] if left.span[0] >= scale.left and free(left.span, solid) else []),
            ]
            spot = next((spot for spot in spots if free(spot.span, taken)), None)
            if spot is not None:
                taken.append(spot.span)
                found.append(spot)
                break
    for bar in bars:
        for sign in bar.signs:
            spot = _at_sign(bar, scale, sign)
            others = [span for span in solid if span != scale.ends(bar)]
            if spot is not None and free(spot.span, [*taken, *others]):
                taken.append(spot.span)
                found.append(spot)
    return found


def _texts(bar: Bar, *, named: bool) -> list[str]:
    """Return what may stand beside a bar, the longest first; its name too if it is not in it."""
    with_name = (
        [] if named else [f"{name}: {bar.status}" if bar.status else name for name in bar.names]
    )
    return [*with_name, *([bar.status] if bar.status else [])]


def _name(bar: Bar, scale: Scale) -> Words | None:
    """Return the longest name that fits into a bar, in front of its first sign."""
    if bar.look == "call":
        return None
    start, end = scale.ends(bar)
    first = [scale.x(at) - 1.5 * SIGN for at in (sign.at for sign in bar.signs)]
    end = min([end, *first])
    light = bar.look != "handler"
    for until, plain in ((min(end, scale.vain(bar)), not bar.cancelled), (end, False)):
        look = f"in {bar.look}" if light else "inside" if plain else "in hatch"
        for name in bar.names:
            written = Words(start + PAD, 0, name, look)
            if written.span[1] + PAD <= until:
                return written
    return None


def _right(bar: Bar, scale: Scale, text: str) -> Words:
    signs = [scale.x(sign.at) for sign in bar.signs]
    end = scale.ends(bar)[1]
    more = SIGN if signs and max(signs) > end - SIGN else 0
    return Words(end + PAD + more, 0, text, _look(bar, text))


def _on_it(bar: Bar, scale: Scale, text: str) -> Words:
    """Return words over the end of a bar."""
    looks = {"handler": "status in", "call": _look(bar, text)}
    look = looks.get(bar.look, f"in {bar.look}")
    return Words(scale.ends(bar)[1] - 2 * PAD, 0, text, look, "right")


def _look(bar: Bar, text: str) -> str:
    return "status" if bar.status and bar.status in text and bar.status != "acked" else "beside"


def _at_sign(bar: Bar, scale: Scale, sign: Sign) -> Words | None:
    """Return the word of a sign on a bar, if it fits into that."""
    x = scale.x(sign.at)
    hatched = bar.cancelled or x > scale.vain(bar)
    look = f"in {bar.look}" if bar.look != "handler" else "in hatch" if hatched else "inside"
    for written in (
        Words(x + SIGN + 0.02, 0, sign.word, look),
        Words(x - SIGN - 0.02, 0, sign.word, look, "right"),
    ):
        start, end = scale.ends(bar)
        across = look == "inside" and written.span[1] > scale.vain(bar)
        if (
            sign.word
            and start + PAD <= written.span[0]
            and written.span[1] + PAD <= end
            and not across
        ):
            return written
    return None
