"""Find by symptom: from what a person sees, or pastes, to the pitfall, its cause and its fix.

What a text goes through:
    `reading`   what tells something in it: of a traceback the errors, not the frames
    `words`     the terms that are compared
    `index`     the pitfalls and what finds them, which notebooks/build.py gathered
    `match`     the entries that fit, best first
    `answer`    what is said of them

Nothing here asks a network or keeps what it read.
"""

from __future__ import annotations

from labsvc.symptoms.answer import answer, symptom

__all__ = ["answer", "symptom"]
