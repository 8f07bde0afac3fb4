"""The grammars of RFC 3987, which jsonschema compiles as it is imported; nobody here needs them.

nbformat, nbval and Jupyter's server import jsonschema. Its 38 grammars cost each process a second
of a core or more, for formats that none of their schemas names.
"""

from __future__ import annotations

import sys
from typing import Any


def leave_out() -> None:
    """Keep jsonschema from compiling the grammars; it has to be called before jsonschema comes."""
    modules: dict[str, Any] = sys.modules
    # An import of it fails now, and jsonschema goes on without.
    modules.setdefault("rfc3987_syntax", None)
