"""Python's multiprocessing by fork, while threads of the parent use the same manager."""

import ctypes
import gc
import multiprocessing
import os
import sys
import threading
import warnings
import weakref
from ctypes import POINTER, byref, c_bool, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_void_p

CHILDREN = 100
BY_MODULE = 20
AT_ONCE = 5
THREADS = 4
PATIENCE = 20

# That forking with threads is dangerous is what this is about.
warnings.simplefilter("ignore", DeprecationWarning)


class Bytes(ctypes.Structure):
    _fields_ = [("data", POINTER(c_uint8)), ("len", c_size_t)]


lib = ctypes.CDLL("libredkeep.so")
lib.rk_status_name.restype = c_char_p
lib.rk_error_message.restype = c_char_p
lib.rk_error_message.argtypes = [c_void_p]
lib.rk_error_free.argtypes = [c_void_p]
lib.rk_bytes_free.argtypes = [POINTER(Bytes)]
lib.rk_manager_open.argtypes = [c_char_p, POINTER(c_void_p), POINTER(c_void_p)]
lib.rk_manager_close.argtypes = [c_void_p, c_int64, POINTER(c_void_p)]
lib.rk_manager_free.argtypes = [c_void_p]
lib.rk_get.argtypes = [c_void_p, c_char_p, c_size_t, POINTER(Bytes), POINTER(c_void_p)]
lib.rk_set.argtypes = [c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, POINTER(c_void_p)]
lib.rk_lock_new.argtypes = [c_void_p, c_char_p, c_int64, POINTER(c_void_p), POINTER(c_void_p)]
lib.rk_lock_acquire.argtypes = [c_void_p, c_int64, POINTER(c_void_p)]
lib.rk_lock_is_held.argtypes = [c_void_p]
lib.rk_lock_is_held.restype = c_bool
lib.rk_lock_release.argtypes = [c_void_p, POINTER(c_bool), POINTER(c_void_p)]
lib.rk_lock_free.argtypes = [c_void_p]


def call(function, *arguments):
    err = c_void_p()
    status = function(*arguments, byref(err))
    if status != 0:
        text = lib.rk_error_message(err)
        lib.rk_error_free(err)
        raise RuntimeError(lib.rk_status_name(c_int32(status)).decode(), text and text.decode())


def set_and_get(keep, key, text):
    value = Bytes()
    call(lib.rk_set, keep, key, len(key), text, len(text))
    call(lib.rk_get, keep, key, len(key), byref(value))
    got = ctypes.string_at(value.data, value.len)
    lib.rk_bytes_free(byref(value))
    assert got == text, (got, text)


def child(keep, lock, number):
    # It is its parent's.
    assert not lib.rk_lock_is_held(lock)
    for turn in range(5):
        set_and_get(keep, b"child %d" % number, b"%d %d" % (number, turn))
    if number % 3 == 0:
        call(lib.rk_manager_close, keep, -1)
    if number % 3 == 1:
        lib.rk_manager_free(keep)


def heir(own, number):
    """Drops what its parent made, and goes on with the manager."""
    keep = own["keep"]
    assert not own["lock"].is_held()
    names = ("lock", "consumer", "subscriber", "message")
    dropped = [weakref.ref(own.pop(name)) for name in names]
    gc.collect()
    assert not any(one() for one in dropped)
    for turn in range(5):
        assert keep.set(f"heir {number}", turn) and keep.get(f"heir {number}") == b"%d" % turn


def by_the_module():
    """redkeep.py, forked while threads call, a lock is held, and a consumer and a subscriber run."""
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples-c/python"))
    import redkeep

    keep, over, handled, failures = redkeep.Manager(os.environ["RK_TEST_URL"]), threading.Event(), [], []
    sender, lock = keep.sender("heirs", "polled"), keep.lock("heirs", lease=60)
    lock.acquire(0)
    sender.send("polled", "n", 1)
    message = keep.consumer("polling").channel("polled").poll(PATIENCE)
    consumer = keep.consumer("heirs").channel("heirs", lambda message: handled.append(message.id)).start()
    subscriber = keep.subscriber().on_message(lambda channel, data: None).add("heirs")
    own = {"keep": keep, "lock": lock, "consumer": consumer, "subscriber": subscriber, "message": message}
    del consumer, subscriber, message

    def work(number):
        try:
            while not over.is_set():
                keep.set(f"work {number}", "x")
                sender.send("heirs", "n", number)
                keep.publish("heirs", "x")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    [thread.start() for thread in threads]
    context, codes = multiprocessing.get_context("fork"), []
    del lock
    try:
        for number in range(BY_MODULE):
            process = context.Process(target=heir, args=(own, number))
            process.start()
            process.join(PATIENCE)
            if process.exitcode is None:
                process.kill()
                process.join()
            codes.append(process.exitcode)
    finally:
        over.set()
        [thread.join() for thread in threads]
    assert codes == [0] * BY_MODULE, codes
    assert not failures, failures
    assert handled and own["lock"].is_held() and own["lock"].release()
    own["message"].ack()
    own["consumer"].stop(PATIENCE)


def main():
    by_the_module()
    keep = c_void_p()
    call(lib.rk_manager_open, os.environ["RK_TEST_URL"].encode(), byref(keep))
    over, failures, turns = threading.Event(), [], [0] * THREADS
    lock, was_held = c_void_p(), c_bool()
    call(lib.rk_lock_new, keep, b"parent", 60000, byref(lock))
    call(lib.rk_lock_acquire, lock, 0)

    def work(number):
        try:
            while not over.is_set():
                set_and_get(keep, b"parent %d" % number, b"%d" % turns[number])
                turns[number] += 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    context = multiprocessing.get_context("fork")
    codes = []
    try:
        for first in range(0, CHILDREN, AT_ONCE):
            some = [context.Process(target=child, args=(keep, lock, first + n)) for n in range(AT_ONCE)]
            for process in some:
                process.start()
            for process in some:
                process.join(PATIENCE)
                if process.exitcode is None:
                    process.kill()
                    process.join()
                codes.append(process.exitcode)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * CHILDREN, codes
    assert not failures, failures
    assert min(turns) > 0, turns
    set_and_get(keep, b"parent", b"at the end")
    assert lib.rk_lock_is_held(lock)
    call(lib.rk_lock_release, lock, byref(was_held))
    assert was_held.value
    lib.rk_lock_free(lock)
    lib.rk_manager_free(keep)
    print(f"figure: {CHILDREN} children worked, beside {sum(turns)} turns of the parent: 0 errors, its lock was held")


if __name__ == "__main__":
    main()
