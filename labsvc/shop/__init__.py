"""The running example: a shop with users, stock and orders, served in three ways.

The contracts are in protos/labsvc/shop/v1, their generated stubs in `v1`. The business logic is
written once, in `orders`, with the types of `model` and the tables of `store`; `errors` is what
can go wrong. `services` serves it over gRPC (`messages` translates, `remote` asks another
service), `api` over HTTP and `events` from a queue. `hops` is a chain of four small services, and
`media` takes films.

`checkout` is an order once more, spread over three services: `books` is what they hold, `steps` how
a saga calls them.
"""

__all__ = [
    "api",
    "books",
    "checkout",
    "errors",
    "events",
    "hops",
    "media",
    "messages",
    "model",
    "orders",
    "remote",
    "services",
    "steps",
    "store",
    "v1",
]
