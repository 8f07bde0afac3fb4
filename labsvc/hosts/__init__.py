"""The services that a lab hosts, a module for each kind.

`service` is what all of them have in common: a name, a port that is kept, a ring buffer.
`grpc`, `http`, `queue`, `dns` and `proxy` run in the kernel; `etcd` and `objects` (S3) are child
processes. What runs in the kernel counts in `.stats`. A child process counts for itself, in
its own terms (etcd at `/metrics`); put `lab.proxy(...)` before it to count connections and bytes.
"""

from __future__ import annotations

__all__ = ["dns", "etcd", "grpc", "http", "objects", "proxy", "queue", "service"]
