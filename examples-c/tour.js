// redkeep from Node.js by koffi (npm install koffi): what is declared here is copied from redkeep.h.
//
//     node tour.js [url]             REDKEEP_LIBRARY: where the library is, if not in the system's path
//
// A call blocks its thread, so whatever waits is called by koffi's .async, which does it in another one.
'use strict';

const koffi = require('koffi');
const { promisify } = require('util');

const lib = koffi.load(process.env.REDKEEP_LIBRARY || 'libredkeep.so.0');
for (const handle of ['rk_manager', 'rk_error', 'rk_lock', 'rk_sender', 'rk_consumer', 'rk_message'])
    koffi.opaque(handle);
koffi.struct('rk_bytes', { data: 'void *', len: 'size_t' });

// What is declared below is of 0.1; before 1.0 a minor version is what a major one is later.
if (Math.floor(lib.func('uint32_t rk_version_number()')() / 100) !== 1) {
    const found = lib.func('const char *rk_version_string()')();
    throw new Error(`tour.js is for redkeep 0.1, and the library is ${found}`);
}

const functions = {};
for (const declared of `
    const char *rk_status_name(int32_t status)
    const char *rk_error_message(rk_error *error)
    void rk_error_free(rk_error *error)
    void rk_bytes_free(rk_bytes *bytes)
    int32_t rk_manager_open(const char *url, _Out_ rk_manager **out, _Out_ rk_error **err)
    void rk_manager_free(rk_manager *manager)
    int32_t rk_set(rk_manager *m, const uint8_t *key, size_t n, const uint8_t *value, size_t len, _Out_ rk_error **err)
    int32_t rk_get(rk_manager *m, const uint8_t *key, size_t n, _Out_ rk_bytes *out, _Out_ rk_error **err)
    int32_t rk_incr(rk_manager *m, const uint8_t *key, size_t n, int64_t by, void *value, _Out_ rk_error **err)
    int32_t rk_set_json(rk_manager *m, const uint8_t *key, size_t n, const char *json, void *o, void *w, _Out_ rk_error **e)
    int32_t rk_get_json(rk_manager *m, const uint8_t *key, size_t n, _Out_ rk_bytes *json, _Out_ rk_error **err)
    int32_t rk_lock_new(rk_manager *m, const char *name, int64_t lease_ms, _Out_ rk_lock **out, _Out_ rk_error **err)
    int32_t rk_lock_acquire(rk_lock *lock, int64_t wait_ms, _Out_ rk_error **err)
    int32_t rk_lock_fence(rk_lock *lock, _Out_ int64_t *number, _Out_ rk_error **err)
    int32_t rk_lock_release(rk_lock *lock, void *was_held, _Out_ rk_error **err)
    void rk_lock_free(rk_lock *lock)
    int32_t rk_sender_new(rk_manager *m, _Out_ rk_sender **out, _Out_ rk_error **err)
    int32_t rk_sender_register_channel(rk_sender *sender, const char *channel, _Out_ rk_error **err)
    int32_t rk_sender_send(rk_sender *s, const char *to, const char *name, const char *body, void *id, _Out_ rk_error **e)
    void rk_sender_free(rk_sender *sender)
    int32_t rk_consumer_new(rk_manager *m, const char *listener, _Out_ rk_consumer **out, _Out_ rk_error **err)
    int32_t rk_consumer_register_channel(rk_consumer *c, const char *channel, const char *options, _Out_ rk_error **err)
    int32_t rk_consumer_poll(rk_consumer *consumer, int64_t timeout_ms, _Out_ rk_message **out, _Out_ rk_error **err)
    void rk_consumer_free(rk_consumer *consumer)
    const char *rk_message_name(rk_message *message)
    const char *rk_message_body(rk_message *message)
    int32_t rk_message_ack(rk_message *message, _Out_ rk_error **err)
    void rk_message_free(rk_message *message)
`.trim().split('\n'))
    functions[declared.match(/rk_\w+(?=\()/)[0]] = lib.func(declared.trim());
const { rk_manager_free, rk_lock_free, rk_sender_free, rk_consumer_free, rk_message_free } = functions;

function checked(status, err) {
    if (status >= 0) return status;
    const text = `${functions.rk_status_name(status)}: ${functions.rk_error_message(err[0])}`;
    functions.rk_error_free(err[0]);
    throw new Error(text);
}

// The status of a call; an error of it is thrown, with the library's text.
function call(name, ...args) {
    const err = [null];
    return checked(functions[name](...args, err), err);
}

// The same in another thread, as a promise.
async function wait(name, ...args) {
    const err = [null];
    return checked(await promisify(functions[name].async)(...args, err), err);
}

// What a call gives out as a handle.
function made(name, ...args) {
    const out = [null];
    call(name, ...args, out);
    return out[0];
}

// What a call gives out as bytes; null if there is nothing.
function bytes(name, ...args) {
    const out = {};
    if (call(name, ...args, out) === 1) return null;
    const copy = Buffer.from(koffi.decode(out.data, koffi.array('uint8_t', Number(out.len))));
    functions.rk_bytes_free(out);
    return copy;
}

async function main() {
    const keep = made('rk_manager_open', process.argv[2] || 'embedded://');
    const greeting = Buffer.from('greeting'), user = Buffer.from('user:1');

    const value = Buffer.from('hello\0Node');
    call('rk_set', keep, greeting, greeting.length, value, value.length);
    console.log(bytes('rk_get', keep, greeting, greeting.length).toString().replace('\0', ', '));
    console.log(bytes('rk_get', keep, Buffer.from('never'), 5));

    try {
        call('rk_incr', keep, greeting, greeting.length, 1, null);
    } catch (error) {
        const expected = /^RK_ERR_NOT_A_NUMBER: .*not an integer/.test(error.message);
        console.log(expected ? 'not a number, says the server' : error.message);
    }

    call('rk_set_json', keep, user, user.length, JSON.stringify({ name: 'Ann' }), null, null);
    console.log(JSON.parse(bytes('rk_get_json', keep, user, user.length)).name);

    const lock = made('rk_lock_new', keep, 'report', 30000), fence = [0];
    await wait('rk_lock_acquire', lock, 5000);
    call('rk_lock_fence', lock, fence);
    call('rk_lock_release', lock, null);
    rk_lock_free(lock);
    console.log(`held, with the fence ${fence[0]}`);

    const sender = made('rk_sender_new', keep);
    call('rk_sender_register_channel', sender, 'orders');
    call('rk_sender_send', sender, 'orders', 'order.created', JSON.stringify({ id: 1 }), null);
    rk_sender_free(sender);
    const consumer = made('rk_consumer_new', keep, 'billing'), message = [null];
    call('rk_consumer_register_channel', consumer, 'orders', null);
    await wait('rk_consumer_poll', consumer, 5000, message);
    console.log(functions.rk_message_name(message[0]), JSON.parse(functions.rk_message_body(message[0])).id);
    call('rk_message_ack', message[0]);
    rk_message_free(message[0]);
    rk_consumer_free(consumer);
    rk_manager_free(keep);
}

main().catch((error) => {
    console.error(error.message);
    process.exitCode = 1;
});
