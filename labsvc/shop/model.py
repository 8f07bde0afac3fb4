"""The shop's own types. An instance that exists is valid: the constructors check."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from labsvc.shop.errors import InvalidArgument

ID_PATTERN = r"[A-Za-z0-9._-]{1,64}"
MAX_QUANTITY = 1000
MAX_LINES = 100

_ID = re.compile(ID_PATTERN)


def check_id(field: str, value: str) -> None:
    """Refuse an id that is not 1 to 64 characters of A-Z a-z 0-9 - _ . .

    Raises InvalidArgument that names the field.
    """
    if _ID.fullmatch(value) is None:
        msg = f"{field} must be 1 to 64 characters of A-Z a-z 0-9 - _ ."
        raise InvalidArgument(msg)


class OrderStatus(Enum):
    """Where an order stands."""

    PLACED = "PLACED"


@dataclass(frozen=True, slots=True)
class User:
    """A registered customer."""

    user_id: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class OrderLine:
    """One kind of goods and how many pieces, 1 to 1000. Raises InvalidArgument."""

    sku: str
    quantity: int

    def __post_init__(self) -> None:
        check_id("sku", self.sku)
        if not 1 <= self.quantity <= MAX_QUANTITY:
            msg = f"quantity of {self.sku} must be 1 to {MAX_QUANTITY}, not {self.quantity}"
            raise InvalidArgument(msg)


def check_lines(lines: tuple[OrderLine, ...]) -> None:
    """Refuse no lines, more than 100, or a SKU that comes twice. Raises InvalidArgument."""
    if not 1 <= len(lines) <= MAX_LINES:
        msg = f"an order must have 1 to {MAX_LINES} lines, not {len(lines)}"
        raise InvalidArgument(msg)
    if len({line.sku for line in lines}) < len(lines):
        msg = "each sku may come once; add the quantities up in one line"
        raise InvalidArgument(msg)


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What a customer wants to order; `order_id` is the idempotency key.

    Raises InvalidArgument for a malformed id, no lines, more than 100, or a SKU twice.
    """

    order_id: str
    user_id: str
    lines: tuple[OrderLine, ...]

    def __post_init__(self) -> None:
        check_id("order_id", self.order_id)
        check_id("user_id", self.user_id)
        check_lines(self.lines)


@dataclass(frozen=True, slots=True)
class Order:
    """An accepted order; `total_cents` is what it cost when it was placed."""

    order_id: str
    user_id: str
    lines: tuple[OrderLine, ...]
    status: OrderStatus
    total_cents: int

    def answers(self, wanted: NewOrder) -> bool:
        """Say whether this is the order that was asked for; the order of lines is no matter."""
        return self.user_id == wanted.user_id and set(self.lines) == set(wanted.lines)
