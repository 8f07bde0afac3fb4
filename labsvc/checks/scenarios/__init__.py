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
context, parallel                  24: what to send on, and one request in many threads
errors                             25
retries, refusals                  26, and its stage: a shop that refuses
stopping, pacing                   27: a handler that ends with its caller, a reader with credit
server_concurrency, user_places    28: a limit for each user
blocking_library, library          28: a library that blocks, and what both exercises call
connections_under_load             29
drained_server                     29, its stage: a server that is told to go
prices, third_party                30, and its stage: a party in trouble
by_hand, leaving                   30 and T3: an HTTP server by hand, what an answer leaves behind
http_contracts, update_endings     31: a change that loses nobody's, and how an answer ended
address_book                       31, its stage: addresses that others change too
come_back, busy_shop               32, and its stage: a shop that sends its customers away
readiness, health_stage            33, and its stage: services and their health
tls_diagnosis, tls_stage           40, and its stage: servers with one thing wrong with their TLS
same_backend                       41
registration, registry             42, and its stage: etcd, and what is in it
queues, prefetch                   50
delivery, dead_letters, outbox     51
sold_once, box_office              52, and its stage: seats in PostgreSQL
lone_seller, seat_sellers          52: one seller after the other, and those at work beside it
vouchers, voucher_faults           53: calls of a saga in every order, and over faults
voucher_rivals, voucher_desk       53: two processes at once; its stage, a voucher
film_upload, film_errors           54: uploads that have to succeed, and those that cannot
film_memory                        54: how much of a film is in memory at one moment
film_stage, film_server            54, their stage: a server that takes chunks and fails
relayed_trace, relayed_rows        60: a relay of an outbox, and each row that it sent
relay_stage                        60, its stage: rows of orders with and without a trace
traceparent                        24 and 60: the ids in a header
access_log, logged_users           61, and its stage: a handler that ends when it is told to
call_endings, log_line             61: how a call can end, and what is wrong with its line
each_once                          62: each event of a log has one effect
database_errors, crash_points      62: a database that fails, a process that is killed
event_log, effects                 62, its stage: a log and a database, and what is wrong in there
on_call                            63: a shop with one or two things wrong
untouched                          63: what a mend must leave as it was
crowd, crowd_stage                 T0, and its stage: a shop that stalls and loses what passes
crowd_plan, crowd_seen             T0: the crowds that come, and their requests, each with a fate
crowd_sent                         T0: what holds for the requests
crowd_rules, crowd_report          T0: what holds for each customer, and for the report on them
cart, cart_stage                   T1, and its stage: two versions of a contract, and a service
cart_rules, cart_bodies            T1: what holds for each change, and what a page sends
cart_drawn                         T1: carts and changes that are drawn
front, front_visits                T2, and its stage: customers, and a desk
front_orders                       T2: the orders behind it, and what they say by a script
front_rules, front_leaving         T2: what holds for each visit, and customers who leave
front_times, front_pauses          T2: the seconds of each try, and those between tries
saving, saving_stage               T3, and its stage: users that others change too
saving_rules, saving_pauses        T3: what holds for each user, and between its requests
saving_scripts, saving_told        T3: what happens to a user, and by what an end is told
saving_leaving                     T3: a function that is cancelled, or finds nobody
reserving, reserving_stage         T4, and its stage: members with mutual TLS, and strangers
reserving_member                   T4: one member, and the orders that arrive
reserving_calls, reserving_rules   T4: what holds for each call, and for members over many
reserving_changes                  T4: another list, renewed files, another authority
reserving_endings                  T4: calls that end badly, members that nobody reaches
restart, restart_stage             T5, and its stage: a queue, a database, a queue of events
restart_rules, restart_events      T5: what holds after each call, and of the events that went out
restart_bodies, restart_silence    T5: bodies that cannot be read, and a broker that falls silent
restart_faults                     T5: a database that fails, is held up, and is written by others
watched, watched_stage             T6, and its stage: a worker's loop, a collector, a log that hangs
watched_visits, watched_rules      T6: one message, and what holds for each
watched_numbers                    T6: the numbers of all, and a log that hangs
watched_sent, watched_post         T6: what holds for events, and where they are published
watched_log                        T6: the log that lines are written to
until_cancelled                    50 and 51: a worker that has to end when it is cancelled
ending                             how a learner's function ends a handler on threads
watch                              the learner's calls, seen from their own side of the wire
"""

from __future__ import annotations

__all__: list[str] = []
