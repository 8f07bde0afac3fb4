"""Exercise of notebook 10: the methods that a server leaves out, told before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import channel
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.servicers import (
    SERVERS,
    AsFound,
    Behind,
    Both,
    Complete,
    Heir,
    InFront,
)
from labsvc.checks.verdict import Verdict, broken, solved

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

CALL_SECONDS = 5.0


_MISSED: dict[type, str] = {
    Behind: "Python takes the first class that has the name, from left to right. Which is it?",
    Both: "One object may derive from several generated bases. Look at all of them.",
}
_MISSED_HINT = "A base class has every method. Whose is the one that the object would use?"
_FALSE_ALARM: dict[type, str] = {
    Complete: "Only what the generated base has is in the contract, its other names are not.",
    Heir: "The method stands in a class further up. Where does the object find it?",
    InFront: "The method stands in a class further up. Where does the object find it?",
}
_FALSE_ALARM_HINT = "Ask for the method that the object would use, wherever it was written."


@exercise("10-left-out", title="Say before the start what a server leaves out", returns=list[str])
def left_out(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`unanswered(servicer)` names the methods that real callers find unimplemented."""
    methods = missing = 0
    for number, (what, kind, services) in enumerate(SERVERS):
        servicer: Any = kind()
        found = AsFound(servicer)
        counts = {"servers_right": number}
        try:
            said = answer(servicer)
        finally:
            changed = found.put_back()
        if changed:
            return broken(
                f"for {what}, your function changed {changed[0]} of the object or its classes",
                "It was put back. Say what is missing; whoever wrote the server mends it.",
                **counts,
            )
        if verdict := _badly_written(what, said, counts):
            return verdict
        if servicer.asked:
            return broken(
                f"for {what}, your function called a method of the server",
                "A call could place an order. Compare what the classes have, and call nothing.",
                **counts,
            )
        truth = _asked_for_real(sandbox, kind(), services)
        if verdict := _compared(what, kind, said, truth, counts):
            return verdict
        methods += len(truth)
        missing += sum(truth.values())
    return solved(
        "what your function said and what callers read is the same",
        servers=len(SERVERS),
        methods=methods,
        left_out=missing,
    )


def _badly_written(what: str, said: list[str], counts: dict[str, int]) -> Verdict | None:
    """Return what is wrong with the form of an answer, None if nothing is."""
    wrong = [one for one in said if not _well_formed(one)]
    if wrong:
        return broken(
            f"for {what}, your list holds {wrong[0]!r}",
            'Name the service and the method, as "OrderService.GetOrder".',
            **counts,
        )
    if said != sorted(set(said)):
        return broken(
            f"for {what}, your list is not sorted, or names a method twice",
            "`sorted(...)` makes a list of anything.",
            **counts,
        )
    return None


def _well_formed(name: str) -> bool:
    service, _, method = name.partition(".")
    return service.endswith("Service") and method.isidentifier()


def _asked_for_real(
    sandbox: Sandbox, servicer: Any, services: tuple[tuple[ServiceDescriptor, Any], ...]
) -> dict[str, bool]:
    """Serve the object and call each method of its services; true are the unimplemented ones."""
    faces = []
    for service, module in services:
        # A lab registers an object for one service; this one stands for it at the others.
        face = getattr(module, f"{service.name}Servicer")()
        for method in service.methods:
            setattr(face, method.name, getattr(servicer, method.name))
        faces.append(face)
    served = sandbox.serve_grpc(*faces, name="left-out", workers=2)
    with channel(served.target) as opened:
        return {
            f"{service.name}.{method.name}": _unimplemented(
                opened, f"/{service.full_name}/{method.name}"
            )
            for service, _ in services
            for method in service.methods
        }


def _unimplemented(opened: grpc.Channel, path: str) -> bool:
    # Every kind of call is a stream on the wire, and an empty message is no bytes.
    method: Any = opened.stream_stream(path)
    call = method(iter([b""]), timeout=CALL_SECONDS)
    try:
        list(call)
    except grpc.RpcError:
        return bool(call.code() is grpc.StatusCode.UNIMPLEMENTED)
    return False


def _compared(
    what: str, kind: type, said: list[str], truth: dict[str, bool], counts: dict[str, int]
) -> Verdict | None:
    """Return where the answer and the callers disagree, None if nowhere."""
    for name, unimplemented in truth.items():
        if unimplemented and name not in said:
            hint = _MISSED.get(kind, _MISSED_HINT)
            return broken(
                f"{name} of {what} is not in your list, and its callers read UNIMPLEMENTED",
                hint,
                **counts,
            )
    for name in said:
        if not truth.get(name, False):
            fate = "its callers are answered" if name in truth else "no contract has it"
            hint = _FALSE_ALARM.get(kind, _FALSE_ALARM_HINT)
            return broken(f"{name} of {what} is in your list, and {fate}", hint, **counts)
    return None
