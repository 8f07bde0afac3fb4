"""The services that a lab hosts, a module for each kind.

`service` is what all of them have in common: a name, a port that is kept, a ring buffer.
`grpc`, `http`, `queue`, `collector` (OTLP), `dns` and `proxy` run in the kernel, and count in
`.stats`; `log` (Kafka's protocol, by a mock cluster) runs there too, and its clients count. `etcd`,
`objects` (S3), `rows` (PostgreSQL) and `cache` (Redis) are child processes, which count for
themselves, in their own terms (etcd at `/metrics`); put `lab.proxy(...)` before one to count its
connections and bytes. `program` is what those of one program have in common, `external` what
engines that run elsewhere have.
"""

from __future__ import annotations

__all__ = [
    "cache",
    "collector",
    "dns",
    "etcd",
    "external",
    "grpc",
    "http",
    "log",
    "objects",
    "program",
    "proxy",
    "queue",
    "rows",
    "service",
]
