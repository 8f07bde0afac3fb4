"""The running example: a shop with users, stock and orders, served in three ways.

The contracts are in protos/labsvc/shop/v1, their generated stubs in `labsvc.shop.v1`. The
business logic is written once, in `labsvc.shop.orders`; `services` serves it over gRPC, `api`
over HTTP and `events` from a queue.
"""
