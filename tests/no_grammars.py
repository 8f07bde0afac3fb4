"""A plugin for pytest that keeps jsonschema from compiling 38 grammars as it is imported.

nbval and nbformat import jsonschema. The grammars of RFC 3987 cost each process two seconds of a
core, for formats that no notebook's schema names. It has to come before nbval: `-p` on the command
line does.
"""

from __future__ import annotations

import sys
from typing import Any

_modules: dict[str, Any] = sys.modules
_modules["rfc3987_syntax"] = None  # jsonschema does without it
