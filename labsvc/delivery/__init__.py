"""What makes at-least-once delivery safe: an idempotent consumer, dead letters, an outbox.

Plain aio-pika and sqlite3, for notebook 13 and to take to work.
"""
