"""redkeep from Python by ctypes alone: no C, no header; what any language with a foreign function interface can do."""

import ctypes
import json
import os
from ctypes import POINTER, byref, c_bool, c_char_p, c_int32, c_int64, c_size_t, c_uint8, c_void_p


class Bytes(ctypes.Structure):
    _fields_ = [("data", POINTER(c_uint8)), ("len", c_size_t)]


lib = ctypes.CDLL("libredkeep.so")
lib.rk_version_string.restype = c_char_p
lib.rk_status_name.restype = c_char_p
lib.rk_error_message.restype = c_char_p
lib.rk_error_server_code.restype = c_char_p
lib.rk_error_message.argtypes = [c_void_p]
lib.rk_error_server_code.argtypes = [c_void_p]
lib.rk_error_free.argtypes = [c_void_p]
lib.rk_bytes_free.argtypes = [POINTER(Bytes)]
lib.rk_manager_open.argtypes = [c_char_p, POINTER(c_void_p), POINTER(c_void_p)]
lib.rk_manager_free.argtypes = [c_void_p]
lib.rk_get.argtypes = [c_void_p, c_char_p, c_size_t, POINTER(Bytes), POINTER(c_void_p)]
lib.rk_set.argtypes = [c_void_p, c_char_p, c_size_t, c_char_p, c_size_t, POINTER(c_void_p)]
lib.rk_incr.argtypes = [c_void_p, c_char_p, c_size_t, c_int64, POINTER(c_int64), POINTER(c_void_p)]
lib.rk_set_json.argtypes = [c_void_p, c_char_p, c_size_t, c_char_p, c_void_p, POINTER(c_bool), POINTER(c_void_p)]
lib.rk_get_json.argtypes = [c_void_p, c_char_p, c_size_t, POINTER(Bytes), POINTER(c_void_p)]

RK_NIL = 1


class Error(Exception):
    pass


def call(function, *arguments):
    """The status; an error is raised."""
    err = c_void_p()
    status = function(*arguments, byref(err))
    if status >= 0:
        return status
    text, code = lib.rk_error_message(err), lib.rk_error_server_code(err)
    lib.rk_error_free(err)
    raise Error(lib.rk_status_name(c_int32(status)).decode(), code and code.decode(), text.decode())


def read(function, keep, key):
    value = Bytes()
    if call(function, keep, key, len(key), byref(value)) == RK_NIL:
        return None
    try:
        return ctypes.string_at(value.data, value.len)
    finally:
        lib.rk_bytes_free(byref(value))


keep = c_void_p()
call(lib.rk_manager_open, os.environ["RK_TEST_URL"].encode(), byref(keep))

call(lib.rk_set, keep, b"python", 6, b"a\0b", 3)
assert read(lib.rk_get, keep, b"python") == b"a\0b"
assert read(lib.rk_get, keep, b"no such key") is None

order, was_set = {"items": [1, 2.5], "paid": True}, c_bool()
call(lib.rk_set_json, keep, b"order", 5, json.dumps(order).encode(), None, byref(was_set))
assert was_set.value
assert json.loads(read(lib.rk_get_json, keep, b"order")) == order

value = c_int64(5)
try:
    call(lib.rk_incr, keep, b"python", 6, 1, byref(value))
except Error as error:
    status, code, text = error.args
    assert (status, code) == ("RK_ERR_NOT_A_NUMBER", "ERR"), error
    assert "not an integer" in text, error
else:
    raise AssertionError("a word was counted up")
assert value.value == 0

try:
    call(lib.rk_set_json, keep, b"order", 5, b"{", None, None)
except Error as error:
    assert error.args[0] == "RK_ERR_JSON", error
else:
    raise AssertionError("half an object was stored")

lib.rk_manager_free(keep)
