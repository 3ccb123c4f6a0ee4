-- redkeep from LuaJIT by its ffi: what is declared here is copied from redkeep.h.
--
--     luajit tour.lua [url]          REDKEEP_LIBRARY: where the library is, if not in the system's path

local ffi = require("ffi")

ffi.cdef [[
typedef struct rk_manager rk_manager;
typedef struct rk_error rk_error;
typedef struct rk_lock rk_lock;
typedef struct rk_sender rk_sender;
typedef struct rk_consumer rk_consumer;
typedef struct rk_message rk_message;
typedef struct { uint8_t *data; size_t len; } rk_bytes;

uint32_t rk_version_number(void);
const char *rk_version_string(void);
const char *rk_status_name(int32_t status);
const char *rk_error_message(const rk_error *error);
void rk_error_free(rk_error *error);
void rk_bytes_free(rk_bytes *bytes);
int32_t rk_manager_open(const char *url, rk_manager **out, rk_error **err);
void rk_manager_free(rk_manager *manager);
int32_t rk_set(rk_manager *manager, const char *key, size_t key_len, const char *value, size_t len, rk_error **err);
int32_t rk_get(rk_manager *manager, const char *key, size_t key_len, rk_bytes *out, rk_error **err);
int32_t rk_incr(rk_manager *manager, const char *key, size_t key_len, int64_t by, int64_t *value, rk_error **err);
int32_t rk_set_json(rk_manager *manager, const char *key, size_t key_len, const char *json, const void *options,
                    bool *was_set, rk_error **err);
int32_t rk_get_json(rk_manager *manager, const char *key, size_t key_len, rk_bytes *json, rk_error **err);
int32_t rk_lock_new(rk_manager *manager, const char *name, int64_t lease_ms, rk_lock **out, rk_error **err);
int32_t rk_lock_acquire(rk_lock *lock, int64_t wait_ms, rk_error **err);
int32_t rk_lock_release(rk_lock *lock, bool *was_held, rk_error **err);
int32_t rk_lock_fence(const rk_lock *lock, int64_t *number, rk_error **err);
void rk_lock_free(rk_lock *lock);
int32_t rk_sender_new(rk_manager *manager, rk_sender **out, rk_error **err);
int32_t rk_sender_register_channel(rk_sender *sender, const char *channel, rk_error **err);
int32_t rk_sender_send(rk_sender *sender, const char *channel, const char *name, const char *body, rk_bytes *id,
                       rk_error **err);
void rk_sender_free(rk_sender *sender);
int32_t rk_consumer_new(rk_manager *manager, const char *listener, rk_consumer **out, rk_error **err);
int32_t rk_consumer_register_channel(rk_consumer *consumer, const char *channel, const char *options, rk_error **err);
int32_t rk_consumer_poll(rk_consumer *consumer, int64_t timeout_ms, rk_message **out, rk_error **err);
void rk_consumer_free(rk_consumer *consumer);
const char *rk_message_name(const rk_message *message);
const char *rk_message_body(const rk_message *message);
int32_t rk_message_ack(const rk_message *message, rk_error **err);
void rk_message_free(rk_message *message);
]]

local rk = ffi.load(os.getenv("REDKEEP_LIBRARY") or "libredkeep.so.0")
-- What is declared above is of 0.1; before 1.0 a minor version is what a major one is later.
if math.floor(rk.rk_version_number() / 100) ~= 1 then
    error("tour.lua is for redkeep 0.1, and the library is " .. ffi.string(rk.rk_version_string()))
end

-- The status of a call; an error of it is raised, with the library's text.
local function call(name, ...)
    local err = ffi.new("rk_error *[1]")
    local arguments = { ... }
    arguments[select("#", ...) + 1] = err
    local status = rk[name](unpack(arguments, 1, select("#", ...) + 1))
    if status < 0 then
        local text = ffi.string(rk.rk_status_name(status)) .. ": " .. ffi.string(rk.rk_error_message(err[0]))
        rk.rk_error_free(err[0])
        error(text, 0)
    end
    return status
end

-- What a call gives out as a handle, freed by Lua's collector.
local function made(kind, name, free, ...)
    local out = ffi.new(kind .. " *[1]")
    local arguments = { ... }
    arguments[#arguments + 1] = out
    call(name, unpack(arguments))
    return ffi.gc(out[0], rk[free])
end

-- What a call gives out as bytes; nil if there is nothing.
local function text(name, ...)
    local bytes = ffi.new("rk_bytes")
    local arguments = { ... }
    arguments[#arguments + 1] = bytes
    if call(name, unpack(arguments)) == 1 then return nil end
    local result = ffi.string(bytes.data, bytes.len)
    rk.rk_bytes_free(bytes)
    return result
end

local keep = made("rk_manager", "rk_manager_open", "rk_manager_free", arg[1] or "embedded://")

local value = "hello\0Lua"
call("rk_set", keep, "greeting", 8, value, #value)
print((text("rk_get", keep, "greeting", 8):gsub("%z", ", ")))
print(text("rk_get", keep, "no such key", 11))

local fine, why = pcall(call, "rk_incr", keep, "greeting", 8, 1, nil)
print(fine, why:match("^RK_ERR_NOT_A_NUMBER: .*not an integer") and "not a number, says the server" or why)

call("rk_set_json", keep, "user:1", 6, '{"name": "Ann"}', nil, nil)
print(text("rk_get_json", keep, "user:1", 6))

local lock, fence = made("rk_lock", "rk_lock_new", "rk_lock_free", keep, "report", 30000), ffi.new("int64_t[1]")
call("rk_lock_acquire", lock, 5000)
call("rk_lock_fence", lock, fence)
call("rk_lock_release", lock, nil)
print("held, with the fence " .. tonumber(fence[0]))

local sender = made("rk_sender", "rk_sender_new", "rk_sender_free", keep)
call("rk_sender_register_channel", sender, "orders")
call("rk_sender_send", sender, "orders", "order.created", '{"id": 1}', nil)
local consumer = made("rk_consumer", "rk_consumer_new", "rk_consumer_free", keep, "billing")
call("rk_consumer_register_channel", consumer, "orders", nil)
local message = made("rk_message", "rk_consumer_poll", "rk_message_free", consumer, 5000)
print(ffi.string(rk.rk_message_name(message)) .. " " .. ffi.string(rk.rk_message_body(message)))
call("rk_message_ack", message)
