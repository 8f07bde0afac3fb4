"""The scenarios of the exercises: a module per notebook, named after it, and parts of them.

start_here, lossy_shop             notebook 00, and its stage: a shop that loses what passes
percentile, measuring              01: the call at a rank, and times from a schedule
contracts, evolution, json         10 to 12
servicers                          10, its stage: servers that leave methods out
channels                           20
outages, giving_up, one_user       21: restarts, calls without an answer, and whom all of them ask
deadlines, hop                     22: passing a deadline on, and its stage: the two services
tries, tries_made                  22: tries within a budget, and what was seen of them
scripted_users                     22, stage of both: a service that fails as a script says
cancellation, page                 23, and its stage: a page and the two services that it asks
context, errors                    24 and 25
retries, refusals                  26, and its stage: a shop that refuses
stopping, pacing                   27: a handler that ends with its caller, a reader with credit
server_concurrency, user_places    28: a limit for each user
blocking_library, library          28: a library that blocks, and what both exercises call
connections_under_load             29
drained_server                     29, its stage: a server that is told to go
prices, leaving, third_party       30, what an answer leaves behind, and a party in trouble
http_contracts, address_book       31, and its stage: addresses that others change too
come_back, busy_shop               32, and its stage: a shop that sends its customers away
readiness, health_stage            33, and its stage: services and their health
tls_diagnosis, tls_stage           40, and its stage: servers with one thing wrong with their TLS
same_backend                       41
registration, registry             42, and its stage: etcd, and what is in it
queues, prefetch                   50
delivery, dead_letters, outbox     51
until_cancelled                    50 and 51: a worker that has to end when it is cancelled
ending                             how a learner's function ends a handler on threads
watch                              the learner's calls, seen from their own side of the wire
"""

from __future__ import annotations

__all__: list[str] = []
