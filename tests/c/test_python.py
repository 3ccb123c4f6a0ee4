"""examples-c/python/redkeep.py: everything it has, bad input, threads, forks, and a library of another version."""

import gc
import os
import pickle
import re
import select
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from multiprocessing import get_context

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples-c/python"))
import redkeep  # noqa: E402
from redkeep import Error, LockTimeout, Manager  # noqa: E402

URL = os.environ["RK_TEST_URL"]
PATIENCE = 20


def fails(name, call, *arguments, **named):
    try:
        call(*arguments, **named)
    except Error as error:
        assert error.name == name, (error.name, str(error))
        return error
    raise AssertionError(f"{name} was not raised")


def raises(kind, call, *arguments):
    try:
        call(*arguments)
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind} was not raised")


def wait_for(found):
    deadline = time.monotonic() + PATIENCE
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def values(keep):
    assert keep.get("py") is None
    assert keep.set("py", b"a\0b") and keep.get("py") == b"a\0b"
    assert keep.set("py", "ü", ex=100) and keep.get(b"py") == "ü".encode()
    assert 0 < keep.ttl("py") <= 100 and keep.exists("py")
    assert not keep.set("py", 1, nx=True) and keep.set("py", 7, xx=True, keep_ttl=True)
    assert keep.incr("py") == 8 and keep.incr("py", -3) == 5 and keep.expire("py", 5)
    assert keep.set("n", 1.5) and keep.get("n") == b"1.5"
    assert keep.set("empty", "") and keep.get("empty") == b""
    assert keep.hset("h", "f", "v") == 1 and keep.hget("h", "f") == b"v" and keep.hget("h", "g") is None
    assert keep.set_json("j", {"items": [1, 2.5, None], "ü": True}, px=60_000)
    assert keep.get_json("j") == {"items": [1, 2.5, None], "ü": True} and keep.get_json("none") is None
    assert keep.delete("py", "n", "never") == 2 and not keep.exists("py") and keep.ttl("py") == -2
    assert keep.command("RPUSH", "l", 1, "two") == 2 and keep.command("LRANGE", "l", 0, -1) == [b"1", b"two"]
    assert keep.command("HGETALL", "h") == {b"f": b"v"} and keep.command("SET", "k", "v") == b"OK"
    assert keep.command("SMEMBERS", "no") == [] and keep.command("GET", "no") is None
    assert keep.command("ZADD", "z", 1.5, "a") == 1 and keep.command("ZSCORE", "z", "a") == 1.5
    mixed = keep.command("EVAL", "return {1, redis.error_reply('ERR inner')}", 0)
    assert mixed[0] == 1 and isinstance(mixed[1], Error) and "inner" in str(mixed[1])


def bad_input(keep):
    keep.set("word", "text")
    error = fails("RK_ERR_NOT_A_NUMBER", keep.incr, "word")
    assert error.code == "ERR" and error.outcome == "refused" and error.node and not error.retriable
    assert "not an integer" in str(error)
    assert fails("RK_ERR_CONFLICT", keep.set, "word", 1, ex=5, px=5).outcome == "not sent"
    fails("RK_ERR_WRONG_TYPE", keep.hget, "word", "f")
    fails("RK_ERR_STORED_JSON", keep.get_json, "word")
    fails("RK_ERR_STATEFUL", keep.command, "MULTI")
    fails("RK_ERR_ARGUMENT", keep.command)
    fails("RK_ERR_ARGUMENT", keep.lock, "")
    fails("RK_ERR_UNKNOWN_PROPERTY", keep.lock, "l", colour="red")
    assert "colour" in str(fails("RK_ERR_UNKNOWN_PROPERTY", Manager, URL, colour="red"))
    assert "max_connections" in str(fails("RK_ERR_BAD_VALUE", Manager, URL, max_connections=0))
    fails("RK_ERR_URL", Manager, "http://localhost")
    assert fails("RK_ERR_CONNECT", Manager("redis://127.0.0.1:1").ping).retriable
    raises(TypeError, keep.set, "k", None)
    raises(TypeError, keep.get, True)
    raises(TypeError, keep.set_json, "k", object())
    raises(ValueError, keep.lock, "a\0b")
    assert "text is wanted, not NoneType" in raises(TypeError, keep.lock, None)
    assert "text is wanted, not int" in raises(TypeError, keep.publish, 7, "data")
    assert "not bytes" in raises(TypeError, Manager, b"redis://localhost")
    # What ctypes would cut off or misread is told before.
    keep.delete("number")
    assert str(1 << 64) in raises(ValueError, keep.incr, "number", 1 << 64)
    assert "a whole number is wanted, not str" in raises(TypeError, keep.incr, "number", "1")
    raises(TypeError, lambda: keep.set("k", 1, ex=1.5)), raises(ValueError, lambda: keep.set("k", 1, px=1 << 63))
    raises(ValueError, keep.near_cache, -1), raises(TypeError, keep.expire, "k", None)
    for seconds in (-1, float("nan"), float("inf"), 1e16):
        assert "it takes seconds, from 0" in raises(ValueError, lambda: keep.lock("l", lease=seconds))
    raises(TypeError, lambda: keep.lock("l", lease="30")), raises(TypeError, keep.lock("l").acquire, True)
    assert not keep.exists("number")
    for register in (keep.consumer("x").channel, keep.cache("x").get_or_compute):
        assert "a function is wanted, not str" in raises(TypeError, register, "orders", "a function")
    raises(TypeError, keep.subscriber().on_message, None)
    # Errors come back from other processes; handles do not go there.
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, again.__dict__) == (Error, error.args, error.__dict__)
    assert "a Manager cannot be pickled" in raises(TypeError, pickle.dumps, keep)
    closed = Manager(URL)
    closed.set("k", 1)
    with closed:
        pass
    fails("RK_ERR_CLOSED", closed.get, "k")


def same_mistakes(keep):
    """Those of mistakes.h, as C and C++ make them."""
    calls = {
        "unknown_property": lambda: Manager(URL, colour="red"),
        "value_out_of_range": lambda: Manager(URL, max_connections=0),
        "no_number": lambda: Manager(URL, max_connections="many"),
        "bad_url": lambda: Manager("http://localhost"),
        "unknown_fault": lambda: keep.embedded_fault("nap"),
        "unnamed_lock": lambda: keep.lock(""),
        "lease_of_nothing": lambda: keep.lock("l", lease=0),
        "unknown_option": lambda: keep.lock("l", colour="red"),
        "option_out_of_range": lambda: keep.lock("l", max_hold="soon"),
        "two_expiries": lambda: keep.set("k", "v", ex=5, px=5),
        "expires_at_once": lambda: keep.set("k", "v", ex=0),
        "transaction_by_command": lambda: keep.command("MULTI"),
        "unnamed_listener": lambda: keep.consumer(""),
        "unnamed_channel": lambda: keep.sender(""),
    }
    with open(os.path.join(os.path.dirname(__file__), "mistakes.h")) as text:
        wanted = re.findall(r'^MISTAKE\((\w+), (\w+), "(.*)"\)$', text.read(), re.M)
    assert sorted(calls) == sorted(name for name, _, _ in wanted)
    for name, status, text in wanted:
        assert str(fails(status, calls[name])) == text, (name, text)


def locks(keep):
    with keep.lock("py", lease=5) as lock:
        assert lock.is_held() and lock.fence() == 1
        error = fails("RK_ERR_LOCK_TIMEOUT", keep.lock("py", lease=5).acquire, 0.02)
        assert isinstance(error, LockTimeout) and str(error) == "Could not acquire lock: lock:py"
        assert not keep.lock("py").try_acquire()
    assert not lock.is_held() and lock.fence() is None and not lock.release()
    try:
        with keep.lock("py", lease=5, wait=1):
            raise KeyError("inside")
    except KeyError:
        pass
    assert keep.lock("py", fair=True, max_hold=60).try_acquire()

    # Waiting releases the GIL: another thread of this process gives the lock back meanwhile.
    held, got = keep.lock("gil", lease=5), []
    held.acquire()
    waiter = threading.Thread(target=lambda: got.append(keep.lock("gil", wait=PATIENCE).__enter__()))
    waiter.start()
    time.sleep(0.02)
    held.release()
    waiter.join(PATIENCE)
    assert got and got[0].is_held()

    # One object is of one thread at a time: another one is told.
    one, got, told = keep.lock("gil"), [], []
    held.acquire(PATIENCE)

    def waits():
        while not got:
            try:
                one.acquire()
                got.append(one.is_held())
            except Error as error:
                assert error.name == "RK_ERR_CONFLICT", error

    def is_told():
        try:
            assert not one.try_acquire()
        except Error as error:
            told.append((error.name, str(error)))
        return told

    waiter = threading.Thread(target=waits)
    waiter.start()
    wait_for(is_told)
    assert told == [("RK_ERR_CONFLICT", "lock: another thread is using it")]
    for use in (one.release, one.fence):
        fails("RK_ERR_CONFLICT", use)
    held.release()
    waiter.join(PATIENCE)
    assert got == [True] and one.release()

    # And while the server takes its time, another one counts.
    counted, over = [0], threading.Event()

    def count():
        while not over.is_set():
            counted[0] += 1

    counter = threading.Thread(target=count)
    counter.start()
    before = counted[0]
    assert keep.command("BLPOP", "never", "0.3") is None
    during = counted[0] - before
    over.set()
    counter.join(PATIENCE)
    # A call that held the GIL would leave what fits into two switches of threads, 5 ms each: a thirtieth of what a
    # sleep leaves.
    counted, over = [0], threading.Event()
    counter = threading.Thread(target=count)
    counter.start()
    time.sleep(0.3)
    over.set()
    counter.join(PATIENCE)
    assert during > counted[0] / 8, (during, counted)


def failing_servers():
    keep = Manager("embedded://?embedded_faults=on", command_timeout="200ms")
    keep.set("k", 1)
    gone = ["RK_ERR_IO", "RK_ERR_CONNECT", "RK_ERR_NO_HEALTHY_POOLS"]
    for fault, names in (("freeze", ["RK_ERR_TIMEOUT"]), ("drop", gone)):
        keep.embedded_fault(fault)
        try:
            keep.incr("k")
        except Error as error:
            assert error.name in names, error.name
        else:
            raise AssertionError(fault)
        assert keep.health_check()["status"] == "unhealthy"
        keep.embedded_fault("none")
        assert keep.wait_for_ready(PATIENCE, 0.05, 1000) < PATIENCE
    assert keep.health_check()["status"] == "healthy"
    assert "freez" in str(fails("RK_ERR_BAD_VALUE", keep.embedded_fault, "freez"))
    keep.close()
    fails("RK_ERR_EMBEDDED", Manager(URL).embedded_fault, "freeze")


def spawned(queue):
    """In a process that was spawned: it imports the module again, and opens its own manager."""
    own = Manager(URL)
    try:
        queue.put(own.set("spawned", 1) and own.get("spawned"))
        own.incr("word")
    except Error as error:
        queue.put(error)


def streams(keep):
    sender, seen = keep.sender("orders"), []

    def handle(message):
        if message.body["id"] == 2 and message.deliveries == 1:
            raise ValueError("not yet")
        seen.append((message.name, message.body["id"], message.deliveries))

    consumer = keep.consumer("billing").channel("orders", handle, max_deliveries=3, backoff=0.02)
    with consumer:
        ids = [sender.send("orders", "made", {"id": number}) for number in (1, 2, 3)]
        wait_for(lambda: len(seen) == 3)
    assert sorted(seen) == [("made", 1, 1), ("made", 2, 2), ("made", 3, 1)] and len(set(ids)) == 3
    assert consumer.stats()["channels"][0]["failed"] == 1
    fails("RK_ERR_ARGUMENT", sender.send, "other", "n", 1)

    polled = keep.consumer("shipping").channel("orders")
    messages = [polled.poll(PATIENCE) for _ in range(3)]
    assert [message.id for message in messages] == ids
    messages[0].ack(), messages[1].fail("broken"), messages[2].ack()
    fails("RK_ERR_ARGUMENT", messages[0].ack)
    sender.send("orders", "made", {"id": 4})
    assert select.select([polled], [], [], PATIENCE)[0]
    polled.stop()
    fails("RK_ERR_ARGUMENT", keep.consumer("x").channel, "orders", None, colour="red")
    own = []
    once = keep.consumer("once").channel("orders", lambda message: own.append(threading.get_ident()))
    while len(own) < 4:
        once.consume(1)
    assert set(own) == {threading.get_ident()}

    # A message that a handler kept: its texts are there, what they were read from is not.
    kept = []

    def keep_it(message):
        kept.append(message)
        if message.body["id"] == 2:
            raise ValueError("kept all the same")

    keeper = keep.consumer("keeper").channel("orders", keep_it, max_deliveries=1)
    while len(kept) < 4:
        keeper.consume(1)
    for message in kept:
        assert message.name == "made" and message.body["id"] in (1, 2, 3, 4)
        assert str(fails("RK_ERR_ARGUMENT", message.ack)) == "message: NULL"
        fails("RK_ERR_ARGUMENT", message.fail, "too late")
    del keeper, kept


def messages(keep):
    subscriber = keep.subscriber().add("news").add_pattern("n*s?")
    assert keep.publish("news", b"a\0b") == 1 and keep.publish_json("newsy", [1]) == 1
    first, second = subscriber.poll(PATIENCE), next(iter(subscriber))
    assert (first.channel, first.pattern, first.data, first.gap) == ("news", None, b"a\0b", False)
    assert second.pattern == "n*s?" and second.json() == [1] and subscriber.poll(0) is None
    subscriber.remove("news")
    heard = []
    listener = keep.subscriber().on_message(lambda channel, data: heard.append((channel, data))).add("news")
    assert keep.publish("news", "x") == 1
    wait_for(lambda: heard == [("news", b"x")])
    del listener
    gc.collect()
    wait_for(lambda: keep.publish("news", "y") == 0)


def caches(keep):
    calls = []

    def compute():
        calls.append(1)
        return {"rows": [1, 2]}

    cache = keep.cache("rows", expire=60, jitter=0.1)
    assert [cache.get_or_compute({"q": "x"}, compute) for _ in range(3)] == [{"rows": [1, 2]}] * 3 and len(calls) == 1
    cache.invalidate({"q": "x"})
    cache.get_or_compute({"q": "x"}, compute)
    cache.invalidate_all()
    cache.get_or_compute({"q": "x"}, compute)
    assert len(calls) == 3 and cache.get_or_compute("none", lambda: None) is None
    assert raises(ZeroDivisionError, cache.get_or_compute, "y", lambda: 1 // 0)
    near = keep.near_cache(1 << 20, ttl=60, prefixes=["near:"])
    keep.set_json("near:k", [1])
    assert [near.get_json("near:k") for _ in range(3)] == [[1]] * 3 and near.get("near:none") is None
    assert near.stats()["hits"] == 2
    near.clear()
    assert keep.stats()["near"][0]["hits"] == 2 and "redkeep_near_hits_total{" in keep.stats_prometheus()


def many_threads(keep):
    def work(number):
        for turn in range(200):
            keep.set(f"thread:{number}", turn)
            assert keep.get(f"thread:{number}") == b"%d" % turn

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    [thread.start() for thread in threads]
    [thread.join(PATIENCE) for thread in threads]
    # In a child, the same manager: connections of its own.
    warnings.simplefilter("ignore", DeprecationWarning)
    children = [get_context("fork").Process(target=work, args=(100 + number,)) for number in range(4)]
    [child.start() for child in children]
    [child.join(PATIENCE) for child in children]
    assert [child.exitcode for child in children] == [0] * 4
    context = get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=spawned, args=(queue,))
    child.start()
    assert queue.get(timeout=PATIENCE) == b"1"
    assert queue.get(timeout=PATIENCE).name == "RK_ERR_NOT_A_NUMBER"
    child.join(PATIENCE)
    assert child.exitcode == 0
    # One that is closed while others use it.
    other, ended = Manager(URL), []
    waiters = [threading.Thread(target=lambda: ended.append(fails("RK_ERR_CLOSED", other.command, "BLPOP", "never", 0)))
               for _ in range(3)]
    [waiter.start() for waiter in waiters]
    time.sleep(0.05)
    other.close()
    [waiter.join(PATIENCE) for waiter in waiters]
    assert len(ended) == 3


def secrets(keep):
    password, value, said = "canary-password-5e1f09", "canary-value-d03a86", []
    keep.set("secret", value)
    stranger = Manager(os.environ["RK_TEST_TCP_URL"].replace("://", f"://ann:{password}@"), command_timeout="1s")
    for call, *given in ((Manager, f"redis://ann:{password}@host:99999"), (stranger.ping,), (stranger.get, "secret"),
                         (keep.incr, "secret"), (keep.get_json, "secret"), (keep.hset, "secret", value, value),
                         (keep.command, "NOSUCH", value), (keep.command, "OBJECT", value),
                         (keep.command, "ACL", "SETUSER", "eve", value), (keep.set, "secret", [value]),
                         (keep.set, [value], 1), (keep.set_json, "secret", {value})):
        try:
            call(*given)
        except Exception as error:
            said.append(f"{error!r} {error} {vars(error)}")
        else:
            raise AssertionError(given)
    said.append(repr(stranger))
    assert not any(secret in text for text in said for secret in (password, value)), said
    stranger.close()
    keep.delete("secret")


ENDS = """
import os, sys, threading, time
sys.path.insert(0, sys.argv[1])
import redkeep

keep, handled, heard = redkeep.Manager(os.environ["RK_TEST_URL"]), [], []
sender = keep.sender("exits")
consumer = keep.consumer("exiting").channel("exits", handled.append, concurrency=2).start()
subscriber = redkeep.Manager(os.environ["RK_TEST_URL"]).subscriber()
subscriber.on_message(lambda channel, data: heard.append(data)).add("exits")

def feed():
    try:
        while True:
            sender.send("exits", "n", 1), keep.publish("exits", "x")
    except redkeep.Error as error:
        assert error.name == "RK_ERR_CLOSED", error

for _ in range(3):
    threading.Thread(target=feed, daemon=True).start()
while len(handled) < 50 or len(heard) < 50:
    time.sleep(0.001)
"""


def exits(keep):
    """Handlers of both kinds run as the interpreter ends."""
    folder = os.path.join(os.path.dirname(__file__), "../../examples-c/python")
    for _ in range(10):
        ended = subprocess.run([sys.executable, "-c", ENDS, folder], timeout=3 * PATIENCE, capture_output=True, text=True)
        assert ended.returncode == 0, (ended.returncode, ended.stderr)
    keep.delete("exits")


def other_versions():
    program = ("import sys; sys.path.insert(0, %r)\ntry:\n import redkeep\nexcept ImportError as error:\n print(error)"
               % os.path.join(os.path.dirname(__file__), "../../examples-c/python"))

    def told(library):
        environment = {**os.environ, "REDKEEP_LIBRARY": library}
        return subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True,
                              text=True).stdout

    assert "cannot be loaded" in told("/nowhere/libredkeep.so.0")
    with tempfile.TemporaryDirectory() as folder:
        for number, version in ((200, "0.2.0"), (10000, "1.0.0"), (99, "0.0.99"), (None, "an unknown version")):
            library = f"{folder}/{number}.so"
            source = f"unsigned rk_version_number(void) {{ return {number}; }}" if number else "int nothing;"
            subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-x", "c", "-o", library, "-"],
                           input=source, text=True, check=True)
            text = told(library)
            assert "this redkeep.py is for libredkeep 0.1, from 0.1.0 on" in text and f"is {version}" in text, text


def main():
    keep = Manager(URL, command_timeout="5s", client_name="python")
    keep.command("FLUSHALL")
    keep.ping()
    for test in (values, bad_input, same_mistakes, locks, streams, messages, caches, secrets, many_threads, exits):
        test(keep)
    failing_servers()
    other_versions()
    assert redkeep.__library_version__ == redkeep.__version__


if __name__ == "__main__":
    main()
