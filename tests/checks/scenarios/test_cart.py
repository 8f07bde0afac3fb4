from __future__ import annotations

import json
import math
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import grpc
import msgspec
import pytest
from google.protobuf import json_format
from pydantic import BaseModel, Field

from labsvc.checks.scenarios.cart_stage import CART, ours
from labsvc.rpc.breaking import breaking_changes
from labsvc.rpc.contract import Contract, ContractError, compile_contract
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE = "T1-cart"
LIMITS = msgspec.Meta(ge=0, le=1000)
DIGITS = msgspec.Meta(pattern=r"^[0-9]{1,19}\Z")
NAMES = ["WRAPPING_UNSPECIFIED", "PAPER", "BOX"]
FIELDS = {
    "copies": "copies",
    "giftTags": "gift_tags",
    "voucherNumber": "voucher_number",
    "wrapping": "wrapping",
    "weightKg": "weight_kg",
}


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a key that comes twice."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError(pairs)
    return dict(pairs)


def loads(body: bytes, **options: Any) -> Any:
    """Read JSON; raise ValueError for whatever it cannot read."""
    try:
        return json.loads(body, **({"object_pairs_hook": once} | options))
    except RecursionError as error:
        raise ValueError from error


def model(**config: Any) -> Callable[[bytes], dict[str, Any]]:
    """Return a reader by a model, strict but for what is said here."""

    class Change(BaseModel, **({"extra": "forbid", "strict": True} | config)):
        copies: int | None = Field(None, ge=0, le=1000)
        giftTags: list[str] | None = None  # noqa: N815  # the page's
        voucherNumber: str | None = Field(None, pattern="^[0-9]{1,19}$")  # noqa: N815  # the page's
        wrapping: Literal["WRAPPING_UNSPECIFIED", "PAPER", "BOX"] | None = None
        weightKg: float | None = Field(None, ge=0, le=1000)  # noqa: N815  # the page's

    def read(body: bytes) -> dict[str, Any]:
        change = Change.model_validate(loads(body))
        if int(change.voucherNumber or 0) >= 2**63:
            raise ValueError(change.voucherNumber)
        for tag in change.giftTags or []:
            tag.encode()  # half of a surrogate pair is no text
        return change.model_dump(exclude_unset=True)

    return read


READ = model()


def ask(published: Any) -> None:
    """Refuse a contract that breaks ours."""
    if found := breaking_changes(ours().files, published):
        raise ContractError(found[0])


def put_in(cart: Any, change: dict[str, Any]) -> None:
    """Change what `Get` brought."""
    for key, value in change.items():
        if value is None:
            cart.ClearField(FIELDS[key])
        elif key == "giftTags":
            cart.gift_tags.SetInParent()
            cart.gift_tags.tags[:] = value
        else:
            setattr(cart, FIELDS[key], int(value) if key == "voucherNumber" else value)


def weighed(cart: Any) -> float | None:
    """Return the weight that the page is told."""
    told = cart.HasField("weight_kg") and math.isfinite(cart.weight_kg)
    return cart.weight_kg if told else None


def tell(cart: Any) -> dict[str, Any]:
    """Return the five keys."""
    return {
        "copies": cart.copies if cart.HasField("copies") else 1,
        "giftTags": list(cart.gift_tags.tags) if cart.HasField("gift_tags") else None,
        "voucherNumber": str(cart.voucher_number) if cart.HasField("voucher_number") else None,
        "wrapping": NAMES[cart.wrapping] if cart.wrapping < len(NAMES) else NAMES[0],
        "weightKg": weighed(cart),
    }


def way(
    *,
    ask: Callable[[Any], None] = ask,
    read: Callable[[bytes], dict[str, Any]] = READ,
    put: Callable[[Any, dict[str, Any]], Any] = put_in,
    tell: Callable[[Any], Any] = tell,
    write: Callable[[Any], str] = json.dumps,
) -> Callable[..., str]:
    """Return an answer, right but for what is said here."""

    def change_cart(body: bytes, which: Any, carts: Any, published: Any) -> str:
        ask(published)
        change = read(body)
        cart = carts.Get(which)
        cart = put(cart, change) or cart
        carts.Put(cart)
        return write(tell(cart))

    return change_cart


def by_hand(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Solve it without a model, with a check for each key."""
    ask(published)
    change = loads(body)
    checks: dict[str, Callable[[Any], object]] = {
        "copies": lambda v: type(v) is int and 0 <= v <= 1000,
        "giftTags": lambda v: type(v) is list and all(type(one) is str for one in v),
        "voucherNumber": lambda v: (
            type(v) is str and re.fullmatch("[0-9]{1,19}", v) and int(v) < 2**63
        ),
        "wrapping": lambda v: type(v) is str and v in NAMES,
        "weightKg": lambda v: type(v) in (int, float) and 0 <= v <= 1000,
    }
    if type(change) is not dict or not change.keys() <= checks.keys():
        raise ValueError(body)
    for key, value in change.items():
        if value is not None and not checks[key](value):
            raise ValueError(key)
    cart = carts.Get(which)
    put_in(cart, change)
    carts.Put(cart)
    return json.dumps(tell(cart), ensure_ascii=False, allow_nan=False)


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """What a page asks for, with all limits."""

    copies: Annotated[int, LIMITS] | msgspec.UnsetType | None = msgspec.UNSET
    gift_tags: list[str] | msgspec.UnsetType | None = msgspec.field(
        name="giftTags", default=msgspec.UNSET
    )
    voucher_number: Annotated[str, DIGITS] | msgspec.UnsetType | None = msgspec.field(
        name="voucherNumber", default=msgspec.UNSET
    )
    wrapping: Literal["WRAPPING_UNSPECIFIED", "PAPER", "BOX"] | msgspec.UnsetType | None = (
        msgspec.UNSET
    )
    weight_kg: Annotated[float, LIMITS] | msgspec.UnsetType | None = msgspec.field(
        name="weightKg", default=msgspec.UNSET
    )


def with_msgspec(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Solve it with msgspec, which writes NaN as null, and a merge of what was sent."""
    ask(published)
    asked = msgspec.convert(loads(body), Asked)
    cart, news = carts.Get(which), ours().message("Cart")()
    for name in ("copies", "gift_tags", "voucher_number", "wrapping", "weight_kg"):
        value = getattr(asked, name)
        if value is None:
            cart.ClearField(name)
        elif value is msgspec.UNSET:
            continue
        elif name == "gift_tags":
            cart.gift_tags.ClearField("tags")
            news.gift_tags.MergeFrom(ours().message("Tags")(tags=value))
            news.gift_tags.SetInParent()
        else:
            setattr(news, name, int(value) if name == "voucher_number" else value)
    if asked.wrapping in NAMES:
        cart.wrapping = asked.wrapping
    cart.MergeFrom(news)
    carts.Put(cart)
    return msgspec.json.encode(tell(cart)).decode()


def by_dict_and_binary(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Solve it with protobuf's JSON for the known fields, and binary for all."""
    if breaking_changes(ours().files, published):
        raise ContractError
    change = READ(body)
    cart = carts.Get(which)
    kept = type(cart).FromString(cart.SerializeToString())
    if change.get("giftTags") is not None:
        kept.gift_tags.ClearField("tags")
        change = change | {"giftTags": {"tags": change["giftTags"]}}
    for key, value in change.items():
        if value is None:
            kept.ClearField(FIELDS[key])
    json_format.ParseDict({k: v for k, v in change.items() if v is not None}, kept)
    carts.Put(kept)
    return json.dumps(tell(kept))


def as_new(cart: Any, change: dict[str, Any]) -> Any:
    """Put a message of its own, with the fields that the contract names."""
    made = type(cart)(cart_id=cart.cart_id, wrapping=cart.wrapping)
    for name in ("copies", "voucher_number", "weight_kg"):
        if cart.HasField(name):
            setattr(made, name, getattr(cart, name))
    if cart.HasField("gift_tags"):
        made.gift_tags.CopyFrom(cart.gift_tags)
    put_in(made, change)
    return made


def through_json(cart: Any, change: dict[str, Any]) -> Any:
    """Keep the cart as JSON."""
    made = json_format.Parse(json_format.MessageToJson(cart), type(cart)())
    put_in(made, change)
    return made


def parsed(cart: Any, change: dict[str, Any]) -> None:
    """Let protobuf's parser change the cart."""
    tags = change.get("giftTags")
    change = change | ({"giftTags": {"tags": tags}} if tags is not None else {})
    json_format.ParseDict(change, cart)


def new_tags(cart: Any, change: dict[str, Any]) -> None:
    """Replace the message around the tags."""
    rest = {key: value for key, value in change.items() if key != "giftTags"}
    put_in(cart, rest)
    if change.get("giftTags") is not None:
        cart.gift_tags.CopyFrom(ours().message("Tags")(tags=change["giftTags"]))
    elif "giftTags" in change:
        cart.ClearField("gift_tags")


def no_empty_list(cart: Any, change: dict[str, Any]) -> None:
    """Take the message away whose list is empty."""
    put_in(cart, change | ({"giftTags": None} if change.get("giftTags") == [] else {}))


def adds_tags(cart: Any, change: dict[str, Any]) -> None:
    """Merge what was sent."""
    news = type(cart)()
    put_in(cart, {key: value for key, value in change.items() if value is None})
    put_in(news, {key: value for key, value in change.items() if value is not None})
    cart.MergeFrom(news)


def one_is_none(cart: Any, change: dict[str, Any]) -> None:
    """Store nothing for one copy, as it is shown for nothing."""
    put_in(cart, change | ({"copies": None} if change.get("copies") == 1 else {}))


def mends_infinity(cart: Any, change: dict[str, Any]) -> None:
    """Take an infinite weight away."""
    if math.isinf(cart.weight_kg):
        cart.ClearField("weight_kg")
    put_in(cart, change)


def with_tags(other: Callable[[list[str]], list[str]]) -> Callable[[Any, dict[str, Any]], None]:
    """Store other tags than those that were sent."""
    return lambda cart, change: put_in(
        cart, change | ({"giftTags": other(change["giftTags"])} if change.get("giftTags") else {})
    )


def rounded(change: dict[str, Any]) -> dict[str, Any]:
    """Return the weight in grams."""
    weight = change.get("weightKg")
    return {} if weight is None else {"weightKg": round(weight, 3)}


def if_true(cart: Any, change: dict[str, Any]) -> None:
    """Change what is not empty."""
    put_in(cart, {key: value for key, value in change.items() if value})


def empty_is_none(cart: Any, change: dict[str, Any]) -> None:
    """Take away what is empty."""
    put_in(cart, {key: value or None for key, value in change.items()})


def stores_what_it_shows(cart: Any, change: dict[str, Any]) -> None:
    """Write 1 copy for those who do not know the field."""
    put_in(cart, change)
    if not cart.HasField("copies"):
        cart.copies = 1


def mends_wrapping(cart: Any, change: dict[str, Any]) -> None:
    """Write UNSPECIFIED over a value without a name."""
    if cart.wrapping >= len(NAMES):
        cart.wrapping = 0
    put_in(cart, change)


def mends_nan(cart: Any, change: dict[str, Any]) -> None:
    """Take a weight away that is no number."""
    if not math.isfinite(cart.weight_kg):
        cart.ClearField("weight_kg")
    put_in(cart, change)


def null_changes_nothing(cart: Any, change: dict[str, Any]) -> None:
    """Pass over null."""
    put_in(cart, {key: value for key, value in change.items() if value is not None})


def all_keys(cart: Any, change: dict[str, Any]) -> None:
    """Take away each key that was not sent."""
    put_in(cart, dict.fromkeys(FIELDS) | change)


def said(**other: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    """Tell something else under these keys."""
    return lambda cart: tell(cart) | {key: value(cart) for key, value in other.items()}


def no_nulls(cart: Any) -> dict[str, Any]:
    """Leave out what is missing."""
    return {key: value for key, value in tell(cart).items() if value is not None}


def with_protobufs_json(cart: Any) -> dict[str, Any]:
    """Tell what protobuf's JSON says."""
    known: dict[str, Any] = json_format.MessageToDict(
        cart, always_print_fields_with_no_presence=True
    )
    return known


def by_the_last(body: bytes) -> dict[str, Any]:
    """Keep the last of two keys."""
    return READ(json.dumps(loads(body, object_pairs_hook=dict)).encode())


def lenient(**options: Any) -> Callable[[bytes], dict[str, Any]]:
    """Return a reader that lets more pass than JSON has."""
    return lambda body: READ(json.dumps(loads(body, **options)).encode())


def not_null_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Count only the keys that bring something."""
    once([pair for pair in pairs if pair[1] is not None])
    return dict(pairs)


def differing_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Let a key come again with the same value."""
    if any(dict(pairs)[key] != value for key, value in pairs):
        raise ValueError(pairs)
    return dict(pairs)


def the_first_object(body: bytes) -> dict[str, Any]:
    """Read up to the end of the object."""
    READ(body.partition(b"}")[0] + b"}")
    found, _ = json.JSONDecoder(object_pairs_hook=once).raw_decode(body.decode())
    return READ(json.dumps(found).encode())


def replacing(body: bytes) -> dict[str, Any]:
    """Replace what cannot be decoded."""
    return READ(body.decode(errors="replace").encode())


def too_deep(body: bytes) -> dict[str, Any]:
    """Let the parser's own error out."""
    json.loads(body)
    return READ(body)


def half_pairs(body: bytes) -> dict[str, Any]:
    """Replace what UTF-8 cannot hold."""
    change = loads(body)
    if isinstance(change, dict) and isinstance(change.get("giftTags"), list):
        change["giftTags"] = [
            tag.encode(errors="replace").decode() if isinstance(tag, str) else tag
            for tag in change["giftTags"]
        ]
    return READ(json.dumps(change).encode())


def infinite(body: bytes) -> dict[str, Any]:
    """Know of NaN only."""
    return READ(body.replace(b"-Infinity", b"0").replace(b"Infinity", b"1000"))


def false_is_zero(body: bytes) -> dict[str, Any]:
    """Refuse true, and take false for a number."""
    change = loads(body)
    if isinstance(change, dict) and change.get("copies") is False:
        change["copies"] = 0
    return READ(json.dumps(change).encode())


def body_first(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Read the body before the contract."""
    READ(body)
    return way()(body, which, carts, published)


def failing(**instead: Callable[[], Any]) -> Callable[..., str]:
    """Return an answer that goes on where a call fails."""

    class Careless:
        def __init__(self, carts: Any) -> None:
            self.carts = carts

        def __getattr__(self, method: str) -> Callable[[Any], Any]:
            def call(request: Any) -> Any:
                try:
                    return getattr(self.carts, method)(request)
                except grpc.RpcError:
                    if method not in instead:
                        raise
                    return instead[method]()

            return call

    return lambda body, which, carts, published: way()(body, which, Careless(carts), published)


def by_protobuf(body: bytes) -> dict[str, Any]:
    """Let protobuf's parser say what is agreed."""
    change = loads(body)
    sent = dict(change)
    if "giftTags" in sent and sent["giftTags"] is not None:
        sent["giftTags"] = {"tags": sent["giftTags"]}
    json_format.ParseDict(sent, ours().message("Cart")())
    return {key: value for key, value in change.items() if key in FIELDS}


def with_assertions(body: bytes) -> dict[str, Any]:
    """Raise something else than ValueError."""
    change = loads(body)
    assert isinstance(change, dict)
    return READ(body)


def with_python_digits(body: bytes) -> dict[str, Any]:
    """Take what Python takes for a number."""
    change = loads(body)
    number = change.get("voucherNumber") if isinstance(change, dict) else None
    if isinstance(number, str) and 0 <= int(number) < 2**63:
        change["voucherNumber"] = "1"
        return READ(json.dumps(change).encode()) | {"voucherNumber": number}
    return READ(body)


def with_a_dollar(body: bytes) -> dict[str, Any]:
    """Match digits up to `$`, which takes a line end behind them."""
    change = loads(body)
    number = change.get("voucherNumber") if isinstance(change, dict) else None
    if isinstance(number, str) and re.match("^[0-9]{1,19}$", number) and int(number) < 2**63:
        change["voucherNumber"] = number.strip()
    return READ(json.dumps(change).encode())


def puts_at_each_key(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Put each key when it is read."""
    ask(published)
    cart = carts.Get(which)
    change = loads(body)
    if not isinstance(change, dict):
        raise ValueError(body)  # noqa: TRY004  # as the exercise says
    for key, value in change.items():
        put_in(cart, READ(json.dumps({key: value}).encode()))
        carts.Put(cart)
    return json.dumps(tell(cart))


def puts_what_it_can(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Put the keys that are right, and refuse the body for the others."""
    ask(published)
    cart, wrong = carts.Get(which), 0
    change = loads(body)
    if not isinstance(change, dict):
        raise ValueError(body)  # noqa: TRY004  # as the exercise says
    for key, value in change.items():
        try:
            put_in(cart, READ(json.dumps({key: value}).encode()))
        except ValueError:
            wrong += 1
    carts.Put(cart)
    if wrong:
        raise ValueError(body)
    return json.dumps(tell(cart))


def asks_late(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Look at the contract after the first call."""
    change, cart = READ(body), carts.Get(which)
    ask(published)
    put_in(cart, change)
    carts.Put(cart)
    return json.dumps(tell(cart))


def never_puts(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Change a copy of one's own."""
    ask(published)
    change, cart = READ(body), carts.Get(which)
    put_in(cart, change)
    return json.dumps(tell(cart))


def only_the_same(published: Any) -> None:
    """Refuse each contract that is not ours."""
    if ours().files != published:
        raise ContractError


def round_the_wrong_way(published: Any) -> None:
    """Compare the new contract with the old one."""
    if found := breaking_changes(published, ours().files):
        raise ContractError(found[0])


def by_numbers(published: Any) -> None:
    """Compare the numbers of the fields of a cart alone."""
    mine, its = (
        {f.name: f.number for m in each.file[-1].message_type if m.name == "Cart" for f in m.field}
        for each in (ours().files, published)
    )
    if any(its.get(name) != number for name, number in mine.items() if name != "weight_kg"):
        raise ContractError


def value_error(published: Any) -> None:
    """Raise ValueError."""
    if breaking_changes(ours().files, published):
        raise ValueError


def misspelt(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Use a name that does not exist."""
    return str(carts.Get(wich))  # type: ignore[name-defined]  # noqa: F821


@cache
def again() -> Contract:
    """Return the contract, compiled as a learner does."""
    return compile_contract(CART)


def with_fields_of_ones_own(cart: Any, change: dict[str, Any]) -> Any:
    """Read the stored bytes with the contract compiled a second time."""
    made = again().message("Cart").FromString(cart.SerializeToString())
    put_in(made, change)
    return made


def until_zero(body: bytes) -> dict[str, Any]:
    """Take what a comparison takes: true is 1."""
    change = loads(body)
    if isinstance(change, dict) and change.get("copies") is True:
        change["copies"] = 1
    return READ(json.dumps(change).encode())


def any_weight(body: bytes) -> dict[str, Any]:
    """Compare with both limits so that NaN passes."""
    change = loads(body)
    weight = change.get("weightKg") if isinstance(change, dict) else None
    if isinstance(weight, float) and not (weight < 0 or weight > 1000):
        return READ(json.dumps(change | {"weightKg": 1}).encode()) | {"weightKg": weight}
    return READ(body)


def a_dict_of(body: bytes) -> dict[str, Any]:
    """Make a dict of whatever comes."""
    return READ(json.dumps(dict(loads(body))).encode())


def null_is_empty(body: bytes) -> dict[str, Any]:
    """Read null as nothing to do."""
    return READ(json.dumps(loads(body) or {}).encode())


def unhashable(body: bytes) -> dict[str, Any]:
    """Look names up in a set, which takes no list."""
    change = loads(body)
    if isinstance(change, dict) and change.get("wrapping") not in {None, *NAMES}:
        raise ValueError(body)
    return READ(body)


def drops_future(published: Any) -> None:
    """Refuse a contract that retires a field."""
    ask(published)
    if not any(f.name == "weight_kg" for f in published.file[-1].message_type[0].field):
        raise ContractError


def keeps_wrapping(cart: Any, change: dict[str, Any]) -> None:
    """Pass over the null of a field without presence."""
    put_in(cart, {k: v for k, v in change.items() if (k, v) != ("wrapping", None)})


def from_the_body(body: bytes, which: Any, carts: Any, published: Any) -> str:
    """Answer from what was sent, and keep the rest."""
    ask(published)
    change, cart = READ(body), carts.Get(which)
    put_in(cart, change)
    carts.Put(cart)
    return json.dumps(tell(cart) | change)


@pytest.mark.parametrize(
    "answer",
    [
        way(),
        by_hand,
        with_msgspec,
        by_dict_and_binary,
        way(put=parsed),
        way(put=with_fields_of_ones_own),
    ],
    ids=["plain", "hand", "msgspec", "dict", "parsed", "compiled"],
)
def test_cart_solved(answer: Callable[..., Any]) -> None:
    """Whatever holds the four points solves it."""
    assert_solved(EXERCISE, answer)


def test_cart_stub() -> None:
    """The stub is not attempted."""

    def stub(body: bytes, which: Any, carts: Any, published: Any) -> str:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (way(ask=lambda _: None), "renumbers `copies`, the body is", "Raise ContractError"),
        (way(ask=only_the_same), "`published` is newer, and", "the older contract first"),
        (way(ask=round_the_wrong_way), "`published` is newer, and", "the older contract first"),
        (way(ask=by_numbers), "`published` renumbers the list in `Tags`", "Raise ContractError"),
        (way(ask=value_error), "your function raised ValueError", "Notebook 11"),
        (asks_late, "and your function called the service", "before anything else"),
        (way(put=as_new), "and they were lost", "Change what `Get` brought. Notebook 11"),
        (way(put=through_json), "and they were lost", "your contract names"),
        (way(put=new_tags), "a field inside of `Tags`", "and not the message around it"),
        (way(put=no_empty_list), "giftTags: [], and the cart has nothing", "`SetInParent`"),
        (way(put=adds_tags), "giftTags: ", "A merge adds to a list"),
        (way(put=if_true), "the cart has nothing", "Zero and empty"),
        (way(put=empty_is_none), "copies: 0, and the cart has nothing", "Zero and empty"),
        (way(put=stores_what_it_shows), "was nothing and is 1", "is not stored. Notebook 10"),
        (way(put=mends_wrapping), "the body has no wrapping, and", "Notebook 11"),
        (way(put=mends_nan), "the body has no weightKg, and in the cart it was nan", "Only what"),
        (way(put=null_changes_nothing), "copies: null, and the cart has 0", "`ClearField`"),
        (way(put=all_keys), "the body has no", "Only what the body names"),
        (never_puts, "the cart has nothing", "Store what the body said"),
        (way(tell=said(copies=lambda c: c.copies)), "told 0", "that is 1. Zero is zero"),
        (way(tell=said(copies=lambda c: c.copies or 1)), "has 0 for copies", "Zero is zero"),
        (way(tell=said(giftTags=lambda c: [*c.gift_tags.tags])), "told []", "is null"),
        (
            way(tell=said(giftTags=lambda c: [*c.gift_tags.tags] or None)),
            "has [] for giftTags, and the page was told null",
            "an empty one is []. Notebook 10",
        ),
        (
            way(tell=said(voucherNumber=lambda c: c.voucher_number)),
            "for voucherNumber, and the page was told 0",
            "send a text",
        ),
        (
            way(tell=said(voucherNumber=lambda c: str(c.voucher_number or "") or None)),
            "has 0 for voucherNumber, and the page was told null",
            "Zero is not null. Notebook 12",
        ),
        (way(tell=said(wrapping=lambda c: c.wrapping)), "for wrapping", "Notebook 11"),
        (
            way(tell=said(wrapping=lambda c: NAMES[c.wrapping])),
            "brought IndexError",
            "may have no name",
        ),
        (way(tell=said(weightKg=lambda c: c.weight_kg)), "told 0", "is null. Zero is a number"),
        (
            way(tell=said(weightKg=lambda c: c.weight_kg if c.HasField("weight_kg") else None)),
            "the page cannot parse the answer",
            "no JSON. Notebook 12",
        ),
        (way(tell=no_nulls), "the page wants five keys", "leaves out what is empty"),
        (way(tell=with_protobufs_json), "the page wants five keys", "Notebook 10"),
        (way(write=str), "the page cannot parse the answer", "one JSON object"),
        (way(read=model(extra="ignore")), "a misspelt key was accepted", "do not know"),
        (way(read=model(strict=False)), "copies as a text was accepted", "Ask for the type"),
        (way(read=by_the_last), "a key that comes twice was accepted", "object_pairs_hook"),
        (way(read=by_protobuf), "with", "Notebook 12"),
        (way(read=with_assertions), "raised AssertionError", "Every refusal is a ValueError"),
        (way(read=with_python_digits), '"1_0" was accepted', "Which characters"),
        (way(read=with_a_dollar), "a line end behind it was accepted", "Which characters"),
        (puts_at_each_key, "one change put the cart", "writes over it. Notebook 10"),
        (puts_what_it_can, "a cart was put all the same", "the whole body"),
        (body_first, "the body is no JSON, and your function raised", "before anything else"),
        (failing(Get=ours().message("Cart")), "`Get` failed, and", "Let the error pass"),
        (failing(Put=lambda: None), "`Put` failed, and your function answered", "Let the error"),
        (way(read=lenient(strict=False)), "a line end within a text was", "is lenient"),
        (way(read=lenient(object_pairs_hook=not_null_once)), "once with null was", "hands all"),
        (
            way(read=lenient(object_pairs_hook=differing_once)),
            "with one value was",
            "keep the last",
        ),
        (way(read=the_first_object), "text behind the object was accepted", "any JSON"),
        (way(read=replacing), "bytes that are no UTF-8 was accepted", "changes a text"),
        (way(read=too_deep), "your function raised RecursionError", "Every refusal"),
        (way(read=half_pairs), "half of a surrogate pair among the tags was", "UTF-8 and protobuf"),
        (way(read=infinite), "a weight of Infinity was accepted", "no number in JSON"),
        (way(read=false_is_zero), "false as the copies was accepted", "True and False are ints"),
        (way(put=one_is_none), "copies: 1, and the cart has nothing", "Store what the body said"),
        (way(put=mends_infinity), "was inf and is nothing", "Only what the body names"),
        (way(put=with_tags(lambda tags: [tag.strip() for tag in tags])), "giftTags: ", "Store"),
        (way(put=with_tags(lambda tags: tags[:10])), "giftTags: ", "Store what the body said"),
        (
            way(put=with_tags(lambda tags: [unicodedata.normalize("NFC", tag) for tag in tags])),
            "giftTags: ",
            "Store what the body said",
        ),
        (
            way(put=lambda cart, change: put_in(cart, change | rounded(change))),
            "the body said weightKg: ",
            "Store what the body said",
        ),
        (
            way(tell=said(weightKg=lambda c: -math.inf if c.weight_kg < -1e9 else weighed(c))),
            "the page cannot parse the answer",
            "no JSON",
        ),
        (
            way(tell=said(copies=lambda c: min(max(tell(c)["copies"], 0), 1000))),
            "for copies, and the page was told",
            "Limits hold for what a page sends",
        ),
        (way(read=until_zero), "true as the copies was accepted", "Ask for the type"),
        (way(read=any_weight), "a weight of NaN was accepted", "Python reads what is no number"),
        (way(read=a_dict_of), "a list", "Notebook 12"),
        (way(read=null_is_empty), "in place of an object was accepted", "any JSON"),
        (way(read=unhashable), "a list in place of the wrapping in the body", "Every refusal"),
        (way(ask=drops_future), "retires `weight_kg`, with number", "breaking_changes"),
        (way(put=keeps_wrapping), "wrapping: null, and the cart has 3", "`ClearField`"),
        (from_the_body, "for copies, and the page was told null", "that is 1"),
        (misspelt, "NameError", "a slip in the name"),
    ],
)
def test_cart_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
