from __future__ import annotations

import asyncio
import itertools
import queue
import random
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.rpc.deadline import Deadline, cancel_with
from labsvc.rpc.errors import StatusError
from labsvc.shop.v1 import order_pb2
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("answers_have_ended")

EXERCISE = "T2-front"
CODE = grpc.StatusCode
AGAIN = (CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED)
OWN = (CODE.INVALID_ARGUMENT, CODE.NOT_FOUND, CODE.FAILED_PRECONDITION)


def drawn() -> float:
    """Draw a pause."""
    return random.uniform(0.05, 0.5)  # noqa: S311  # no secret


def to_send(context: Any) -> list[tuple[str, str]]:
    """Return what goes along with each try."""
    came = dict(context.invocation_metadata())
    made = {"idempotency-key": came.get("idempotency-key", uuid.uuid4().hex)}
    return [*made.items(), *((k, v) for k, v in came.items() if k == "x-request-id")]


def end(context: Any, call: Any) -> Any:
    """Return what the last try brought, or end the handler."""
    code = None if call is None else call.code()
    if code is CODE.OK:
        return call.result()
    if code in OWN:
        context.abort_with_status(StatusError.of(call).status())
    told = {None: CODE.DEADLINE_EXCEEDED} | dict.fromkeys(AGAIN, CODE.UNAVAILABLE)
    return context.abort(told.get(code, CODE.INTERNAL), "sorry")


def tie(context: Any, call: Any) -> None:
    """Cancel the call when the customer leaves, or now if it has left."""
    if not context.add_callback(call.cancel):
        call.cancel()


def way(
    *,
    most: int = 3,
    one: float | None = 0.6,
    keep: float = 0.2,
    cap: float = 2,
    again: Any = AGAIN,
    pause: Callable[[], float] = drawn,
    send: Callable[[Any], Any] = to_send,
    tie: Callable[[Any, Any], None] = tie,
    end: Callable[[Any, Any], Any] = end,
    fits: bool = True,
    looks: bool = True,
    shared: bool = True,
) -> Callable[..., Any]:
    """Return an answer, right but for what is said here."""

    def place_order(request: Any, context: Any, orders: Any) -> Any:
        ends = time.monotonic() + min(context.time_remaining(), cap) - keep
        metadata, call = send(context), None
        for number in range(most):
            rest = pause() if number else 0
            if fits and ends - time.monotonic() - rest <= 0:
                break
            time.sleep(rest)
            if looks and not context.is_active():
                break
            left = ends - time.monotonic() if shared else 10
            timeout = None if one is None else min(one, left)
            metadata = metadata if shared else send(context)
            call = orders.PlaceOrder.future(request, timeout=timeout, metadata=metadata)
            tie(context, call)
            if call.code() not in again:
                break
        return end(context, call)

    return place_order


def with_the_package(request: Any, context: Any, orders: Any) -> Any:
    """Solve it with `labsvc.rpc`, an event for the pause, and metadata handed on as they are."""
    gone = threading.Event()
    if not context.add_callback(gone.set):
        gone.set()
    ends, send, code = Deadline.of(context, cap=2), to_send(context), CODE.DEADLINE_EXCEEDED
    for pause in (0, drawn(), drawn()):
        if ends.timeout(margin=0.2) <= pause or gone.wait(pause):
            break
        call = orders.PlaceOrder.future(request, ends.timeout(0.6, 0.2), send)
        cancel_with(context, call)
        if call.code() is CODE.OK:
            return call.result()
        if call.code() in OWN:
            context.set_trailing_metadata(call.trailing_metadata())
            context.abort(call.code(), call.details())
        code = CODE.UNAVAILABLE
        if call.code() not in AGAIN:
            context.abort(CODE.INTERNAL, "sorry")
    return context.abort(code, "later")


def that_looks_again_and_again(request: Any, context: Any, orders: Any) -> Any:
    """Solve it with short waits, between which it asks whether the customer is there."""
    ends = time.monotonic() + min(context.time_remaining(), 2) - 0.2
    send, left, call = to_send(context), 3, None
    rest = 0.0
    while left and time.monotonic() + rest < ends:
        give_up_at = time.monotonic() + rest
        while time.monotonic() < give_up_at and context.is_active():
            time.sleep(0.01)
        if not context.is_active():
            break
        timeout = min(0.6, ends - time.monotonic())
        call = orders.PlaceOrder.future(request, timeout=timeout, metadata=send)
        try:
            while not call.done():
                if not context.is_active():
                    call.cancel()
                time.sleep(0.005)
        finally:
            call.cancel()
        if call.code() not in AGAIN:
            break
        rest, left = drawn(), left - 1
    return end(context, call)


def on_asyncio(request: Any, context: Any, orders: Any) -> Any:
    """Solve it on a loop of its own."""

    async def main() -> Any:
        loop, send, call = asyncio.get_running_loop(), to_send(context), None
        gone, ended = asyncio.Event(), asyncio.Queue[None]()
        ends = loop.time() + min(context.time_remaining(), 2) - 0.2

        def tell(what: Callable[..., None], *args: Any) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(what, *args)

        if not context.add_callback(lambda: tell(gone.set)):
            gone.set()
        for pause in (0, drawn(), drawn()):
            if loop.time() + pause >= ends:
                break
            await asyncio.sleep(pause)
            if gone.is_set() or not context.is_active():
                break
            timeout = min(0.6, ends - loop.time())
            call = orders.PlaceOrder.future(request, timeout=timeout, metadata=send)
            tie(context, call)
            call.add_done_callback(lambda _: tell(ended.put_nowait, None))
            await ended.get()
            if call.code() not in AGAIN:
                break
        return call

    return end(context, asyncio.run(main()))


def by_a_queue_of_ends(request: Any, context: Any, orders: Any) -> Any:
    """Solve it with a queue that hears of each end, of the call or of the visit."""
    heard: queue.Queue[str] = queue.Queue()
    if not context.add_callback(lambda: heard.put("left")):
        return None
    ends = time.monotonic() + min(context.time_remaining(), 2) - 0.2
    send, call = to_send(context), None
    for pause in (0, drawn(), drawn()):
        if time.monotonic() + pause >= ends:
            break
        try:
            if pause and heard.get(timeout=pause) == "left":
                return None
        except queue.Empty:
            pass
        timeout = min(0.6, ends - time.monotonic())
        call = orders.PlaceOrder.future(request, timeout=timeout, metadata=send)
        call.add_done_callback(lambda _: heard.put("ended"))
        if heard.get() == "left":
            call.cancel()
            return None
        if call.code() not in AGAIN:
            break
    return end(context, call)


def blocking(request: Any, context: Any, orders: Any) -> Any:
    """Use the blocking call, which nobody can cancel."""
    ends, send = time.monotonic() + min(context.time_remaining(), 2) - 0.2, to_send(context)
    code = CODE.DEADLINE_EXCEEDED
    for pause in (0, drawn(), drawn()):
        if time.monotonic() + pause >= ends:
            break
        time.sleep(pause)
        if not context.is_active():
            break
        try:
            timeout = min(0.6, ends - time.monotonic())
            return orders.PlaceOrder(request, timeout=timeout, metadata=send)
        except grpc.RpcError as error:
            failed: Any = error
            code = failed.code()
        if code in OWN:
            context.abort_with_status(StatusError.of(failed).status())
        if code not in AGAIN:
            context.abort(CODE.INTERNAL, "sorry")
        code = CODE.UNAVAILABLE
    return context.abort(code, "later")


def raises(context: Any, call: Any) -> Any:
    """Let the error leave the handler."""
    return call.result() if call else context.abort(CODE.DEADLINE_EXCEEDED, "late")


def hands_all_on(context: Any, call: Any) -> Any:
    """Hand on every error as it came, with its details."""
    if call is None or call.code() is CODE.OK:
        return end(context, call)
    return context.abort_with_status(StatusError.of(call).status())


def without_details(context: Any, call: Any) -> Any:
    """Hand on code and text."""
    if call is not None and call.code() in OWN:
        context.abort(call.code(), call.details())
    return end(context, call)


def with_a_text_of_its_own(context: Any, call: Any) -> Any:
    """Hand on the code alone."""
    if call is not None and call.code() in OWN:
        context.abort(call.code(), "sorry")
    return end(context, call)


def with_all_metadata(context: Any, call: Any) -> Any:
    """Hand on what came after each answer."""
    if call is not None and call.code() is not CODE.OK:
        context.set_trailing_metadata(call.trailing_metadata())
    return end(context, call)


def with_first_metadata(context: Any, call: Any) -> Any:
    """Hand on what came before each answer."""
    if call is not None and call.code() is not CODE.OK:
        context.send_initial_metadata(call.initial_metadata())
    return end(context, call)


def with_text(change: Callable[[str], str]) -> Callable[[Any, Any], Any]:
    """Hand on code and details, and what is made of the text."""

    def ends(context: Any, call: Any) -> Any:
        if call is not None and call.code() in OWN:
            context.set_trailing_metadata(call.trailing_metadata())
            context.abort(call.code(), change(call.details()))
        return end(context, call)

    return ends


def cancelled_as_it_came(context: Any, call: Any) -> Any:
    """Take each cancelled call for a customer who has left."""
    if call is not None and call.code() is CODE.CANCELLED:
        context.abort(CODE.CANCELLED, "left")
    return end(context, call)


def raises_cancelled(context: Any, call: Any) -> Any:
    """Ask a cancelled call for its result."""
    return call.result() if call and call.code() is CODE.CANCELLED else end(context, call)


def late_is_down(context: Any, call: Any) -> Any:
    """Say UNAVAILABLE where nobody was asked."""
    return context.abort(CODE.UNAVAILABLE, "late") if call is None else end(context, call)


def tells_texts(context: Any, call: Any) -> Any:
    """Tell what the last try said, with the right code."""
    if call is not None and call.code() in AGAIN:
        context.abort(CODE.UNAVAILABLE, call.details())
    return end(context, call)


def with_the_reason(context: Any, call: Any) -> Any:
    """Hand on one of the details."""
    if call is not None and call.code() in OWN:
        error = StatusError.of(call)
        told = StatusError(error.code, error.text, reason=error.reason, domain=error.domain)
        context.abort_with_status(told.status())
    return end(context, call)


def forgets(context: Any, call: Any) -> Any:
    """Answer all errors, and forget the answer."""
    if call is None or call.code() is not CODE.OK:
        end(context, call)


def in_two_steps(context: Any, call: Any) -> Any:
    """End as an older handler does: set the status, and return."""
    code = CODE.DEADLINE_EXCEEDED if call is None else call.code()
    if code is CODE.OK:
        return call.result()
    if code in OWN:
        context.set_trailing_metadata(call.trailing_metadata())
        context.set_details(call.details())
    told = dict.fromkeys(AGAIN, CODE.UNAVAILABLE) | {each: each for each in OWN}
    context.set_code(code if call is None else told.get(code, CODE.INTERNAL))
    return order_pb2.PlaceOrderResponse()


def made_up(context: Any, call: Any) -> Any:
    """Answer in place of an error."""
    if call is not None and call.code() in AGAIN:
        return order_pb2.PlaceOrderResponse()
    return end(context, call)


def an_answer_of_its_own(context: Any, call: Any) -> Any:
    """Return an empty answer when all went well."""
    return order_pb2.PlaceOrderResponse() if call.code() is CODE.OK else end(context, call)


def aborts_inside_a_try(context: Any, call: Any) -> Any:
    """Catch what `abort` raises."""
    try:
        return end(context, call)
    except Exception:  # noqa: BLE001  # the slip in question
        return context.abort(CODE.INTERNAL, "sorry")


def all_that_came(context: Any) -> list[tuple[str, Any]]:
    """Send on all that the customer sent."""
    own = [pair for pair in context.invocation_metadata() if pair[0] != "user-agent"]
    return [*own, *(pair for pair in to_send(context) if pair not in own)]


def only(*keys: str) -> Callable[[Any], list[tuple[str, str]]]:
    """Send these keys only."""
    return lambda context: [pair for pair in to_send(context) if pair[0] in keys]


def key_of(make: Callable[[Any], str]) -> Callable[[Any], list[tuple[str, str]]]:
    """Send a key that is made in another way."""

    def send(context: Any) -> list[tuple[str, str]]:
        return [("idempotency-key", make(context)), *only("x-request-id")(context)]

    return send


def own_or(context: Any, made: object) -> str:
    """Return the customer's key, or else the one that was made."""
    return str(dict(context.invocation_metadata()).get("idempotency-key", made))


def made_key(make: Callable[[], object]) -> Callable[..., Any]:
    """Return an answer that makes new keys in another way."""
    return way(send=key_of(lambda context: own_or(context, make())))


def key_of_a_clock(context: Any) -> list[tuple[str, str]]:
    """Make a UUID out of a clock, which no other is like."""
    return key_of(lambda context: own_or(context, uuid.uuid1()))(context)


def all_but_the_token(context: Any) -> list[tuple[str, Any]]:
    """Send on what is no secret."""
    left_out = ("user-agent", "authorization", "user-bin")
    return [pair for pair in all_that_came(context) if pair[0] not in left_out]


def between(shortest: float, longest: float) -> Callable[[], float]:
    """Draw pauses from another range."""
    return lambda: random.uniform(shortest, longest)  # noqa: S311  # no secret


def one_pause_a_visit(request: Any, context: Any, orders: Any) -> Any:
    """Draw a pause once."""
    rest = drawn()
    return way(pause=lambda: rest)(request, context, orders)


def request_id_always(context: Any) -> list[tuple[str, str]]:
    """Make up an id for the request where none came."""
    return list({"x-request-id": "r-0", **dict(to_send(context))}.items())


def tie_without_a_look(context: Any, call: Any) -> None:
    """Pass over what `add_callback` returns."""
    context.add_callback(call.cancel)


def no_tie(context: Any, call: Any) -> None:
    """Leave the call alone."""


def other_request(request: Any, context: Any, orders: Any) -> Any:
    """Order something else."""
    return way()(order_pb2.PlaceOrderRequest(order_id=request.order_id), context, orders)


def asks_nobody(request: Any, context: Any, orders: Any) -> Any:
    """Make up an answer."""
    return order_pb2.PlaceOrderResponse()


def hedges(request: Any, context: Any, orders: Any) -> Any:
    """Start two tries at once."""
    send = to_send(context)
    calls = [orders.PlaceOrder.future(request, timeout=0.6, metadata=send) for _ in range(2)]
    for call in calls:
        tie(context, call)
    ended = next((call for call in calls if call.code() is CODE.OK), calls[0])
    return end(context, ended)


def first_error(request: Any, context: Any, orders: Any) -> Any:
    """Tell the error of the first try."""
    calls: list[Any] = []

    def noted(context: Any, call: Any) -> None:
        calls.append(call)
        tie(context, call)

    def tells(context: Any, call: Any) -> Any:
        return end(context, call if call and call.code() is CODE.OK else (calls or [None])[0])

    return way(tie=noted, end=tells)(request, context, orders)


def waits_at_the_end(request: Any, context: Any, orders: Any) -> Any:
    """Wait after the last try as well."""
    calls: list[Any] = []

    def noted(context: Any, call: Any) -> None:
        calls.append(call)
        tie(context, call)

    def late(context: Any, call: Any) -> Any:
        if len(calls) == 3 and call.code() in AGAIN:
            time.sleep(drawn())
        return end(context, call)

    return way(tie=noted, end=late)(request, context, orders)


def waits_first(request: Any, context: Any, orders: Any) -> Any:
    """Pause before the first try too."""
    time.sleep(drawn())
    return way()(request, context, orders)


def a_little_at_least(request: Any, context: Any, orders: Any) -> Any:
    """Give the try a little where nothing is left."""
    if context.time_remaining() < 0.2:
        send = to_send(context)
        call = orders.PlaceOrder.future(request, timeout=0.05, metadata=send)
        return end(context, call)
    return way()(request, context, orders)


def of_the_order(request: Any, context: Any, orders: Any) -> Any:
    """Make the key out of the order."""

    def key(context: Any) -> str:
        return str(dict(context.invocation_metadata()).get("idempotency-key", request.order_id))

    return way(send=key_of(key))(request, context, orders)


def runs_away(request: Any, context: Any, orders: Any) -> Any:
    """End at once when the customer leaves, and leave the try to itself."""
    answer: queue.Queue[Any] = queue.Queue()

    def work(context: Any, call: Any) -> Any:
        call.add_done_callback(answer.put)
        context.add_callback(lambda: answer.put(None))
        if answer.get() is None:
            context.abort(CODE.CANCELLED, "left")

    return way(tie=work)(request, context, orders)


def cap_for_each_try(request: Any, context: Any, orders: Any) -> Any:
    """Cap what is left at each try anew."""
    send, call = to_send(context), None
    for pause in (0, drawn(), drawn()):
        left = min(context.time_remaining(), 2) - 0.2
        if left - pause <= 0:
            break
        time.sleep(pause)
        if not context.is_active():
            break
        call = orders.PlaceOrder.future(request, timeout=min(0.6, left - pause), metadata=send)
        tie(context, call)
        if call.code() not in AGAIN:
            break
    return end(context, call)


def caps_no_deadline_only(request: Any, context: Any, orders: Any) -> Any:
    """Cap what is left for those who set no deadline."""
    return way(cap=2 if context.time_remaining() > 10**9 else 60)(request, context, orders)


def pause_from_the_start(request: Any, context: Any, orders: Any) -> Any:
    """Count each pause from the start of the try before."""
    began = [time.monotonic()]

    def rest() -> float:
        until = began[0] + drawn()
        return max(0.0, until - time.monotonic())

    def noted(context: Any, call: Any) -> None:
        began[0] = time.monotonic()
        tie(context, call)

    return way(pause=rest, tie=noted)(request, context, orders)


def tied_once(request: Any, context: Any, orders: Any) -> Any:
    """Tie the first try only."""
    tied: list[Any] = []

    def first(context: Any, call: Any) -> None:
        if not tied:
            tied.append(call)
            tie(context, call)

    return way(tie=first)(request, context, orders)


def with_wait_for_ready(request: Any, context: Any, orders: Any) -> Any:
    """Solve it with tries that wait for a connection, and cancel whatever is left."""
    calls: list[Any] = []

    class Patient:
        class PlaceOrder:
            @staticmethod
            def future(*args: Any, **settings: Any) -> Any:
                call = orders.PlaceOrder.future(*args, wait_for_ready=True, **settings)
                calls.append(call)
                return call

    try:
        return way()(request, context, Patient)
    finally:
        for call in calls:
            call.cancel()


def cancels_the_customer(context: Any, call: Any) -> Any:
    """End with `context.cancel`."""
    if call is None or call.code() is not CODE.OK:
        context.cancel()
        return order_pb2.PlaceOrderResponse()
    return call.result()


def misspelt(request: Any, context: Any, orders: Any) -> Any:
    """Use a name that does not exist."""
    return orders.PlaceOrder(requst)  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "answer",
    [
        way(),
        way(end=in_two_steps),
        way(send=key_of_a_clock),
        with_the_package,
        that_looks_again_and_again,
        on_asyncio,
        by_a_queue_of_ends,
        with_wait_for_ready,
    ],
    ids=["plain", "set_code", "uuid1", "package", "looks", "asyncio", "queue", "ready"],
)
def test_front_solved(answer: Callable[..., Any]) -> None:
    """Whatever holds the six points solves it."""
    assert_solved(EXERCISE, answer)


def test_front_stub() -> None:
    """The stub is not attempted."""

    def stub(request: Any, context: Any, orders: Any) -> Any:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (way(one=None), "a try had no deadline", "timeout. Notebook 22 shows it"),
        (way(one=2), "a try had more than 0.6 seconds", "Notebook 22"),
        (way(keep=0), "than the customer had left, less 0.2 seconds", "Keep 0.2 seconds of"),
        (way(keep=0.1), "than the customer had left, less 0.2 seconds", "Notebook 22"),
        (way(keep=-0.3), "than the customer had left, less 0.2 seconds", "Keep 0.2 seconds of"),
        (way(keep=0.3), "a try had less time than there was", "all that is left less 0.2"),
        (way(keep=0.7), "had time and got DEADLINE_EXCEEDED", "0.2 seconds or less"),
        (way(one=0.2), "less time than there was", "It may have 0.6 seconds"),
        (way(one=0.5), "less time than there was", "It may have 0.6 seconds"),
        (way(cap=60), "than the customer had left, less 0.2 seconds", "counts as 2 seconds"),
        (way(cap=2.2), "than the customer had left, less 0.2 seconds", "counts as 2 seconds"),
        (way(cap=1.7), "less time than there was", "Notebook 22"),
        (way(cap=1), "time", "seconds"),  # too short a try, or too few, by chance
        (way(shared=False), "the customer may pay as often", "for each try? Notebook 26"),
        (way(fits=False), "the customer had given up", "The pause counts too"),
        (way(end=late_is_down), "too little time was left for one try", "context.abort"),
        (a_little_at_least, "asked all the same", "end the handler. Notebook 22"),
        (waits_at_the_end, "waited after its last try", "a try after it"),
        (waits_first, "before", "first one"),
        (way(most=1), "gave up after", "3 tries in all after UNAVAILABLE and"),
        (way(most=2), "gave up after", "3 tries in all after UNAVAILABLE and"),
        (way(most=4), "was asked 4 times", "Count the first one too"),
        (way(again=(CODE.UNAVAILABLE,)), "gave up after DEADLINE_EXCEEDED", "3 tries in all after"),
        (way(again=(*AGAIN, CODE.INTERNAL)), "said INTERNAL, and was asked again", "Two codes"),
        (way(again=(*AGAIN, CODE.CANCELLED)), "said CANCELLED, and was asked again", "Two codes"),
        (way(end=cancelled_as_it_came), "CANCELLED, and the customer got CANCELLED", "the list"),
        (way(end=raises_cancelled), "CANCELLED, and the customer got UNKNOWN", "context.abort"),
        (way(pause=lambda: 0), "a try came at once", ".05 seconds at least. Notebook 26"),
        (way(pause=lambda: 0.2), "came back together", "Draw each pause anew"),
        (way(pause=lambda: 0.8), "came too long after the one before", "Half a second"),
        (way(pause=between(0.05, 0.34)), "none was near half a second", "the whole range"),
        (way(pause=between(0, 0.5)), "at once after the one before", "Notebook 26"),
        (way(pause=lambda: random.choice((0.05, 0.5))), "as long as each other", "Draw each"),  # noqa: S311
        (one_pause_a_visit, "of one visit were as long as each other", "Draw each pause anew"),
        (hedges, "a try began while another was under way", "One after the other"),
        (way(send=only("x-request-id")), "went out without an idempotency-key", "Notebook 26"),
        (way(send=key_of(lambda _: "k-1")), "sent an idempotency-key, and", "only its own key"),
        (
            way(send=key_of(lambda c: dict(c.invocation_metadata()).get("idempotency-key", "k"))),
            "two calls without an idempotency-key got the same one",
            "out of nothing but chance",
        ),
        (of_the_order, "two calls without an idempotency-key got the same one", "but chance"),
        (made_key(threading.get_ident), "two calls without an idempotency-key", "but chance"),
        (made_key(lambda: f"{time.time():.3f}"), "idempotency-key", "Notebook 26"),
        (made_key(lambda: random.randrange(2000)), "idempotency-key", "Notebook 26"),  # noqa: S311
        (made_key(itertools.count().__next__), "differ in ", "at the next start"),
        (
            way(send=key_of(lambda _: uuid.uuid4().hex)),
            "the customer sent an idempotency-key, and `orders` got another one",
            "Notebook 26",
        ),
        (way(send=only("idempotency-key")), "its x-request-id, and a try went", "Notebook 24"),
        (way(send=request_id_always), "sent no x-request-id, and a try went", "as it came"),
        (way(send=all_that_came), "token was handed to `orders`", "Send two keys on"),
        (way(send=all_but_the_token), "other keys than the two", "whatever else came in"),
        (way(tie=no_tie), "while try 1 was under way, and the try went on", "Notebook 23"),
        (blocking, "while try 1 was under way, and the try went on", "Notebook 23"),
        (runs_away, "and the try went on", "Notebook 23"),
        (way(tie=tie_without_a_look), "and the try went on", "returns False"),
        (way(looks=False), "in the pause, and another try began", "is_active"),
        (way(end=raises), "the customer got UNKNOWN", "End it with `context.abort`"),
        (way(end=hands_all_on), "and the customer got", "the list in the exercise"),
        (way(end=tells_texts), "what it said reached the customer", "Write a text of your own"),
        (way(end=with_first_metadata), "what it said reached the customer", "Notebook 25"),
        (way(end=with_text(lambda text: text.partition("\n")[0])), "did not get its text", "whole"),
        (way(end=with_text(ascii)), "the customer did not get its text", "hand its text on, whole"),
        (way(end=with_the_reason), "and the customer got not all of them", "packs them"),
        (way(end=forgets), "returned None", "on every way"),
        (way(end=with_all_metadata), "what it said reached the customer", "Notebook 25"),
        (way(end=without_details), "and the customer got not all of them", "packs them"),
        (way(end=with_a_text_of_its_own), "the customer did not get its text", "hand its text on"),
        (way(end=made_up), "the customer got OK", "made-up answer"),
        (way(end=aborts_inside_a_try), "and the customer got INTERNAL", "the list in the exercise"),
        (way(end=an_answer_of_its_own), "another answer than `orders` gave", "the try brought"),
        (first_error, "the customer got UNAVAILABLE", "the code of the last try"),
        (cap_for_each_try, "than the customer had left, less 0.2 seconds", "counts as 2 seconds"),
        (
            caps_no_deadline_only,
            "than the customer had left, less 0.2 seconds",
            "counts as 2 seconds",
        ),
        (pause_from_the_start, "a try came at once after the one before", "Notebook 26"),
        (way(pause=lambda: random.uniform(0.3, 0.36)), "came back together", "Draw each"),  # noqa: S311
        (tied_once, "while try 2 was under way, and the try went on", "ties a call"),
        (way(end=cancels_the_customer), "and the customer got", "Notebook 25"),
        (other_request, "another request than the customer sent", "as it came"),
        (asks_nobody, "and `orders` was not asked", "10**18"),
        (misspelt, "NameError", "a slip in the name"),
    ],
)
def test_front_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
