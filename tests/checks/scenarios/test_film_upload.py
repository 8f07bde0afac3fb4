from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.rpc.chunks import AGAIN
from labsvc.shop.v1 import media_pb2
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    Upload = Callable[[Any, Any, int], str]

pytestmark = pytest.mark.usefixtures("answers_have_ended")

CHECK = "54-resume-upload"
PAUSE = 0.05


def stored_at(stub: Any, sha256: str, timeout: float | None = 1) -> int:
    """Ask how much is stored."""
    asked = media_pb2.GetUploadRequest(sha256=sha256)
    return int(stub.GetUpload(asked, timeout=timeout).stored)


def put(stub: Any, sha256: str, offset: int, data: bytes, timeout: float | None = 1) -> int:
    """Send a chunk."""
    chunk = media_pb2.PutChunkRequest(sha256=sha256, offset=offset, data=data)
    return int(stub.PutChunk(chunk, timeout=timeout).stored)


def finish(stub: Any, sha256: str, timeout: float | None = 1) -> None:
    """End the upload."""
    stub.FinishUpload(media_pb2.FinishUploadRequest(sha256=sha256), timeout=timeout)


def digest(file: Any) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_one_block(file: Any) -> str:
    """Return the same by a read with a limit that is none."""
    return hashlib.sha256(file.read(10**9)).hexdigest()


def upload(  # noqa: C901  # a switch for each mistake
    *,
    tries: int = 5,
    again: Any = AGAIN,
    pause: float = PAUSE,
    timeout: float | None = 1,
    larger: int = 1,
    total: bool = False,
    swallows: bool = False,
    asks: bool = True,
    from_start: bool = False,
    finishes: bool = True,
    returns: str = "",
    grid: bool = False,
    hole: int = 0,
    digest_of: Callable[[Any], str] = digest,
    resets: bool = False,
    own_error: Callable[[str], Exception] | None = None,
) -> Upload:
    """Return an answer: the right one without arguments."""

    def upload_film(stub: Any, file: Any, size: int) -> str:  # noqa: C901
        sha256, place, in_vain = digest_of(file), 0, Counter[int]()
        while True:
            try:
                if asks:
                    place = 0 if from_start else stored_at(stub, sha256, timeout)
                    if resets:
                        in_vain.clear()
                if grid:
                    place -= place % size
                file.seek(place + hole if place else 0)
                while data := file.read(size * larger):
                    put(stub, sha256, file.tell() - len(data), data, timeout)
                if finishes:
                    finish(stub, sha256, timeout)
            except grpc.RpcError as error:
                in_vain[0 if total else place] += 1
                if error.code() not in again or max(in_vain.values()) >= tries:
                    if swallows:
                        return sha256
                    if own_error:
                        failed = own_error(error.code().name)
                        failed.__suppress_context__ = not isinstance(failed, grpc.RpcError)
                        raise failed  # noqa: B904  # its context is what the check looks at
                    raise
                time.sleep(pause)
            else:
                return returns or sha256

    return upload_film


def stub_only(stub: Any, file: Any, size: int) -> str:
    """Do nothing yet."""
    raise NotImplementedError("write this, then run the check below")  # noqa: EM101


def by_furthest(stub: Any, file: Any, size: int) -> str:
    """Solve it with a mark of how far it came, blocks for the digest, and growing pauses."""
    sha = hashlib.sha256()
    while block := file.read(2048):
        sha.update(block)
    furthest, in_vain = -1, 0
    while True:
        try:
            place = stored_at(stub, sha.hexdigest())
            if place > furthest:
                furthest, in_vain = place, 0
            while True:
                file.seek(place)
                data = file.read(size)
                if not data:
                    break
                place = put(stub, sha.hexdigest(), place, data)
            finish(stub, sha.hexdigest())
            return sha.hexdigest()
        except grpc.RpcError as error:
            in_vain += 1
            if error.code() not in AGAIN or in_vain > 5:
                raise
            time.sleep(PAUSE * 2 ** min(in_vain - 1, 2))


async def on_a_loop(stub: Any, file: Any, size: int) -> str:
    """Solve it in a coroutine."""
    return await asyncio.to_thread(upload(), stub, file, size)


def by_mapping(stub: Any, file: Any, size: int) -> str:
    """Solve it with the file mapped into memory, which holds no more of it than is used."""
    if not file.seek(0, 2):
        return upload()(stub, file, size)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as film:
        sha256, in_vain = hashlib.sha256(film).hexdigest(), Counter[int]()
        place = 0
        while True:
            try:
                place = stored_at(stub, sha256)
                for start in range(place, len(film), size):
                    put(stub, sha256, start, film[start : start + size])
                finish(stub, sha256)
            except grpc.RpcError as error:
                in_vain[place] += 1
                if error.code() not in AGAIN or in_vain[place] == 5:
                    raise
                time.sleep(PAUSE)
            else:
                return sha256


def a_chunk_again(stub: Any, file: Any, size: int) -> str:
    """Solve it by sending the chunk that failed again, without a question in between."""
    sha256, place, in_vain = digest(file), None, 0
    while True:
        try:
            if place is None:
                place = stored_at(stub, sha256)
            file.seek(place)
            while data := file.read(size):
                put(stub, sha256, place, data)
                place, in_vain = place + len(data), 0
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain += 1
            if error.code() not in AGAIN or in_vain == 5:
                raise
            if error.code() is grpc.StatusCode.OUT_OF_RANGE:
                place = None
            time.sleep(PAUSE)
        else:
            return sha256


def gives_up_in_its_own_words(stub: Any, file: Any, size: int) -> str:
    """Solve it with an error of its own, raised from the last one."""
    try:
        return upload()(stub, file, size)
    except grpc.RpcError as error:
        msg = "no film today"
        raise ConnectionError(msg) from error


def by_position(stub: Any, file: Any, size: int) -> str:
    """Solve it with `os.pread`, which moves no place in the file, and with calls of other kinds."""
    sha256, place, in_vain = digest(file), 0, Counter[int]()
    while True:
        try:
            asked = media_pb2.GetUploadRequest(sha256=sha256)
            place = stub.GetUpload.with_call(asked, timeout=1)[0].stored
            while data := os.pread(file.fileno(), size, place):
                chunk = media_pb2.PutChunkRequest(sha256=sha256, offset=place, data=data)
                place = stub.PutChunk.future(chunk, timeout=1).result().stored
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain[place] += 1
            if error.code() not in AGAIN or in_vain[place] == 5:
                raise
            time.sleep(PAUSE)
        else:
            return sha256


def digest_twice(stub: Any, file: Any, size: int) -> str:
    """Solve it with a look whether the file is still the same before the upload begins."""
    sha256 = digest(file)
    file.seek(0)
    assert digest(file) == sha256
    file.seek(0)
    return upload()(stub, file, size)


def digest_meanwhile(stub: Any, file: Any, size: int) -> str:
    """Solve it with a second digest, of what is read while the chunks go out."""
    sha256, place, in_vain = digest(file), 0, Counter[int]()
    while True:
        try:
            place = stored_at(stub, sha256)
            file.seek(0)
            seen = hashlib.sha256()
            while block := file.read(min(size, place - file.tell())):
                seen.update(block)
            while data := file.read(size):
                seen.update(data)
                put(stub, sha256, file.tell() - len(data), data)
            if seen.hexdigest() != sha256:
                msg = "the film has changed"
                raise ValueError(msg)
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain[place] += 1
            if error.code() not in AGAIN or in_vain[place] == 5:
                raise
            time.sleep(PAUSE)
        else:
            return sha256


def in_blocks(stub: Any, file: Any, size: int) -> str:
    """Solve it with a digest of the largest blocks that the text allows, by a name of its own."""
    sha = hashlib.sha256()
    with open(file.name, "rb") as own:  # noqa: PTH123  # as people write it
        for block in iter(lambda: own.read(2**20), b""):
            sha.update(block)
    assert sha.hexdigest() == digest(file)
    file.seek(0)
    return upload()(stub, file, size)


def list_of_messages(stub: Any, file: Any, size: int) -> str:
    """Make all messages before the first goes out: they are not in Python's memory."""
    sha256, in_vain, place = digest(file), Counter[int](), 0
    while True:
        try:
            place = stored_at(stub, sha256)
            file.seek(place)
            chunks = []
            while data := file.read(size):
                start = file.tell() - len(data)
                chunks.append(media_pb2.PutChunkRequest(sha256=sha256, offset=start, data=data))
            for chunk in chunks:
                stub.PutChunk(chunk, timeout=1)
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain[place] += 1
            if error.code() not in AGAIN or in_vain[place] == 5:
                raise
            time.sleep(PAUSE)
        else:
            return sha256


def first_error(stub: Any, file: Any, size: int) -> str:
    """Raise the first error of those at one place."""
    sha256, place, in_vain = digest(file), 0, Counter[int]()
    first: dict[int, grpc.RpcError] = {}
    while True:
        try:
            place = stored_at(stub, sha256)
            file.seek(place)
            while data := file.read(size):
                put(stub, sha256, file.tell() - len(data), data)
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain[place] += 1
            first.setdefault(place, error)
            if error.code() not in AGAIN:
                raise
            if in_vain[place] == 5:
                raise first[place] from None
            time.sleep(PAUSE)
        else:
            return sha256


def at_what_the_answer_says(stub: Any, file: Any, size: int) -> str:
    """Read on, and say that the chunk starts where the last answer said."""
    sha256, place, in_vain = digest(file), 0, Counter[int]()
    while True:
        try:
            place = stored_at(stub, sha256)
            file.seek(place)
            while data := file.read(size):
                place = put(stub, sha256, place, data)
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain[place] += 1
            if error.code() not in AGAIN or in_vain[place] == 5:
                raise
            time.sleep(PAUSE)
        else:
            return sha256


def zero_without_an_answer(stub: Any, file: Any, size: int) -> str:
    """Begin at the start where the question fails."""
    sha256, in_vain = digest(file), 0
    while True:
        try:
            place = stored_at(stub, sha256)
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
            place = 0
        try:
            file.seek(place)
            while data := file.read(size):
                put(stub, sha256, file.tell() - len(data), data)
                in_vain = 0
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain += 1
            if error.code() not in AGAIN or in_vain == 5:
                raise
            time.sleep(PAUSE)
        else:
            return sha256


def question_outside(stub: Any, file: Any, size: int) -> str:
    """Ask where no error is caught."""
    sha256, in_vain = digest(file), Counter[int]()
    while True:
        place = stored_at(stub, sha256)
        try:
            file.seek(place)
            while data := file.read(size):
                put(stub, sha256, file.tell() - len(data), data)
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain[place] += 1
            if error.code() not in AGAIN or in_vain[place] == 5:
                raise
            time.sleep(PAUSE)
        else:
            return sha256


def all_at_once(stub: Any, file: Any, size: int) -> str:
    """Read the film as a whole."""
    film = file.read()
    file.seek(0)
    upload()(stub, file, size)
    return hashlib.sha256(film).hexdigest()


def list_of_chunks(stub: Any, file: Any, size: int) -> str:
    """Keep all chunks from the first look at the film."""
    chunks = list(iter(lambda: file.read(size), b""))
    sha256, in_vain, place = hashlib.sha256(b"".join(chunks)).hexdigest(), Counter[int](), 0
    while True:
        try:
            place = stored_at(stub, sha256)
            start = 0
            for data in chunks:
                if start + len(data) > place:
                    put(stub, sha256, max(start, place), data[max(0, place - start) :])
                start += len(data)
            finish(stub, sha256)
        except grpc.RpcError as error:
            in_vain[place] += 1
            if error.code() not in AGAIN or in_vain[place] == 5:
                raise
            time.sleep(PAUSE)
        else:
            return sha256


def does_not_seek(stub: Any, file: Any, size: int) -> str:
    """Forget that the digest has read the file to its end."""
    sha256 = digest(file)
    while data := file.read(size):
        put(stub, sha256, file.tell() - len(data), data)
    finish(stub, sha256)
    return sha256


def counts_from_its_place(stub: Any, file: Any, size: int) -> str:
    """Go to the place that is stored, and say that the chunk starts at 0."""
    sha256 = digest(file)
    file.seek(stored_at(stub, sha256))
    start = 0
    while data := file.read(size):
        put(stub, sha256, start, data)
        start += len(data)
    finish(stub, sha256)
    return sha256


def five_tries_in_all(stub: Any, file: Any, size: int) -> str:
    """Give it five tries, however far they come."""
    sha256 = digest(file)
    for left in reversed(range(5)):
        try:
            file.seek(stored_at(stub, sha256))
            while data := file.read(size):
                put(stub, sha256, file.tell() - len(data), data)
            finish(stub, sha256)
            break
        except grpc.RpcError as error:
            if error.code() not in AGAIN or not left:
                raise
            time.sleep(PAUSE)
    return sha256


def each_call_by_itself(stub: Any, file: Any, size: int) -> str:
    """Try each call five times, and the whole five times."""

    def tried(call: Callable[..., Any], *args: Any) -> Any:
        for left in reversed(range(5)):
            try:
                return call(stub, *args)
            except grpc.RpcError as error:
                if error.code() not in AGAIN or not left:
                    raise
                time.sleep(PAUSE)
        return None

    sha256 = digest(file)
    for left in reversed(range(5)):
        try:
            file.seek(tried(stored_at, sha256))
            while data := file.read(size):
                tried(put, sha256, file.tell() - len(data), data)
            tried(finish, sha256)
            break
        except grpc.RpcError as error:
            if error.code() not in AGAIN or not left:
                raise
    return sha256


def of_the_first_chunk(stub: Any, file: Any, size: int) -> str:
    """Take the digest of a chunk for that of the film."""
    sha256 = hashlib.sha256(file.read(size)).hexdigest()
    file.seek(stored_at(stub, sha256))
    while data := file.read(size):
        put(stub, sha256, file.tell() - len(data), data)
    finish(stub, sha256)
    return sha256


def skips_the_end(stub: Any, file: Any, size: int) -> str:
    """Take all bytes stored for a film that is finished."""
    sha256 = digest(file)
    if stored_at(stub, sha256) == file.tell():
        return sha256
    file.seek(0)
    return upload()(stub, file, size)


def test_solved() -> None:
    """The solution of the course is solved, soon enough."""
    verdict = run_check(CHECK, upload())
    assert verdict.state == "solved", verdict
    assert verdict.counts["cases"] > 40


@pytest.mark.parametrize(
    "answer",
    [
        by_furthest,
        on_a_loop,
        by_mapping,
        a_chunk_again,
        gives_up_in_its_own_words,
        upload(tries=3),
        upload(tries=8),
        upload(timeout=0.5, pause=0.1),
        by_position,
        digest_twice,
        digest_meanwhile,
        in_blocks,
    ],
    ids=[
        "furthest",
        "aio",
        "mapped",
        "same-chunk",
        "own-words",
        "three",
        "eight",
        "short",
        "positions",
        "digest-twice",
        "digest-meanwhile",
        "blocks",
    ],
)
def test_solved_otherwise(answer: Upload) -> None:
    """Other ways to keep the promise are as good."""
    assert_solved(CHECK, answer)


def test_stub() -> None:
    """The stub is no attempt."""
    assert_not_attempted(CHECK, stub_only)


OTHERS = [grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL, grpc.StatusCode.NOT_FOUND]
NO_DEADLINE = AGAIN - {grpc.StatusCode.DEADLINE_EXCEEDED}
NO_RANGE = AGAIN - {grpc.StatusCode.OUT_OF_RANGE}


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (upload(from_start=True), "sent though they were stored", "Begin with GetUpload"),
        (upload(asks=False), "sent though they were stored", "Begin with GetUpload"),
        (upload(grid=True), "sent though they were stored", "Begin with GetUpload"),
        (upload(hole=1), "started beyond what was stored", "the first byte is 0"),
        (upload(tries=1), "was lost: your function gave up with UNAVAILABLE", "were in vain"),
        (upload(tries=2), "gave up with UNAVAILABLE", "five tries in a row"),
        (upload(tries=20), "went on and on", "Count the tries"),
        (upload(resets=True), "went on and on", "whatever else is answered"),
        (five_tries_in_all, "broke ten times", "further was not"),
        (upload(total=True), "broke ten times", "further was not"),
        (each_call_by_itself, "went on and on", "Count the tries"),
        (upload(again=NO_DEADLINE), "gave up with DEADLINE_EXCEEDED", "were in vain"),
        (upload(again=NO_RANGE), "gave up with OUT_OF_RANGE", "GetUpload"),
        (upload(again=set(grpc.StatusCode)), "your function went on", "Which codes"),
        *(
            (upload(again=AGAIN | {code}), f"answered with {code.name}, and", "Let all others out")
            for code in OTHERS
        ),
        (question_outside, "gave up with UNAVAILABLE", "were in vain"),
        (zero_without_an_answer, "bytes were sent though", "has not said 0"),
        (upload(swallows=True), "returned as if all was well", "Raise the last error"),
        (upload(own_error=RuntimeError), "nobody can read a code", "`from` with it"),
        (upload(own_error=grpc.RpcError), "nobody can read a code", "`grpc.RpcError()` is empty"),
        (first_error, "your function raised UNAVAILABLE", "error of the last try"),
        (upload(pause=0), "came at once", "Wait a little"),
        (upload(timeout=None), "had no timeout", "timeout=1"),
        (upload(timeout=5), "more than a second", "timeout=1"),
        (upload(larger=2), "a chunk had", "file.read(size)"),
        (upload(finishes=False), "never finished", "Call FinishUpload"),
        (skips_the_end, "never finished", "also if it was stored before"),
        (upload(returns="done"), "something else than the film's SHA-256", "64 hexadecimal"),
        (all_at_once, "in memory at one moment", "Read it twice"),
        (upload(digest_of=digest_of_one_block), "in memory at one moment", "in blocks"),
        (list_of_messages, "in memory at one moment", "each when the one before"),
        (list_of_chunks, "in memory at one moment", "Read it twice"),
        (does_not_seek, "the server dropped it", "`seek` there before"),
        (at_what_the_answer_says, "had less than it said, and what came", "`seek` there before"),
        (counts_from_its_place, "the server dropped it", "at which byte of the file"),
        (of_the_first_chunk, "knew no such film", "hexdigest of all bytes"),
    ],
    ids=[
        "from-the-start",
        "no-question",
        "grid",
        "hole",
        "one-try",
        "two-tries",
        "twenty-tries",
        "any-success-resets",
        "five-in-all",
        "counts-all",
        "tries-multiply",
        "no-deadline-error",
        "no-range-error",
        "every-error",
        *(f"{code.name.lower()}-too" for code in OTHERS),
        "question-outside",
        "no-answer-is-zero",
        "swallows",
        "own-error",
        "empty-error",
        "first-error",
        "no-pause",
        "no-timeout",
        "long-timeout",
        "large-chunks",
        "no-finish",
        "no-finish-when-stored",
        "wrong-value",
        "read-whole",
        "read-a-billion",
        "list-of-messages",
        "list-of-chunks",
        "no-seek",
        "reads-on",
        "wrong-offsets",
        "wrong-digest",
    ],
)
def test_wrong(answer: Upload, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(CHECK, answer, guarantee, hint)
