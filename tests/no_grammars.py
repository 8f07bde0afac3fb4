"""A plugin for pytest that keeps each test process from compiling grammars that no test needs.

It has to come before nbval, which imports jsonschema: `-p` on the command line does.
"""

from __future__ import annotations

from labsvc.grammars import leave_out

leave_out()
