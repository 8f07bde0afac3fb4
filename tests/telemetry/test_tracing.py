"""Spans leave out of band: no call waits for the collector, and what is lost is counted."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry import trace as api
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, TraceIdRatioBased

from labsvc import Lab, until
from labsvc.ports import hold
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.telemetry import Tracing, tracing
from labsvc.telemetry.receiver import Received
from tests.patience import patience
from tests.telemetry import watched
from tests.telemetry.otlp import work

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.hosts.collector import CollectorService

COLLECTOR = """
from labsvc import Lab
with Lab() as lab:
    print(lab.serve_collector().endpoint, flush=True)
    input()
"""
# A service that never closes its tracing, beside a collector that is not there.
CARELESS = """
import sys
from labsvc.telemetry import Tracing
tracing = Tracing("careless", sys.argv[1])
for _ in range(3000):
    tracing.tracer.start_span("work").end()
"""


class Users(user_pb2_grpc.UserServiceServicer):
    """Answers, in threads."""

    def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer at once."""
        return user_pb2.GetUserResponse()


class Gate(TraceServiceServicer):
    """A collector that answers when it is let, and then with a status of one's choice."""

    def __init__(self, *codes: grpc.StatusCode) -> None:
        self.asked, self.open = threading.Event(), threading.Event()
        self.received = Received()
        self._codes = list(codes)

    def Export(self, request: Any, context: Any) -> ExportTraceServiceResponse:
        """Take the spans in, and answer or fail."""
        self.asked.set()
        assert self.open.wait(60)
        self.received.take(request)
        if self._codes:
            context.abort(self._codes.pop(0), "the answer is lost")
        return ExportTraceServiceResponse()

    @property
    def names(self) -> list[str]:
        """The names of the spans that came, sorted."""
        return sorted(span.name for trace in self.received.traces() for span in trace.spans)


@pytest.fixture
def collector(lab: Lab) -> CollectorService:
    """Serve a collector."""
    return lab.serve_collector()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up an export early, so that the tests are done sooner."""
    monkeypatch.setattr(tracing, "TIMEOUT_SECONDS", 1.0)


def serve(lab: Lab, gate: Gate) -> str:
    """Serve a gate; return where."""
    return f"http://{lab.serve_grpc(gate, name='gate', workers=2).target}"


def all_is_counted(made: Tracing, ended: int) -> None:
    """Hold that each span that has ended was either sent or lost."""
    assert made.ended == ended == made.sent + made.lost
    assert min(made.sent, made.lost) >= 0


def test_spans_arrive_under_the_name_of_the_service(collector: CollectorService) -> None:
    """After a flush they are there, each confirmed, with their attributes."""
    shop = Tracing("shop", collector.endpoint)
    with shop.tracer.start_as_current_span("order", attributes={"sku": "tea", "units": [1, 2]}):
        work(shop)
    shop.flush()
    [found] = collector.traces()
    assert str(found) == "shop: order [internal]\n  shop: work [internal]"
    assert found.spans[0].attributes == {"sku": "tea", "units": [1, 2]}
    assert (shop.ended, shop.sent, shop.lost, shop.service) == (2, 2, 0, "shop")
    shop.close()


def test_an_exception_is_in_the_span(collector: CollectorService) -> None:
    """It passes through, and its span is an error with its words."""
    shop = Tracing("shop", collector.endpoint)
    with pytest.raises(LookupError), shop.tracer.start_as_current_span("order"):
        raise LookupError("no tea")  # noqa: EM101
    shop.close()
    [span] = collector.traces()[0].spans
    assert (span.error, span.message) == (True, "LookupError: no tea")


def test_spans_leave_without_a_flush(collector: CollectorService) -> None:
    """A fraction of a second is enough for one span that nobody asks for."""
    shop = Tracing("shop", collector.endpoint)
    work(shop)
    until(lambda: shop.sent == 1, timeout=patience(10))
    assert collector.stats.received == 1
    shop.close()


def test_many_threads_are_counted(collector: CollectorService) -> None:
    """4,000 spans of four threads arrive, while they are flushed from elsewhere."""
    shop = Tracing("shop", collector.endpoint, queue=10_000)
    threads = [threading.Thread(target=work, args=(shop, 1000)) for _ in range(4)]
    for each in threads:
        each.start()
    while any(each.is_alive() for each in threads):
        shop.flush()
    shop.flush()
    all_is_counted(shop, 4000)
    assert shop.lost == 0
    assert collector.stats.received == 4000
    shop.close()


def slow(collector: CollectorService) -> None:
    """Wait before each answer, for less than an export has."""
    collector.delay = 1.2


def hung(collector: CollectorService) -> None:
    """Never answer in time."""
    collector.delay = 30


def stopped(collector: CollectorService) -> None:
    """Be gone."""
    collector.stop()


def blips(collector: CollectorService) -> None:
    """Go, and come back."""
    collector.stop()
    collector.start()


def call_30_times(lab: Lab, made: Tracing, in_the_middle: Callable[[], None]) -> None:
    """Make traced calls; hold that each succeeds and that none takes a second."""
    ended = made.ended
    users = lab.serve_grpc(Users(), name="users", workers=2, interceptors=watched.server(made))
    with grpc.insecure_channel(users.target) as bare:
        get_user = user_pb2_grpc.UserServiceStub(watched.channel(made, bare)).GetUser
        for number in range(30):
            if number == 10:
                in_the_middle()
                work(made, 1000)  # so that there is always something to send
            began = time.perf_counter()
            get_user(user_pb2.GetUserRequest(), timeout=20)
            assert time.perf_counter() - began < 1
    # A server's span ends after its answer.
    until(lambda: made.ended == ended + 1060, timeout=patience(10))


@pytest.mark.parametrize("trouble", [slow, hung, stopped, blips])
def test_no_call_fails_or_waits(
    lab: Lab,
    collector: CollectorService,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[[CollectorService], None],
) -> None:
    """Whatever befalls the collector, and exactly what did not arrive is lost."""
    if trouble in (hung, stopped):
        monkeypatch.setattr(tracing, "TIMEOUT_SECONDS", 1.0)
    made = Tracing("both", collector.endpoint)
    call_30_times(lab, made, lambda: trouble(collector))
    made.flush()
    all_is_counted(made, 1060)
    assert collector.stats.received == made.sent
    assert (made.lost > 0) is (trouble in (hung, stopped))
    made.close()
    all_is_counted(made, 1060)


def test_no_call_fails_when_the_collector_is_killed(lab: Lab, impatient: None) -> None:
    """A collector of another process dies in the middle: what it has confirmed was sent."""
    command = [sys.executable, "-c", COLLECTOR]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        made = Tracing("both", program.stdout.readline().strip())
        work(made)
        made.flush()
        assert made.sent == 1
        call_30_times(lab, made, program.kill)
    made.flush()
    all_is_counted(made, 1061)
    assert made.lost >= 1000
    made.close()


def test_of_a_full_queue_the_oldest_are_lost(lab: Lab) -> None:
    """As many as do not fit, while an export hangs; the others arrive when it does no longer."""
    gate = Gate()
    made = Tracing("shop", serve(lab, gate), queue=10)
    made.tracer.start_span("first").end()
    assert gate.asked.wait(patience(10))
    for number in range(15):
        made.tracer.start_span(f"{number:02}").end()
    assert (made.ended, made.sent, made.lost) == (16, 0, 16)
    gate.open.set()
    made.flush()
    assert gate.names == [f"{number:02}" for number in range(5, 15)] + ["first"]
    assert (made.ended, made.sent, made.lost) == (16, 11, 5)
    made.close()


def test_no_request_has_more_than_a_batch(lab: Lab) -> None:
    """25 spans in batches of 10 are three requests at least."""
    gate = Gate()
    gate.open.set()
    made = Tracing("shop", serve(lab, gate), batch=10)
    work(made, 25)
    made.close()
    assert gate.received.stats().requests >= 3
    assert (made.sent, made.lost) == (25, 0)


def test_a_batch_whose_answer_is_lost_is_sent_again(lab: Lab) -> None:
    """The collector has its spans twice, shows them once, and none is counted as lost."""
    gate = Gate(grpc.StatusCode.UNAVAILABLE)
    gate.open.set()
    made = Tracing("shop", serve(lab, gate))
    work(made)
    made.flush()
    assert (made.ended, made.sent, made.lost) == (1, 1, 0)
    assert gate.received.stats().received == 2
    assert [str(trace) for trace in gate.received.traces()] == ["shop: work [internal]"]
    made.close()


def test_what_is_refused_is_lost(lab: Lab) -> None:
    """An answer that is an error for good confirms nothing; the next batch may fare better."""
    gate = Gate(grpc.StatusCode.INVALID_ARGUMENT)
    gate.open.set()
    made = Tracing("shop", serve(lab, gate))
    work(made, 3)
    made.flush()
    assert (made.ended, made.sent, made.lost) == (3, 0, 3)
    work(made, 2)
    made.flush()
    assert (made.ended, made.sent, made.lost) == (5, 2, 3)
    made.close()


def test_after_an_outage_spans_arrive_again(collector: CollectorService) -> None:
    """On the same port, without a new set-up; what was lost stays lost."""
    made = Tracing("shop", collector.endpoint)
    collector.stop()
    work(made, 3)
    made.flush()
    assert (made.sent, made.lost) == (0, 3)
    collector.start()

    def arrives() -> bool:
        work(made, 2)
        made.flush()
        return made.sent > 0

    until(arrives, timeout=patience(20))
    assert made.lost >= 3
    assert collector.stats.received == made.sent
    made.close()


@pytest.mark.parametrize("trouble", [hung, stopped])
def test_close_does_not_wait_for_ever(
    collector: CollectorService, impatient: None, trouble: Callable[[CollectorService], None]
) -> None:
    """With a queue of many batches it ends within the time of one, and all of it is lost."""
    before = set(threading.enumerate())
    made = Tracing("shop", collector.endpoint, queue=5000, batch=100)
    [sends] = [
        each
        for each in threading.enumerate()
        if each.name.startswith("OtelBatch") and each not in before
    ]
    trouble(collector)
    work(made, 5000)
    began = time.perf_counter()
    made.close()
    assert time.perf_counter() - began < patience(3)
    assert (made.ended, made.sent, made.lost) == (5000, 0, 5000)
    assert not sends.is_alive()


def test_close_sends_what_waits(collector: CollectorService) -> None:
    """It needs no flush before; a second one does nothing; what ends later is lost and counted."""
    made = Tracing("shop", collector.endpoint)
    work(made, 1500)
    made.close()
    assert (made.sent, made.lost) == (1500, 0)
    made.close()
    work(made, 2)
    made.flush()
    assert (made.ended, made.sent, made.lost) == (1502, 1500, 2)
    assert collector.stats.received == 1500


def test_closing_while_spans_end(collector: CollectorService) -> None:
    """Those that come too late are lost, and counted too."""
    made = Tracing("shop", collector.endpoint)
    enough = threading.Event()

    def go_on() -> None:
        while not enough.is_set():
            work(made)

    threads = [threading.Thread(target=go_on) for _ in range(2)]
    for each in threads:
        each.start()
    until(lambda: made.sent > 0, timeout=patience(10))
    made.close()
    enough.set()
    for each in threads:
        each.join()
    all_is_counted(made, made.ended)
    assert collector.stats.received == made.sent


def parent(*, sampled: bool) -> Any:
    """Return the context of a call whose caller has decided."""
    flags = api.TraceFlags(api.TraceFlags.SAMPLED if sampled else api.TraceFlags.DEFAULT)
    return api.set_span_in_context(
        api.NonRecordingSpan(api.SpanContext(1, 2, is_remote=True, trace_flags=flags))
    )


def test_who_is_called_follows_its_caller(collector: CollectorService) -> None:
    """The sampler decides on traces that begin here, and on no others."""
    for sampler, alone in ((ALWAYS_ON, 1), (ALWAYS_OFF, 0)):
        made = Tracing("shop", collector.endpoint, sampler=sampler)
        work(made)
        assert made.ended == alone
        made.tracer.start_span("work", parent(sampled=False)).end()
        assert made.ended == alone
        made.tracer.start_span("work", parent(sampled=True)).end()
        assert made.ended == alone + 1
        made.close()
        assert made.lost == 0


def test_a_sampled_trace_is_whole(collector: CollectorService) -> None:
    """Of one in two traces all spans are there, of both services, and of the others none."""
    first = Tracing("first", collector.endpoint, sampler=TraceIdRatioBased(0.5))
    second = Tracing("second", collector.endpoint, sampler=TraceIdRatioBased(0.01))
    for _ in range(200):
        with first.tracer.start_as_current_span("ask"):
            work(second)
    for each in (first, second):
        each.close()
    found = collector.traces()
    assert 50 < len(found) < 150
    assert {str(trace) for trace in found} == {"first: ask [internal]\n  second: work [internal]"}
    assert first.ended == second.ended == len(found)


def test_a_process_that_does_not_close_ends_in_silence() -> None:
    """With no collector at hand nothing is printed, and the exit does not wait for one."""
    with hold(0) as nobody:
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", CARELESS, endpoint],
            capture_output=True,
            text=True,
            check=True,
            timeout=patience(30),
        )
    assert (done.stdout, done.stderr) == ("", "")
