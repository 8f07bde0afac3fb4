"""What survives the end of the process: names, bindings and messages, in one SQLite file.

`database` opens the file, `store` collects changes and writes them in groups, `durable` is the
journal that the rules report to, `recovery` makes a virtual host again of what is stored.
"""

from __future__ import annotations

__all__ = ["database", "durable", "recovery", "store"]
