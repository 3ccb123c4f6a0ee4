"""redkeep for Python, by ctypes: copy this file beside your program, or install libredkeep and put it on the path.

    import redkeep

    keep = redkeep.Manager("redis://localhost")        # one for the whole program, from any thread, also after a fork
    keep.set("greeting", "hello", ex=3600)
    keep.get("greeting")                               # b"hello"
    keep.set_json("user:1", {"name": "Ann"})
    with keep.lock("report", lease=30, wait=5) as lock:
        print(lock.fence())

Calls release the GIL. Managers are closed when the interpreter ends. Times are seconds; None stands for the default, or
for no end where one waits. What goes wrong is a redkeep.Error with the library's own text. The library is looked for as
REDKEEP_LIBRARY says, or as libredkeep.so.0.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import operator
import os
import weakref
from ctypes import CFUNCTYPE, POINTER, byref, c_bool, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint32
from ctypes import c_void_p
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Type, TypeVar, Union

__version__ = "0.1.0"

Data = Union[str, bytes, bytearray, memoryview, int, float]
"""What a key or a value may be; numbers and texts are sent as text in UTF-8."""

T = TypeVar("T", bound="_Handle")
NIL = 1


class _Bytes(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("len", c_size_t)]


class _Slice(ctypes.Structure):
    _fields_ = [("data", c_char_p), ("len", c_size_t)]


_Handler = CFUNCTYPE(c_int32, c_void_p, c_void_p)
_OnMessage = CFUNCTYPE(None, c_char_p, c_void_p, c_size_t, c_void_p)
_Compute = CFUNCTYPE(c_int32, c_char_p, POINTER(_Bytes), c_void_p, POINTER(c_void_p))

_KINDS: Dict[str, Any] = {
    "p": c_void_p, "s": c_char_p, "z": c_size_t, "l": c_int64, "i": c_int32, "b": c_bool, "d": c_double,
    "P": POINTER(c_void_p), "B": POINTER(_Bytes), "S": POINTER(_Slice), "L": POINTER(c_int64), "O": POINTER(c_bool),
    "Z": POINTER(c_size_t), "D": POINTER(c_double), "H": _Handler, "M": _OnMessage, "C": _Compute, "v": None,
    "u": c_uint32, "c": c_int,
}

# Name: arguments (the rk_error ** at the end of those that return a status is left out), and what is returned.
_FUNCTIONS = """
    config_new:>p config_free:p>v config_set:pss config_from_env:P
    manager_open_config:pP manager_free:p>v manager_close:pl manager_stats_json:pB manager_stats_prometheus:pB
    manager_wait_for_ready:pslliD manager_health_check:psB manager_embedded_fault:ps
    bytes_free:B>v bytes_copy:Bsz error_set:Pis>v
    error_message:p>s error_server_code:p>s error_node:p>s error_outcome:p>i error_is_retriable:p>b error_free:p>v
    status_name:i>s ping:p
    set_options_new:>p set_options_free:p>v set_options_ex:pl>i set_options_px:pl>i set_options_nx:p>i
    set_options_xx:p>i set_options_keep_ttl:p>i
    get:pszB set_with:pszszpO delete:pSzL exists:pszO expire:pszlO ttl:pszL incr:pszlL hset:pszszszL hget:pszszB
    set_json:pszspO get_json:pszB command:pSzP publish:psszL publish_json:pssL
    reply_type_of:p>i reply_integer:p>l reply_double:p>d reply_bytes:pZ>p reply_len:p>z reply_at:pz>p reply_key_at:pz>p
    reply_free:p>v
    lock_new:pslP lock_new_read:pslP lock_new_write:pslP lock_option:pss lock_acquire:pl lock_try_acquire:pO
    lock_release:pO lock_is_held:p>b lock_fence:pL lock_free:p>v
    sender_new:pP sender_register_channel:ps sender_send:psssB sender_free:p>v
    message_id:p>s message_channel:p>s message_name:p>s message_body:p>s message_deliveries:p>l message_ack:p
    message_fail:ps message_free:p>v
    consumer_new:psP consumer_register_channel:pss consumer_register_handler:psHpp
    consumer_consume_all:plL consumer_start:pll consumer_stop:pl consumer_poll:plP consumer_fd:p>c
    consumer_stats_json:pB consumer_free:p>v
    subscriber_new:pP subscriber_add:ps subscriber_add_pattern:ps subscriber_remove:ps subscriber_remove_pattern:ps
    subscriber_on_message:pMpp
    subscriber_poll:plP subscriber_fd:p>c subscriber_free:p>v event_kind:p>i event_channel:p>s event_pattern:p>s
    event_data:pZ>p event_free:p>v
    cache_new:psP cache_option:pss cache_get_or_compute:psCpB cache_invalidate:ps cache_free:p>v
    near_new:pzP near_option:pss near_get:pszB near_get_json:pszB near_clear:p near_stats_json:pB near_free:p>v
    version_number:>u version_string:>s
"""


def _load() -> ctypes.CDLL:
    path = os.environ.get("REDKEEP_LIBRARY", "libredkeep.so.0")
    try:
        lib = ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(f"{path} cannot be loaded: {error}. Install libredkeep, or set REDKEEP_LIBRARY") from None
    own = tuple(int(part) for part in __version__.split("."))
    version = "an unknown version"
    try:
        lib.rk_version_number.restype = c_uint32
        number = int(lib.rk_version_number())
        found = (number // 10000, number // 100 % 100, number % 100)
        version = ".".join(map(str, found))
        # Before 1.0 a minor version is what a major one is later.
        alike = 1 if own[0] else 2
        if found < own or found[:alike] != own[:alike]:
            raise AttributeError
        for word in _FUNCTIONS.split():
            name, kinds = word.split(":")
            function = getattr(lib, "rk_" + name)
            arguments, _, result = kinds.partition(">")
            function.argtypes = [_KINDS[kind] for kind in arguments] + ([] if result else [POINTER(c_void_p)])
            function.restype = _KINDS[result or "i"]
    except AttributeError:
        wanted = ".".join(map(str, own[:2 if own[0] == 0 else 1]))
        raise ImportError(
            f"this redkeep.py is for libredkeep {wanted}, from {__version__} on; {path} is {version}"
        ) from None
    return lib


_lib = _load()
__library_version__ = str(_lib.rk_version_string().decode())


class Error(Exception):
    """What went wrong, in the library's words. `name`: RK_ERR_TIMEOUT and its like, by which a program decides.
    `outcome`: "not sent", "refused", "unknown": what became of the command. `code`: the first word of the server's
    answer. `node`: where it happened. `retriable`: the same call may succeed a little later."""

    def __init__(self, status: int, text: str, error: Optional[c_void_p] = None) -> None:
        super().__init__(text)
        self.status = status
        self.name: str = _lib.rk_status_name(status).decode()
        self.outcome = ("not sent", "refused", "unknown")[_lib.rk_error_outcome(error) if error else 0]
        self.code = _text(_lib.rk_error_server_code(error)) if error else None
        self.node = _text(_lib.rk_error_node(error)) if error else None
        self.retriable = bool(_lib.rk_error_is_retriable(error)) if error else False

    def __reduce__(self) -> Any:
        # As it comes back from a pool of processes.
        return type(self), (self.status, str(self)), self.__dict__


class LockTimeout(Error):
    """The lock was not to be had in time."""


def _text(text: Optional[bytes]) -> Optional[str]:
    return None if text is None else text.decode("utf-8", "replace")


def _call(name: str, *arguments: Any) -> int:
    """The status; an error is raised."""
    error = c_void_p()
    status = int(getattr(_lib, "rk_" + name)(*arguments, byref(error)))
    if status >= 0:
        return status
    try:
        kind = LockTimeout if status == -310 else Error
        raise kind(status, _text(_lib.rk_error_message(error)) or "", error)
    finally:
        _lib.rk_error_free(error)


def _data(value: Data) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"text, bytes or a number is wanted, not {type(value).__name__}")
    return (value if isinstance(value, str) else repr(value)).encode()


def _both(value: Data) -> "tuple[bytes, int]":
    data = _data(value)
    return data, len(data)


def _name(value: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"text is wanted, not {type(value).__name__}")
    data = value.encode()
    if b"\0" in data:
        raise ValueError("a name cannot hold a NUL")
    return data


def _setting(value: Any) -> bytes:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, (str, bool, int, float)):
        raise TypeError(f"text, a number or a truth is wanted, not {type(value).__name__}")
    return _name(("false", "true")[value] if isinstance(value, bool) else str(value))


def _whole(value: int, least: int = -1 << 63, most: int = (1 << 63) - 1) -> int:
    """ctypes itself would cut off what is too large."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"a whole number is wanted, not {type(value).__name__}")
    value = operator.index(value)
    if not least <= value <= most:
        raise ValueError(f"{value} is not allowed; it takes a whole number from {least} to {most}")
    return value


def _slices(values: Sequence[Data]) -> "ctypes.Array[_Slice]":
    made = (_Slice * len(values))()
    for slice, value in zip(made, values):
        slice.data, slice.len = _both(value)
    return made


def _reason(error: BaseException) -> bytes:
    return f"{type(error).__name__}: {error}".replace("\0", " ").encode("utf-8", "replace")


def _ms(seconds: Optional[float]) -> int:
    if seconds is None:
        return -1
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"a number of seconds is wanted, not {type(seconds).__name__}")
    if not 0 <= seconds < 1e15:
        raise ValueError(f"{seconds} is not allowed; it takes seconds, from 0")
    return round(seconds * 1000)


def _callable(function: Any) -> None:
    if not callable(function):
        raise TypeError(f"a function is wanted, not {type(function).__name__}")


def _bytes(name: str, *arguments: Any) -> Optional[bytes]:
    """What a function gives out as rk_bytes; None for nothing."""
    value = _Bytes()
    if _call(name, *arguments, byref(value)) == NIL:
        return None
    try:
        return ctypes.string_at(value.data, value.len) if value.data else b""
    finally:
        _lib.rk_bytes_free(byref(value))


def _number(name: str, *arguments: Any) -> int:
    value = c_int64()
    _call(name, *arguments, byref(value))
    return value.value


def _truth(name: str, *arguments: Any) -> bool:
    value = c_bool()
    _call(name, *arguments, byref(value))
    return value.value


def _parsed(text: Optional[bytes]) -> Any:
    return None if text is None else json.loads(text)


def _reply(reply: Optional[int]) -> Any:
    """A reply as Python has it. Errors inside of an array stay there, as exceptions that are not raised."""
    kind = _lib.rk_reply_type_of(reply)
    if kind in (3, 5):
        number = int(_lib.rk_reply_integer(reply))
        return bool(number) if kind == 5 else number
    if kind == 4:
        return float(_lib.rk_reply_double(reply))
    count = int(_lib.rk_reply_len(reply))
    if kind == 11:
        pairs = ((_lib.rk_reply_key_at(reply, i), _lib.rk_reply_at(reply, i)) for i in range(count))
        return {_reply(key): _reply(value) for key, value in pairs}
    if kind in (9, 10):
        return [_reply(_lib.rk_reply_at(reply, i)) for i in range(count)]
    if kind == 0:
        return None
    size = c_size_t()
    data = _lib.rk_reply_bytes(reply, byref(size))
    value = ctypes.string_at(data, size.value) if data else b""
    return Error(-200, value.decode("utf-8", "replace")) if kind == 2 else value


class _Handle:
    """Something of the library's, which is freed with the last reference to it: never while a call is under way."""

    _kind = ""

    def __init__(self, raw: c_void_p) -> None:
        self._raw = raw

    def __del__(self) -> None:
        raw = self.__dict__.pop("_raw", None)
        if raw:
            getattr(_lib, f"rk_{self._kind}_free")(raw)

    def __reduce__(self) -> Any:
        raise TypeError(f"a {type(self).__name__} cannot be pickled: a process that was spawned opens its own manager; "
                        "one that was forked uses this one")

    @classmethod
    def _new(cls: Type[T], name: str, *arguments: Any) -> T:
        raw = c_void_p()
        _call(name, *arguments, byref(raw))
        made = cls.__new__(cls)
        _Handle.__init__(made, raw)
        return made

    def _options(self, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            if value is not None:
                _call(f"{self._kind}_option", self._raw, _name(name), _setting(value))


class Manager(_Handle):
    """The connections of a program. Any number of threads may use it, and forked children too.

    Without a url, the environment says where the server is (REDIS_URL and the others). Properties are those of
    rk_config_set: Manager("redis://localhost", command_timeout="500ms", max_connections=32)."""

    _kind = "manager"

    def __init__(self, url: Optional[str] = None, **properties: Any) -> None:
        config = c_void_p(_lib.rk_config_new()) if url is not None else c_void_p()
        if url is None:
            _call("config_from_env", byref(config))
        try:
            for name, value in {"url": url, **properties}.items():
                if value is not None:
                    _call("config_set", config, _name(name), _setting(value))
            raw = c_void_p()
            _call("manager_open_config", config, byref(raw))
            super().__init__(raw)
            _managers.add(self)
        finally:
            _lib.rk_config_free(config)

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_for_ready(self, timeout: Optional[float] = None, step: Optional[float] = None,
                       max_retries: Optional[int] = None) -> float:
        """Waits until the server answers: for 10 s, with 5 more tries 0.25 s apart, unless told otherwise. How long it
        took."""
        took = c_double()
        retries = -1 if max_retries is None else _whole(max_retries, 0, (1 << 31) - 1)
        _call("manager_wait_for_ready", self._raw, None, _ms(timeout), _ms(step), retries, byref(took))
        return took.value

    def health_check(self) -> Dict[str, Any]:
        """How the server is: its status ("healthy"), version, role and others."""
        found: Dict[str, Any] = _parsed(_bytes("manager_health_check", self._raw, None))
        return found

    def embedded_fault(self, fault: str) -> None:
        """For tests: has the server of embedded://?embedded_faults=on fail: "freeze", "drop", "slow:50ms", "none"."""
        _call("manager_embedded_fault", self._raw, _name(fault))

    def close(self, timeout: Optional[float] = None) -> None:
        """Ends every call under way, every thread, and an embedded server. Later calls fail."""
        _call("manager_close", self._raw, _ms(timeout))

    def ping(self) -> None:
        _call("ping", self._raw)

    def get(self, key: Data) -> Optional[bytes]:
        return _bytes("get", self._raw, *_both(key))

    def set(self, key: Data, value: Data, *, ex: Optional[int] = None, px: Optional[int] = None, nx: bool = False,
            xx: bool = False, keep_ttl: bool = False) -> bool:
        """True if it was set, which nx and xx may forbid. ex: seconds, px: milliseconds, until it expires."""
        with _SetOptions(ex, px, nx, xx, keep_ttl) as options:
            return _truth("set_with", self._raw, *_both(key), *_both(value), options)

    def set_json(self, key: Data, value: Any, *, ex: Optional[int] = None, px: Optional[int] = None, nx: bool = False,
                 xx: bool = False, keep_ttl: bool = False) -> bool:
        """As set(), with anything that json.dumps() takes."""
        with _SetOptions(ex, px, nx, xx, keep_ttl) as options:
            return _truth("set_json", self._raw, *_both(key), json.dumps(value).encode(), options)

    def get_json(self, key: Data) -> Any:
        return _parsed(_bytes("get_json", self._raw, *_both(key)))

    def delete(self, *keys: Data) -> int:
        return _number("delete", self._raw, _slices(keys), len(keys))

    def exists(self, key: Data) -> bool:
        return _truth("exists", self._raw, *_both(key))

    def expire(self, key: Data, seconds: int) -> bool:
        return _truth("expire", self._raw, *_both(key), _whole(seconds))

    def ttl(self, key: Data) -> int:
        """Seconds; -1: it does not expire; -2: there is no such key."""
        return _number("ttl", self._raw, *_both(key))

    def incr(self, key: Data, by: int = 1) -> int:
        return _number("incr", self._raw, *_both(key), _whole(by))

    def hset(self, name: Data, field: Data, value: Data) -> int:
        return _number("hset", self._raw, *_both(name), *_both(field), *_both(value))

    def hget(self, name: Data, field: Data) -> Optional[bytes]:
        return _bytes("hget", self._raw, *_both(name), *_both(field))

    def command(self, *arguments: Data) -> Any:
        """Any command: bytes, numbers, truths, lists and dicts, as the server answers."""
        reply = c_void_p()
        _call("command", self._raw, _slices(arguments), len(arguments), byref(reply))
        try:
            return _reply(reply.value)
        finally:
            _lib.rk_reply_free(reply)

    def publish(self, channel: str, data: Data) -> int:
        """How many heard it."""
        return _number("publish", self._raw, _name(channel), *_both(data))

    def publish_json(self, channel: str, value: Any) -> int:
        return _number("publish_json", self._raw, _name(channel), json.dumps(value).encode())

    def lock(self, name: str, *, lease: float = 10, wait: Optional[float] = None, **options: Any) -> "Lock":
        """To be held with `with`, which waits for `wait` seconds. Options: renew, max_hold, fair, reentrant."""
        lock = Lock._new("lock_new", self._raw, _name(name), _ms(lease))
        lock.wait = wait
        lock._options(options)
        return lock

    def sender(self, *channels: str) -> "Sender":
        sender = Sender._new("sender_new", self._raw)
        for channel in channels:
            _call("sender_register_channel", sender._raw, _name(channel))
        return sender

    def consumer(self, listener: str) -> "Consumer":
        consumer = Consumer._new("consumer_new", self._raw, _name(listener))
        consumer._manager = self
        return consumer

    def subscriber(self) -> "Subscriber":
        subscriber = Subscriber._new("subscriber_new", self._raw)
        subscriber._manager = self
        return subscriber

    def cache(self, namespace: str, **options: Any) -> "Cache":
        """Results of functions. Options: expire, jitter, early, negative, stale, wait, across_processes, skip_keys."""
        cache = Cache._new("cache_new", self._raw, _name(namespace))
        cache._options(options)
        return cache

    def near_cache(self, max_bytes: int = 0, *, ttl: Any = None, prefixes: Sequence[str] = ()) -> "NearCache":
        """Copies of values in this process, which the server keeps fresh."""
        near = NearCache._new("near_new", self._raw, _whole(max_bytes, 0))
        near._options({"ttl": ttl})
        for prefix in prefixes:
            near._options({"prefix": prefix})
        return near

    def stats(self) -> Dict[str, Any]:
        found: Dict[str, Any] = _parsed(_bytes("manager_stats_json", self._raw))
        return found

    def stats_prometheus(self) -> str:
        return _text(_bytes("manager_stats_prometheus", self._raw)) or ""


_managers: "weakref.WeakSet[Manager]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """While there is an interpreter still: what a handler runs in afterwards Python ends, and the program with it."""
    for manager in list(_managers):
        try:
            manager.close()
        except Error:  # a handler runs on; nothing more can be done for it
            pass


class _SetOptions:
    """None where nothing is asked for; freed at the end of the `with`."""

    def __init__(self, ex: Optional[int], px: Optional[int], nx: bool, xx: bool, keep_ttl: bool) -> None:
        self.wanted = [(name, _whole(value)) for name, value in (("ex", ex), ("px", px)) if value is not None]
        self.flags = [name for name, on in (("nx", nx), ("xx", xx), ("keep_ttl", keep_ttl)) if on]

    def __enter__(self) -> Optional[c_void_p]:
        self.raw = c_void_p(_lib.rk_set_options_new()) if self.wanted or self.flags else None
        # What is wrong with them the command tells.
        for name, value in self.wanted:
            getattr(_lib, "rk_set_options_" + name)(self.raw, value)
        for name in self.flags:
            getattr(_lib, "rk_set_options_" + name)(self.raw)
        return self.raw

    def __exit__(self, *_: object) -> None:
        _lib.rk_set_options_free(self.raw)


class Lock(_Handle):
    """A lock that programs on many machines share. Of one thread at a time; others take one of their own."""

    _kind = "lock"
    wait: Optional[float] = None

    def acquire(self, wait: Optional[float] = None) -> None:
        """Waits for so many seconds, or as long as it takes. LockTimeout if it was not to be had."""
        _call("lock_acquire", self._raw, _ms(wait))

    def try_acquire(self) -> bool:
        return _truth("lock_try_acquire", self._raw)

    def release(self) -> bool:
        """Whether it was still held until now."""
        return _truth("lock_release", self._raw)

    def is_held(self) -> bool:
        return bool(_lib.rk_lock_is_held(self._raw))

    def fence(self) -> Optional[int]:
        """A number that grows with every acquisition; None while it is not held."""
        value = c_int64()
        return None if _call("lock_fence", self._raw, byref(value)) == NIL else value.value

    def __enter__(self) -> "Lock":
        self.acquire(self.wait)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Sender(_Handle):
    """Sends messages to channels, which are streams."""

    _kind = "sender"

    def send(self, channel: str, name: str, body: Any) -> str:
        """The id of the message. The body is anything that json.dumps() takes."""
        body = json.dumps(body).encode()
        return _text(_bytes("sender_send", self._raw, _name(channel), _name(name), body)) or ""


class Message:
    """A message that came. One of a handler may be kept for its texts; ack() and fail() are told an RK_ERR_ARGUMENT
    once that has returned."""

    def __init__(self, raw: c_void_p, polled: bool) -> None:
        self.id = _text(_lib.rk_message_id(raw)) or ""
        self.channel = _text(_lib.rk_message_channel(raw)) or ""
        self.name = _text(_lib.rk_message_name(raw)) or ""
        self.text = _text(_lib.rk_message_body(raw)) or ""
        self.deliveries = int(_lib.rk_message_deliveries(raw))
        self._raw: Optional[c_void_p] = raw
        self._polled = polled

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    def ack(self) -> None:
        """A polled message was handled."""
        _call("message_ack", self._raw)

    def fail(self, reason: str) -> None:
        """A polled message could not be handled: it comes again, or is put aside."""
        _call("message_fail", self._raw, _name(reason))

    def __del__(self) -> None:
        if self.__dict__.pop("_polled", False):
            _lib.rk_message_free(self._raw)


class Consumer(_Handle):
    """Receives messages in the name of a listener: by handlers after start(), or by poll()."""

    _kind = "consumer"
    _manager: Optional[Manager] = None

    def channel(self, name: str, handler: Optional[Callable[[Message], object]] = None, **options: Any) -> "Consumer":
        """Names a channel, and what handles its messages: whatever it raises has the message delivered again. Options
        are those of rk_consumer_register_channel: max_deliveries=3, concurrency=4."""
        if handler is not None:
            _callable(handler)
        _call("consumer_register_channel", self._raw, _name(name), json.dumps(options).encode())
        if handler is not None:
            handle = _Handler(_handled(handler))
            self.__dict__.setdefault("_handlers", []).append(handle)
            _call("consumer_register_handler", self._raw, _name(name), handle, None, None)
        return self

    def start(self, *, rest: Optional[float] = 0, block: Optional[float] = None) -> "Consumer":
        """Handlers run in threads of the library's from now on."""
        _call("consumer_start", self._raw, _ms(rest), _ms(block))
        return self

    def stop(self, timeout: Optional[float] = None) -> None:
        _call("consumer_stop", self._raw, _ms(timeout))

    def __enter__(self) -> "Consumer":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def consume(self, block: Optional[float] = None) -> int:
        """One batch of each channel, handled in this thread; how many came."""
        return _number("consumer_consume_all", self._raw, _ms(block))

    def poll(self, timeout: Optional[float] = None) -> Optional[Message]:
        """The next message, without handlers; None if none came in time. Say ack() or fail()."""
        raw = c_void_p()
        return None if _call("consumer_poll", self._raw, _ms(timeout), byref(raw)) == NIL else Message(raw, True)

    def fileno(self) -> int:
        """For select and its like: readable while poll() has something."""
        return int(_lib.rk_consumer_fd(self._raw))

    def stats(self) -> Dict[str, Any]:
        found: Dict[str, Any] = _parsed(_bytes("consumer_stats_json", self._raw))
        return found


def _handled(handler: Callable[[Message], object]) -> Callable[[int, object], int]:
    def handle(raw: int, _: object) -> int:
        given: Optional[Message] = None
        try:
            given = Message(c_void_p(raw), False)
            handler(given)
            return 0
        except BaseException as error:  # nothing may leave it
            _lib.rk_message_fail(raw, _reason(error), None)
            return -320
        finally:
            # Whoever keeps it has its texts; what they were read from ends now.
            if given is not None:
                given._raw = None
    return handle


class Event:
    """What a subscriber heard: data on a channel; or, where `gap` is true, that the connection was lost and is there
    again, so that something may be missed."""

    def __init__(self, channel: str, pattern: Optional[str], data: bytes, gap: bool) -> None:
        self.channel, self.pattern, self.data, self.gap = channel, pattern, data, gap

    def json(self) -> Any:
        return json.loads(self.data)


class Subscriber(_Handle):
    """Hears what is published: by poll(), by iterating, or by on_message(), to be said before the first add()."""

    _kind = "subscriber"
    _manager: Optional[Manager] = None

    def add(self, *channels: str) -> "Subscriber":
        for channel in channels:
            _call("subscriber_add", self._raw, _name(channel))
        return self

    def add_pattern(self, *patterns: str) -> "Subscriber":
        for pattern in patterns:
            _call("subscriber_add_pattern", self._raw, _name(pattern))
        return self

    def remove(self, *channels: str) -> None:
        for channel in channels:
            _call("subscriber_remove", self._raw, _name(channel))

    def on_message(self, handler: Callable[[str, bytes], object]) -> "Subscriber":
        """Called in threads of the library's. What it raises Python prints."""
        _callable(handler)

        def heard(channel: bytes, data: Optional[int], size: int, _: object) -> None:
            handler(_text(channel) or "", ctypes.string_at(data, size) if data else b"")

        self._heard = _OnMessage(heard)
        _call("subscriber_on_message", self._raw, self._heard, None, None)
        return self

    def poll(self, timeout: Optional[float] = None) -> Optional[Event]:
        raw = c_void_p()
        if _call("subscriber_poll", self._raw, _ms(timeout), byref(raw)) == NIL:
            return None
        try:
            size = c_size_t()
            data = _lib.rk_event_data(raw, byref(size))
            return Event(_text(_lib.rk_event_channel(raw)) or "", _text(_lib.rk_event_pattern(raw)),
                         ctypes.string_at(data, size.value) if data else b"", _lib.rk_event_kind(raw) == 2)
        finally:
            _lib.rk_event_free(raw)

    def __iter__(self) -> Iterator[Event]:
        while True:
            event = self.poll()
            if event is not None:
                yield event

    def fileno(self) -> int:
        return int(_lib.rk_subscriber_fd(self._raw))


class Cache(_Handle):
    """Results of functions, kept by their arguments, computed once for all who ask at the same time."""

    _kind = "cache"

    def get_or_compute(self, arguments: Any, function: Callable[[], Any]) -> Any:
        """The value for these arguments (anything that json.dumps() takes): what is kept, or what the function returns,
        None for "there is none". What it raises comes out of here."""
        _callable(function)
        raised: List[BaseException] = []

        def compute(_: bytes, out: Any, __: object, error: Any) -> int:
            try:
                value = function()
                if value is None:
                    return NIL
                text = json.dumps(value).encode()
                return int(_lib.rk_bytes_copy(out, text, len(text), error))
            except BaseException as what:  # it goes on below
                raised.append(what)
                _lib.rk_error_set(error, -320, _reason(what))
                return -320

        try:
            call = _Compute(compute)
            return _parsed(_bytes("cache_get_or_compute", self._raw, json.dumps(arguments).encode(), call, None))
        except Error:
            if raised:
                raise raised[0] from None
            raise

    def invalidate(self, arguments: Any) -> None:
        _call("cache_invalidate", self._raw, json.dumps(arguments).encode())

    def invalidate_all(self) -> None:
        _call("cache_invalidate", self._raw, None)


class NearCache(_Handle):
    """Copies of values in this process: a hit needs no network."""

    _kind = "near"

    def get(self, key: Data) -> Optional[bytes]:
        return _bytes("near_get", self._raw, *_both(key))

    def get_json(self, key: Data) -> Any:
        return _parsed(_bytes("near_get_json", self._raw, *_both(key)))

    def clear(self) -> None:
        _call("near_clear", self._raw)

    def stats(self) -> Dict[str, Any]:
        found: Dict[str, Any] = _parsed(_bytes("near_stats_json", self._raw))
        return found
