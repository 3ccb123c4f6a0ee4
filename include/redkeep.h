/* redkeep: an embedded, blocking Redis and Valkey client manager.
 *
 *     rk_manager *keep = NULL;
 *     rk_error *err = NULL;
 *     rk_bytes name = RK_BYTES_INIT;
 *
 *     if (rk_manager_open("redis://localhost", &keep, &err) == RK_OK &&
 *         rk_get(keep, "name", 4, &name, &err) == RK_OK)
 *         printf("%s\n", (char *)name.data);
 *     if (err)
 *         fprintf(stderr, "%s\n", rk_error_message(err));
 *
 *     rk_bytes_free(&name);
 *     rk_error_free(err);
 *     rk_manager_free(keep);
 *
 * A function that returns a status may be given NULL for a handle, and then returns RK_ERR_ARGUMENT; the others answer
 * with 0, NULL or false. A function whose name ends with _free or _release takes NULL for nothing to do. Outputs and
 * *err are overwritten, not freed: free what they hold before they are used again.
 *
 * Made from the source by `make header`; do not change it by hand. */

#ifndef REDKEEP_H
#define REDKEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ------------------------------------------------------------------------------------
 *
 * The library's own version, to be compared with that of the header: RK_VERSION_NUMBER, RK_VERSION_STRING.
 */

/* The version that this header belongs to. NUMBER is major * 10000 + minor * 100 + patch. */
#define RK_VERSION_MAJOR 0
#define RK_VERSION_MINOR 1
#define RK_VERSION_PATCH 0
#define RK_VERSION_STRING "0.1.0"
#define RK_VERSION_NUMBER (RK_VERSION_MAJOR * 10000 + RK_VERSION_MINOR * 100 + RK_VERSION_PATCH)

/* What gives an enum 32 bits where the language can say so; elsewhere its type is an int32_t. */
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
#define RK_INT32 : int32_t
#else
#define RK_INT32
#endif

/** The version of the library that runs, as one number: major * 10000 + minor * 100 + patch. */
uint32_t rk_version_number(void);

/** The version of the library that runs, as text: "0.1.0". It lives as long as the library. */
const char *rk_version_string(void);

/* ---- Handles ------------------------------------------------------------------------------------
 *
 * Everything that is opened, made or leased is one of these; what is inside is the library's own business.
 */

/**
 * An error with everything known about it. Passwords and values never appear in it.
 *
 * Thread safety: one thread at a time. It belongs to whoever received it, and may be handed to another thread.
 */
typedef struct rk_error rk_error;

/**
 * A configuration. A manager takes a copy of it when opened, so it can be freed or changed afterwards.
 *
 * Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT.
 */
typedef struct rk_config rk_config;

/**
 * A manager. Connections leased from it keep it alive, so the order of freeing does not matter. After fork() it works
 * in the child as well, over connections of the child's own.
 *
 * Thread safety: any number of threads at the same time. Only rk_manager_free() must be the last call on it.
 */
typedef struct rk_manager rk_manager;

/**
 * Options of rk_set_with() and rk_set_json(); one may serve any number of commands.
 *
 * Thread safety: one thread at a time while it is being changed, and a second one gets RK_ERR_CONFLICT; any number once
 * it is only used.
 */
typedef struct rk_set_options rk_set_options;

/**
 * A reply, or a part of one.
 *
 * Thread safety: any number of threads may read it at the same time; only rk_reply_free() must be the last call.
 */
typedef struct rk_reply rk_reply;

/**
 * A connection taken out of a node's pool. It keeps its manager alive. In a child of fork(), commands on a connection
 * that the parent leased return RK_ERR_CLOSED; releasing it there leaves the parent's connection alone.
 *
 * Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT. It may be handed to another thread.
 */
typedef struct rk_connection rk_connection;

/**
 * Commands that go to the server together. It keeps its manager alive.
 *
 * Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT. It may be handed to another thread.
 */
typedef struct rk_pipeline rk_pipeline;

/**
 * An optimistic transaction under way: lives while the body of rk_transaction_run() runs, and no longer.
 *
 * Thread safety: only the thread that runs the body.
 */
typedef struct rk_transaction rk_transaction;

/**
 * A walk over the keys. It keeps its manager alive.
 *
 * Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT. It may be handed to another thread.
 */
typedef struct rk_scan rk_scan;

/**
 * A lock, and what this handle holds of it. It keeps its manager alive. In a child of fork(), a lock that the parent
 * holds stays the parent's: it is not held there, and freeing it does not release it.
 *
 * Thread safety: one thread at a time; a second one gets RK_ERR_CONFLICT. It may be handed to another thread.
 */
typedef struct rk_lock rk_lock;

/**
 * A limit, for any number of ids. It keeps its manager alive.
 *
 * Thread safety: any number of threads at once; rk_limiter_option() only before others use it.
 */
typedef struct rk_limiter rk_limiter;

/**
 * Sessions that live equally long. It keeps its manager alive.
 *
 * Thread safety: any number of threads at once.
 */
typedef struct rk_sessions rk_sessions;

/**
 * A namespace of kept results. It keeps its manager alive.
 *
 * Thread safety: any number of threads at once; rk_cache_option() only before others use it.
 */
typedef struct rk_cache rk_cache;

/**
 * A near cache. It keeps its manager alive.
 *
 * Thread safety: any number of threads at once; rk_near_option() only before others use it.
 */
typedef struct rk_near rk_near;

/**
 * An event that was polled. What is read from it is borrowed until rk_event_free().
 *
 * Thread safety: one thread at a time. It is independent of its subscriber, and may be handed to another thread.
 */
typedef struct rk_event rk_event;

/**
 * Listens to channels and patterns. It keeps its manager alive. In a fork of the process that made it every call on it
 * is RK_ERR_CLOSED.
 *
 * Thread safety: any number of threads at the same time. Only rk_subscriber_free() must be the last call on it.
 */
typedef struct rk_subscriber rk_subscriber;

/**
 * Sends messages. It keeps its manager alive, and works in a child of fork() too.
 *
 * Thread safety: any number of threads at the same time. Only rk_sender_free() must be the last call on it.
 */
typedef struct rk_sender rk_sender;

/**
 * A message that came. A handler has it while it runs; one that was polled belongs to the program, which says what
 * became of it and frees it. Texts read from it live as long as it does.
 *
 * Thread safety: any number of threads at once, until it is freed, or its handler returns.
 */
typedef struct rk_message rk_message;

/**
 * A consumer. It keeps its manager alive. In a child of fork(), calls on a consumer that was made before return
 * RK_ERR_CLOSED: make another one there.
 *
 * Thread safety: any number of threads at the same time. Only rk_consumer_free() must be the last call on it.
 */
typedef struct rk_consumer rk_consumer;

/**
 * A command, as the callbacks of rk_config_set_command_hook() see it. It lives as long as the callback runs.
 *
 * Thread safety: one thread at a time.
 */
typedef struct rk_call rk_call;

/* ---- Status and errors --------------------------------------------------------------------------
 *
 * Every function that can fail returns an rk_status: RK_OK, a positive outcome, or a negative error. Whoever wants to
 * know more hands over an rk_error ** as the last argument: it becomes NULL on success, and an error to be freed
 * with rk_error_free() otherwise. Hand over NULL, and only the status tells. On any error all outputs hold a neutral
 * value (NULL, 0, false; -2 for a ttl), so a program that wants no more than a sensible default may ignore both. An
 * error that the pointer held before is overwritten, not freed: free it, or leave, before the next call.
 */

/** How a call ended. Numbers are never used again for another meaning; new ones may come. */
enum rk_status RK_INT32 {
    /** Done. */
    RK_OK = 0,
    /** Done, and there is no value: no such key, field or property. */
    RK_NIL = 1,
    /** Done, but the caller's buffer is too small for the whole value. */
    RK_TRUNCATED = 2,
    /** An argument is NULL, too long, not UTF-8 where text is needed, or out of range; the message names it. */
    RK_ERR_ARGUMENT = -1,
    /** No property has this name. */
    RK_ERR_UNKNOWN_PROPERTY = -2,
    /** A property was given a value that it does not take. */
    RK_ERR_BAD_VALUE = -3,
    /** A URL that cannot be understood. */
    RK_ERR_URL = -4,
    /** Two options that exclude each other: EX and PX, NX and XX; or a handle that another thread is using. */
    RK_ERR_CONFLICT = -5,
    /** The text handed over is not JSON. */
    RK_ERR_JSON = -6,
    /**
     * A command that changes the state of its connection (MULTI, SELECT, SUBSCRIBE), on a shared one. Lease one of
     * your own with rk_connection_lease().
     */
    RK_ERR_STATEFUL = -7,
    /** A node that was never added, or whose pools were closed. */
    RK_ERR_UNKNOWN_NODE = -8,
    /** The manager was closed. */
    RK_ERR_CLOSED = -9,
    /** Redis is switched off by the property "enabled". */
    RK_ERR_DISABLED = -10,
    /** The environment, or something set up before, does not allow it. */
    RK_ERR_CONFIG = -11,
    /** No connection could be made. */
    RK_ERR_CONNECT = -100,
    /** The name of the host could not be looked up. */
    RK_ERR_RESOLVE = -101,
    /** The connection broke. */
    RK_ERR_IO = -102,
    /** The time given had passed. */
    RK_ERR_TIMEOUT = -103,
    /** The time given had passed while every connection of the pool was in use. */
    RK_ERR_POOL_TIMEOUT = -104,
    /** What came back is not the protocol of Redis; the connection was closed. */
    RK_ERR_PROTOCOL = -105,
    /** The reply is larger than the property "max_reply_bytes"; the connection was closed. */
    RK_ERR_REPLY_TOO_LARGE = -106,
    /** The server did not accept the user name or password (WRONGPASS, NOAUTH). */
    RK_ERR_AUTH = -107,
    /** TLS could not be agreed on, or is not part of this build. */
    RK_ERR_TLS = -108,
    /** The node is known to be down: nothing was tried. */
    RK_ERR_NO_HEALTHY_POOLS = -109,
    /** There is no server program for embedded://, or it did not start, or it was not opened for what was asked of it. */
    RK_ERR_EMBEDDED = -110,
    /** An error of the server with no status of its own; see rk_error_server_code(). */
    RK_ERR_SERVER = -200,
    /** WRONGTYPE: the key holds another type of value. */
    RK_ERR_WRONG_TYPE = -201,
    /** The stored value is not a number, or the result would not fit one. */
    RK_ERR_NOT_A_NUMBER = -202,
    /** READONLY: a write to a replica. */
    RK_ERR_READ_ONLY = -203,
    /** OOM: the server is out of memory. */
    RK_ERR_OUT_OF_MEMORY = -204,
    /** LOADING or MASTERDOWN: the server is not ready yet. */
    RK_ERR_LOADING = -205,
    /** BUSY: a script runs for too long. */
    RK_ERR_BUSY = -206,
    /** NOPERM: the user may not do this. */
    RK_ERR_NO_PERMISSION = -207,
    /** NOSCRIPT: no script with that digest. */
    RK_ERR_NO_SCRIPT = -208,
    /** MOVED, ASK, TRYAGAIN or CLUSTERDOWN: the cluster serves this key elsewhere, or not now. */
    RK_ERR_CLUSTER = -209,
    /** CROSSSLOT: the keys live in different slots. */
    RK_ERR_CROSS_SLOT = -210,
    /** NOREPLICAS or MISCONF: the server takes no writes in its present state. */
    RK_ERR_NO_WRITES = -211,
    /** EXECABORT: the transaction was thrown away. */
    RK_ERR_EXEC_ABORT = -212,
    /** A watched key was changed by somebody else, and the transaction was not executed. */
    RK_ERR_WATCHED = -213,
    /** The stored value is not JSON. */
    RK_ERR_STORED_JSON = -300,
    /** A reply is of another type than the one asked for. */
    RK_ERR_REPLY_TYPE = -301,
    /** A lock was not to be had within the time given to wait for it. */
    RK_ERR_LOCK_TIMEOUT = -310,
    /** The function whose result was to be cached failed. */
    RK_ERR_COMPUTE = -320,
    /** A function asks the cache for what it is itself to compute. */
    RK_ERR_DEADLOCK = -321,
    /** A fault in redkeep itself. Please report it. */
    RK_ERR_INTERNAL = -400,
    /** The system refused something: descriptors, threads, memory. */
    RK_ERR_SYSTEM = -401,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rk_status rk_status;
#else
typedef int32_t rk_status;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** What became of the command when a call failed. */
enum rk_outcome RK_INT32 {
    /** Not one byte of it reached the server: it can be sent again without a second thought. */
    RK_NOT_SENT = 0,
    /** The server answered that it did not execute it. */
    RK_REFUSED = 1,
    /** It was sent, and no answer came, or none that could be used: it may or may not have been executed. */
    RK_OUTCOME_UNKNOWN = 2,
    /** Its answer came. Only rk_pipeline_outcome() says so. */
    RK_ANSWERED = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rk_outcome rk_outcome;
#else
typedef int32_t rk_outcome;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/**
 * The name of a status as it is spelled here, such as "RK_ERR_TIMEOUT"; "RK_ERR_?" for a number that is none. It
 * lives as long as the library.
 */
const char *rk_status_name(int32_t status);

/** The status that the failed call returned; RK_OK for NULL. */
rk_status rk_error_status(const struct rk_error *error);

/**
 * What went wrong, for people: the node, what happened there, and why. Its wording may change; the status does not.
 * It lives as long as the error. "no error" for NULL.
 */
const char *rk_error_message(const struct rk_error *error);

/**
 * The first word of the server's error reply, such as "WRONGTYPE"; NULL where the server did not answer with an
 * error. It lives as long as the error.
 */
const char *rk_error_server_code(const struct rk_error *error);

/**
 * The node on which it happened, such as "127.0.0.1:6379" or the path of a socket; NULL where none was involved. It
 * lives as long as the error.
 */
const char *rk_error_node(const struct rk_error *error);

/**
 * Whether the same call may succeed a little later: the fault lies with the network or with the server's present
 * state, not with what was asked. Look at rk_error_outcome() before sending it again. False for NULL.
 */
bool rk_error_is_retriable(const struct rk_error *error);

/** What became of the command. RK_NOT_SENT for NULL. */
rk_outcome rk_error_outcome(const struct rk_error *error);

/** Frees an error. NULL is nothing to do. */
void rk_error_free(struct rk_error *error);

/**
 * Makes an error, for callbacks that fail: *err becomes an error of this status (one of the negative ones; any other
 * number becomes RK_ERR_INTERNAL) with this text (NULL or empty: the name of the status). *err must hold NULL or an
 * error, which is freed. err may be NULL: then nothing happens.
 */
void rk_error_set(struct rk_error **err,
                  int32_t status,
                  const char *text);

/* ---- Bytes --------------------------------------------------------------------------------------
 *
 * Data goes in as a pointer and a length, and may hold anything, zeros too. It comes out as rk_bytes, which the
 * library owns and rk_bytes_free() gives back; never call free() on it. What an output held before is overwritten, not
 * freed.
 */

/**
 * Bytes that the library owns. One zero, not counted in len, stands after the end, so that text can be printed as it
 * is. An empty value has data that is not NULL; no value at all is {NULL, 0}. Begin with RK_BYTES_INIT; change
 * neither of the two.
 *
 * Thread safety: one thread at a time. It is independent of what it came from, and may be handed to another thread.
 */
typedef struct rk_bytes {
    /** Where they begin; NULL if there is no value. */
    uint8_t *data;
    /** How many there are. */
    size_t len;
} rk_bytes;

/**
 * Bytes that the caller owns, handed to a call that reads them: a key, a value, an argument. RK_LIT("text") makes one
 * of a text in the source. data may be NULL if len is 0.
 */
typedef struct rk_slice {
    /** Where they begin. */
    const void *data;
    /** How many there are. */
    size_t len;
} rk_slice;

/** Frees the bytes and leaves {NULL, 0}, so that a second call is harmless. NULL is nothing to do. */
void rk_bytes_free(struct rk_bytes *bytes);

/**
 * Makes rk_bytes of a copy of these bytes, for callbacks that return some. out may not be NULL; what it held is
 * overwritten, not freed.
 */
rk_status rk_bytes_copy(struct rk_bytes *out,
                        const void *data,
                        size_t len,
                        rk_error **err);

/* No value: what every rk_bytes begins with. */
#define RK_BYTES_INIT {NULL, 0}

/* A text in the source as a slice, inside a function: rk_slice args[] = {RK_LIT("GET"), RK_LIT("name")}; */
#ifdef __cplusplus
#define RK_LIT(text) (rk_slice{"" text, sizeof("" text) - 1})
#else
#define RK_LIT(text) ((rk_slice){"" text, sizeof("" text) - 1})
#endif

/* ---- Configuration ------------------------------------------------------------------------------
 *
 * A configuration is a set of properties, each with a name and a text as its value: "url", "max_connections",
 * "command_timeout" and the others that rk_config_dump() lists. What is not set has its default.
 */

/** A configuration in which nothing is set. Free it with rk_config_free(). NULL only if the library failed inside. */
struct rk_config *rk_config_new(void);

/** A configuration with what the environment sets: REDIS_URL, REDIS_HOST and the others. out may not be NULL. */
rk_status rk_config_from_env(struct rk_config **out,
                             rk_error **err);

/**
 * Sets a property. A time is a number of seconds ("0.5") or carries its unit ("500ms"); a flag is "true" or "false";
 * a number of bytes may carry "KiB", "MiB" or "GiB". RK_ERR_UNKNOWN_PROPERTY and RK_ERR_BAD_VALUE leave everything
 * as it was, and their messages say what is allowed.
 */
rk_status rk_config_set(struct rk_config *config,
                        const char *name,
                        const char *value,
                        rk_error **err);

/**
 * The value of a property as text: what was set, or else its default. RK_NIL where there is neither. Passwords come
 * as they are. out may not be NULL.
 */
rk_status rk_config_get(const struct rk_config *config,
                        const char *name,
                        rk_bytes *out,
                        rk_error **err);

/** Every property with its value, as a JSON object. Passwords are masked. json may not be NULL. */
rk_status rk_config_dump(const struct rk_config *config, rk_bytes *json, rk_error **err);

/**
 * Sets who is asked for the user name and the password at each connect, in place of the properties "password" and
 * "credentials_file": cb answers with what is valid now, such as a token that is renewed every hour. It fills password,
 * and username unless that is the configured one, with rk_bytes_copy(), and returns RK_OK; or it fails with
 * rk_error_set(), and returns another status: then whoever needed the connection gets an RK_ERR_AUTH with that text.
 * The library frees both. Another call sets another cb; cb NULL: nobody is asked any more.
 *
 * cb is called in a thread of the library's own, never twice at the same time for one manager, and whoever waits for
 * it waits within its own deadline. It may call the library, but should not wait for a connection of the same manager.
 *
 * userdata_free (NULL: none) is called with userdata exactly once: when the configuration is freed or has another cb,
 * every manager that was opened with it is freed, and cb is not running; or at once, if this call fails or cb is NULL.
 */
rk_status rk_config_set_credentials_provider(struct rk_config *config,
                                             int32_t (*cb)(rk_bytes *username,
                                                           rk_bytes *password,
                                                           void *userdata,
                                                           rk_error **err),
                                             void *userdata,
                                             void (*userdata_free)(void *userdata),
                                             rk_error **err);

/** Frees a configuration. NULL is nothing to do. */
void rk_config_free(struct rk_config *config);

/* ---- The manager --------------------------------------------------------------------------------
 *
 * The connections of a program, and everything that can be done with them: open one manager, call it from any thread.
 *
 * A node is named by its URL; NULL means the one that the manager was opened for. Times are milliseconds: 0 tries
 * once, -1 is the default that the function names, and any other negative number is RK_ERR_ARGUMENT.
 */

/**
 * Opens a manager for a URL: redis://[[user]:password@]host[:port][/db], rediss:// (TLS), unix:///path/of/socket,
 * redis+cluster://host,host, redis+sentinel://host,host/name, or embedded://, which starts a private server that ends
 * with the manager (the properties "embedded_..." say more). url NULL: as the environment says (REDIS_URL and the
 * others). Nothing is sent before the first command, except that embedded:// starts its server. out may not be NULL.
 */
rk_status rk_manager_open(const char *url,
                          struct rk_manager **out,
                          rk_error **err);

/** Opens a manager for a configuration, after checking all of it. out may not be NULL. */
rk_status rk_manager_open_config(const rk_config *config, struct rk_manager **out, rk_error **err);

/**
 * The manager of this process, opened from the environment when first asked for. Never NULL: if the environment
 * cannot be used, calls on it return RK_ERR_CONFIG. It is never freed; rk_manager_free() leaves it alone.
 */
struct rk_manager *rk_manager_global(void);

/**
 * Makes the first contact. *connected becomes true if the server answered; otherwise it is false, and the status and
 * the error say why. connected may be NULL.
 */
rk_status rk_manager_initialize(struct rk_manager *manager,
                                bool *connected,
                                rk_error **err);

/** Whether Redis is switched on and answered last time. False until the first contact, and for NULL. Sends nothing. */
bool rk_manager_is_enabled(const struct rk_manager *manager);

/** Asks the node that the manager was opened for for a sign of life. */
rk_status rk_ping(struct rk_manager *manager, rk_error **err);

/** Whether a node can be reached now. If not, the error says why. */
bool rk_manager_is_connected(struct rk_manager *manager, const char *url, rk_error **err);

/**
 * Waits until a node answers. It gives up at whichever comes first: timeout_ms (-1: 10 seconds), or max_retries more
 * tries (-1: 5) that lie step_ms apart (-1: 250 milliseconds). *seconds becomes the time it took; it may be NULL.
 */
rk_status rk_manager_wait_for_ready(struct rk_manager *manager,
                                    const char *url,
                                    int64_t timeout_ms,
                                    int64_t step_ms,
                                    int32_t max_retries,
                                    double *seconds,
                                    rk_error **err);

/**
 * Asks a node how it is. *json becomes {"status": "healthy", "version", "connected_clients", "role", "latency_ms"}, or
 * {"status": "unhealthy", "error"} with RK_OK all the same; "version", "connected_clients" and "role" are null where
 * the server does not tell them. Only a node that was never added, or an argument, is an error. json may not be NULL.
 */
rk_status rk_manager_health_check(struct rk_manager *manager,
                                  const char *url,
                                  rk_bytes *json,
                                  rk_error **err);

/**
 * Adds a node, and waits at most timeout_ms (-1: the property "connect_timeout") for it to answer. A node that does
 * not answer now is added all the same and comes in when it does: the error only tells. Adding a node twice is no
 * error; adding one whose pools were closed opens them again.
 */
rk_status rk_manager_add_node_pool(struct rk_manager *manager,
                                   const char *url,
                                   int64_t timeout_ms,
                                   rk_error **err);

/**
 * Closes the pools of one node: connections in use are closed when they come back, and whoever waits for one is told.
 * rk_manager_add_node_pool() opens them again.
 */
rk_status rk_manager_close_node_pools(struct rk_manager *manager,
                                      const char *url,
                                      rk_error **err);

/** Closes the pools of all nodes, those of the one that the manager was opened for included. */
rk_status rk_manager_close_all_pools(struct rk_manager *manager, rk_error **err);

/** Closes the connections of all nodes, those in use as soon as they come back. The next command opens new ones. */
rk_status rk_manager_disconnect(struct rk_manager *manager,
                                rk_error **err);

/**
 * Replaces every connection by one with the credentials of this moment, after they have changed: those of
 * rk_config_set_credentials_provider() or of the property "credentials_file". They are tried first, on every node that
 * is up, within "command_timeout"; where the server does not take them, the status is RK_ERR_AUTH, and everything stays
 * as it is. Then idle connections are closed at once and those in use when they come back, so that no caller notices.
 */
rk_status rk_manager_rotate_credentials(struct rk_manager *manager,
                                        rk_error **err);

/**
 * Starts the periodic health checks. They run from the start unless the property "health_check_interval" is 0;
 * starting what runs does nothing. A node that answered callers on its shared lines since the last one is not asked.
 */
rk_status rk_manager_start_health_checks(struct rk_manager *manager,
                                         rk_error **err);

/** Stops the periodic health checks; stopping what does not run does nothing. */
rk_status rk_manager_stop_health_checks(struct rk_manager *manager, rk_error **err);

/**
 * Starts the clean-up of idle connections. It runs from the start unless the property "cleanup_interval" is 0;
 * starting what runs does nothing.
 */
rk_status rk_manager_start_cleanup(struct rk_manager *manager,
                                   rk_error **err);

/** Stops the clean-up of idle connections; stopping what does not run does nothing. */
rk_status rk_manager_stop_cleanup(struct rk_manager *manager, rk_error **err);

/**
 * What every pool of every node is doing at this moment, as JSON: {"health_checks", "cleanup", "topology", "nodes":
 * [{"address", "role", "slots": [[first, last]], "state", "version", "latency_ms", "last_error", "pools": [{"size",
 * "in_use", "idle", "waiting", "opened", "closed", "oldest_lease_ms"}], "lines": [{"open", "waiting", "batches",
 * "commands", "opened", "closed"}], "batch_ms", "pool_waits", "calls_by_pool"}], "master_name", "sentinels":
 * [{"address", "primary", "error"}]}. The topology is "standalone", "sentinel" or "cluster"; a role is "primary",
 * "replica" or "independent" (added by name); a state is "untried", "up", "down" or "closed". A line is a connection
 * that all threads share (property shared_lines): "waiting" counts commands that wait to be sent, "commands" those
 * that went by it, in so many "batches", each of them one write; "batch_ms" is how long one takes at present;
 * "pool_waits" counts how long callers waited for a connection of a pool, as {"seconds", "buckets": [{"le",
 * "count"}]}; "calls_by_pool" counts single commands that took a connection from a pool instead. What is
 * not known at present is null: stats/schema.md of the source says which fields that may be. json may not be NULL.
 */
rk_status rk_manager_fetch_pool_status(struct rk_manager *manager,
                                       rk_bytes *json,
                                       rk_error **err);

/**
 * What is known of the manager, as JSON: counts ("calls", "errors", "timeouts", "retries", "redirects", "slow",
 * "swallowed", "lock_timeouts"), "lock_waits", "pools", as rk_manager_fetch_pool_status() tells them, "near", an array
 * of its near caches, and "consumers", of those that consume in this process. The file stats/schema.md of the source
 * says what each field means; fields are added, never removed. No server is asked. json may not be NULL.
 */
rk_status rk_manager_stats_json(struct rk_manager *manager,
                                rk_bytes *json,
                                rk_error **err);

/**
 * The same as text for Prometheus, in its exposition format, the consumers of this process together: redkeep_calls_total,
 * redkeep_node, redkeep_pool_..., redkeep_line_..., redkeep_near_... and redkeep_stream_..., each with its meaning. No
 * server is asked. text may not be NULL.
 */
rk_status rk_manager_stats_prometheus(struct rk_manager *manager,
                                      rk_bytes *text,
                                      rk_error **err);

/**
 * Makes the embedded:// server of this manager fail, for everybody who talks to it, until another fault is set, so that
 * the tests of a program see what the program does then. It holds when this returns. fault is one of
 *
 *   "none"       everything passes
 *   "freeze"     nothing passes, and connections stay open: a server that hangs. What was sent meanwhile reaches the
 *                server when the fault ends
 *   "drop"       every connection is closed, and every new one as soon as it is made: a server that ended. Its data
 *                stay; followed by "none" at once, it is a short interruption
 *   "slow:50ms"  whatever the server sends, messages of subscriptions too, arrives so much later (up to 24h)
 *
 * The manager must have been opened with the property "embedded_faults", as in embedded://?embedded_faults=on; for any
 * other it is RK_ERR_EMBEDDED. When a fault ends, the server is found again within a second, or at once by
 * rk_manager_wait_for_ready().
 */
rk_status rk_manager_embedded_fault(struct rk_manager *manager,
                                    const char *fault,
                                    rk_error **err);

/**
 * Ends everything: every call under way returns RK_ERR_CLOSED, every thread ends, an embedded server too, and later
 * calls return RK_ERR_CLOSED. RK_ERR_TIMEOUT says that a thread was still running after timeout_ms (-1: the property
 * "command_timeout"); it ends by itself. Closing twice is no error. The manager must still be freed.
 */
rk_status rk_manager_close(struct rk_manager *manager,
                           int64_t timeout_ms,
                           rk_error **err);

/** Frees a manager, and closes it if it is not closed yet. NULL and the global one are nothing to do. */
void rk_manager_free(struct rk_manager *manager);

/* ---- Options of SET -----------------------------------------------------------------------------
 *
 * For how long a value is to be set, and under which condition. An option that excludes another, or a time below 1,
 * is told at once, and again by the command that is given the options.
 */

/** No expiry, no condition. Free them with rk_set_options_free(). NULL only if the library failed inside. */
struct rk_set_options *rk_set_options_new(void);

/** Frees options. NULL is nothing to do. */
void rk_set_options_free(struct rk_set_options *options);

/** Expires after this many seconds, at least 1. Excludes px and keep_ttl: RK_ERR_CONFLICT. */
rk_status rk_set_options_ex(struct rk_set_options *options, int64_t seconds);

/** Expires after this many milliseconds, at least 1. Excludes ex and keep_ttl: RK_ERR_CONFLICT. */
rk_status rk_set_options_px(struct rk_set_options *options, int64_t milliseconds);

/** Sets only if the key does not exist. Excludes xx: RK_ERR_CONFLICT. */
rk_status rk_set_options_nx(struct rk_set_options *options);

/** Sets only if the key exists. Excludes nx: RK_ERR_CONFLICT. */
rk_status rk_set_options_xx(struct rk_set_options *options);

/** Leaves the expiry that the key has as it is. Excludes ex and px: RK_ERR_CONFLICT. */
rk_status rk_set_options_keep_ttl(struct rk_set_options *options);

/* ---- Commands -----------------------------------------------------------------------------------
 *
 * Keys and values are a pointer and a length, and may hold anything. A call ends within the property
 * "command_timeout" at the latest, repetitions included; what is repeated is only what cannot do harm twice.
 *
 * The everyday commands have functions of their own; rk_command() sends any other. One that changes the state of
 * its connection (MULTI, SELECT, SUBSCRIBE) returns RK_ERR_STATEFUL: it needs rk_connection_lease().
 */

/** The value of a key; RK_NIL, and {NULL, 0}, if there is no such key. out may not be NULL. */
rk_status rk_get(rk_manager *manager,
                 const void *key,
                 size_t key_len,
                 rk_bytes *out,
                 rk_error **err);

/**
 * The value of a key, copied into the caller's own buffer of cap bytes; no zero is added. *len becomes the length of the
 * whole value. If that is more than cap, the first cap bytes are copied and RK_TRUNCATED is returned. RK_NIL if there is
 * no such key. buf may be NULL if cap is 0; len may not be NULL. The value is read into memory that the calling thread
 * keeps from one call to the next, up to 64 KiB: for values of less, nothing is allocated; a larger one takes, until the
 * call returns, memory for the whole of it beside the buffer.
 */
rk_status rk_get_into(rk_manager *manager,
                      const void *key,
                      size_t key_len,
                      void *buf,
                      size_t cap,
                      size_t *len,
                      rk_error **err);

/** Sets a key to a value, for ever. */
rk_status rk_set(rk_manager *manager,
                 const void *key,
                 size_t key_len,
                 const void *value,
                 size_t value_len,
                 rk_error **err);

/**
 * Sets a key to a value under options (NULL: none). *was_set becomes false, with RK_OK, if the condition (nx, xx) was
 * not met. was_set may be NULL.
 */
rk_status rk_set_with(rk_manager *manager,
                      const void *key,
                      size_t key_len,
                      const void *value,
                      size_t value_len,
                      const rk_set_options *set_options,
                      bool *was_set,
                      rk_error **err);

/** Deletes n keys. *deleted becomes how many of them there were; it may be NULL. No keys: 0, and nothing is sent. */
rk_status rk_delete(rk_manager *manager,
                    const rk_slice *keys,
                    size_t n,
                    int64_t *deleted,
                    rk_error **err);

/** Whether a key exists. out may not be NULL. */
rk_status rk_exists(rk_manager *manager,
                    const void *key,
                    size_t key_len,
                    bool *out,
                    rk_error **err);

/**
 * Lets a key expire after this many seconds; 0 or less deletes it at once. *done becomes false if there is no such
 * key; it may be NULL.
 */
rk_status rk_expire(rk_manager *manager,
                    const void *key,
                    size_t key_len,
                    int64_t seconds,
                    bool *done,
                    rk_error **err);

/**
 * The seconds that a key has left: -1 if it never expires, -2 if there is no such key, and on any error. seconds may
 * not be NULL.
 */
rk_status rk_ttl(rk_manager *manager,
                 const void *key,
                 size_t key_len,
                 int64_t *seconds,
                 rk_error **err);

/**
 * Adds to the number stored at a key (0 if there is none). *value becomes the sum; it may be NULL. It is sent once: if
 * its outcome is unknown, the error says so.
 */
rk_status rk_incr(rk_manager *manager,
                  const void *key,
                  size_t key_len,
                  int64_t by,
                  int64_t *value,
                  rk_error **err);

/** Sets one field of a hash. *added becomes 1 if the field is new, 0 if it had a value before; it may be NULL. */
rk_status rk_hset(rk_manager *manager,
                  const void *name,
                  size_t name_len,
                  const void *field,
                  size_t field_len,
                  const void *value,
                  size_t value_len,
                  int64_t *added,
                  rk_error **err);

/**
 * Sets several fields of a hash: pairs holds 2 * n_pairs slices, field and value in turn. *added becomes how many
 * fields are new; it may be NULL. No pairs: 0, and nothing is sent.
 */
rk_status rk_hset_many(rk_manager *manager,
                       const void *name,
                       size_t name_len,
                       const rk_slice *pairs,
                       size_t n_pairs,
                       int64_t *added,
                       rk_error **err);

/** Sets one field of a hash and several others in one command: rk_hset() and rk_hset_many() at once. */
rk_status rk_hset_with(rk_manager *manager,
                       const void *name,
                       size_t name_len,
                       const void *field,
                       size_t field_len,
                       const void *value,
                       size_t value_len,
                       const rk_slice *pairs,
                       size_t n_pairs,
                       int64_t *added,
                       rk_error **err);

/** The value of one field of a hash; RK_NIL, and {NULL, 0}, if there is no such field or hash. out may not be NULL. */
rk_status rk_hget(rk_manager *manager,
                  const void *name,
                  size_t name_len,
                  const void *field,
                  size_t field_len,
                  rk_bytes *out,
                  rk_error **err);

/** Stores a JSON text, a C string, as it is, after checking that it is JSON (RK_ERR_JSON). Otherwise as rk_set_with(). */
rk_status rk_set_json(rk_manager *manager,
                      const void *key,
                      size_t key_len,
                      const char *json,
                      const rk_set_options *set_options,
                      bool *was_set,
                      rk_error **err);

/**
 * The JSON text stored at a key, as it is stored; RK_NIL if there is no such key, RK_ERR_STORED_JSON if what is stored
 * is not JSON. json may not be NULL.
 */
rk_status rk_get_json(rk_manager *manager,
                      const void *key,
                      size_t key_len,
                      rk_bytes *json,
                      rk_error **err);

/**
 * The values of n keys: *out becomes an array with an element for each, in their order, RK_REPLY_NIL where there is no
 * such key. No keys: an empty array, and nothing is sent. out may not be NULL.
 */
rk_status rk_mget(rk_manager *manager,
                  const rk_slice *keys,
                  size_t n,
                  rk_reply **out,
                  rk_error **err);

/**
 * Sets several keys at once, all of them or none: pairs holds 2 * n_pairs slices, key and value in turn. No pairs:
 * nothing is sent.
 */
rk_status rk_mset(rk_manager *manager,
                  const rk_slice *pairs,
                  size_t n_pairs,
                  rk_error **err);

/**
 * Sends a message to whoever subscribes to the channel now. *receivers becomes how many those were (on a cluster, on
 * one node); it may be NULL. The message is kept nowhere, and is not repeated when it is not known whether it was sent.
 */
rk_status rk_publish(rk_manager *manager,
                     const char *channel,
                     const void *data,
                     size_t data_len,
                     int64_t *receivers,
                     rk_error **err);

/** As rk_publish(), with a JSON text, a C string, after checking that it is JSON (RK_ERR_JSON). */
rk_status rk_publish_json(rk_manager *manager,
                          const char *channel,
                          const char *json,
                          int64_t *receivers,
                          rk_error **err);

/** As rk_publish(), to a sharded channel, which belongs to the slot of its name. Servers from 7.0 on have them. */
rk_status rk_publish_sharded(rk_manager *manager,
                             const char *channel,
                             const void *data,
                             size_t data_len,
                             int64_t *receivers,
                             rk_error **err);

/**
 * Any command, its name first. *out becomes the reply, to be freed with rk_reply_free(): a nil is RK_OK and a reply of
 * type RK_REPLY_NIL, an error of the server is a negative status and no reply. A command that blocks in the server
 * (BLPOP, XREAD BLOCK) has its own time and "command_timeout" beyond that. out may be NULL if the reply is not wanted.
 */
rk_status rk_command(rk_manager *manager,
                     const rk_slice *args,
                     size_t n,
                     rk_reply **out,
                     rk_error **err);

/**
 * As rk_command(), with a time of its own for all of it, in milliseconds; -1: as rk_command(). With 0 there is no time
 * for an answer: RK_ERR_TIMEOUT.
 */
rk_status rk_command_within(rk_manager *manager,
                            const rk_slice *args,
                            size_t n,
                            int64_t timeout_ms,
                            rk_reply **out,
                            rk_error **err);

/** As rk_command(), with C strings as arguments: {"ZADD", "scores", "3", "ann"}. */
rk_status rk_command_argv(rk_manager *manager,
                          int n,
                          const char *const *args,
                          rk_reply **out,
                          rk_error **err);

/* ---- Replies ------------------------------------------------------------------------------------
 *
 * A reply is a tree: rk_reply_type_of() says what a node is, the other functions read it. Everything that is read
 * belongs to the tree, and lives until rk_reply_free() of its root. Asking a node for something that it is not, and
 * asking NULL, answers 0, NULL or false.
 */

/** What a reply is. */
enum rk_reply_type RK_INT32 {
    /** Nothing; also the answer for NULL. */
    RK_REPLY_NIL = 0,
    /** A short text such as "OK". */
    RK_REPLY_STATUS = 1,
    /** An error inside an array, as EXEC returns them. A reply that is an error as a whole is a negative status instead. */
    RK_REPLY_ERROR = 2,
    /** A whole number. */
    RK_REPLY_INTEGER = 3,
    /** A number with a fraction. Servers older than Redis 6 send RK_REPLY_BYTES instead. */
    RK_REPLY_DOUBLE = 4,
    /** True or false. Servers older than Redis 6 send RK_REPLY_INTEGER instead. */
    RK_REPLY_BOOL = 5,
    /** A string of any bytes. */
    RK_REPLY_BYTES = 6,
    /** A whole number of any size, as text. */
    RK_REPLY_BIG_NUMBER = 7,
    /** A text to be shown as it is. */
    RK_REPLY_VERBATIM = 8,
    /** Elements in their order. */
    RK_REPLY_ARRAY = 9,
    /** Elements without an order. Servers older than Redis 6 send RK_REPLY_ARRAY instead. */
    RK_REPLY_SET = 10,
    /** Pairs of a key and a value. Servers older than Redis 6 send RK_REPLY_ARRAY, keys and values in turn, instead. */
    RK_REPLY_MAP = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rk_reply_type rk_reply_type;
#else
typedef int32_t rk_reply_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** What a reply is; RK_REPLY_NIL for NULL. */
rk_reply_type rk_reply_type_of(const struct rk_reply *reply);

/** The value of RK_REPLY_INTEGER; 1 or 0 for RK_REPLY_BOOL; 0 for anything else. */
int64_t rk_reply_integer(const struct rk_reply *reply);

/** The value of RK_REPLY_DOUBLE; that of RK_REPLY_INTEGER as a double; 0 for anything else. */
double rk_reply_double(const struct rk_reply *reply);

/** The value of RK_REPLY_BOOL; whether RK_REPLY_INTEGER is other than 0; false for anything else. */
bool rk_reply_bool(const struct rk_reply *reply);

/**
 * The bytes of RK_REPLY_BYTES, _STATUS, _ERROR, _BIG_NUMBER and _VERBATIM; NULL, and a length of 0, for anything else.
 * No zero stands behind them: print them with "%.*s". Empty ones are not NULL. len may be NULL.
 */
const void *rk_reply_bytes(const struct rk_reply *reply,
                           size_t *len);

/** How many elements RK_REPLY_ARRAY and RK_REPLY_SET have, and how many pairs RK_REPLY_MAP; 0 for anything else. */
size_t rk_reply_len(const struct rk_reply *reply);

/**
 * The element at place i, from 0, of RK_REPLY_ARRAY and RK_REPLY_SET; the value of pair i of RK_REPLY_MAP; NULL beyond
 * the end, and for anything else. It takes the same time for every i. Do not free it: it belongs to the root.
 */
const struct rk_reply *rk_reply_at(const struct rk_reply *reply,
                                   size_t i);

/** The key of pair i, from 0, of RK_REPLY_MAP; NULL beyond the end, and for anything else. */
const struct rk_reply *rk_reply_key_at(const struct rk_reply *reply, size_t i);

/** Frees a whole reply, given its root. NULL, and a part of a reply, are nothing to do. */
void rk_reply_free(struct rk_reply *reply);

/* ---- Connections of one's own -------------------------------------------------------------------
 *
 * For what needs a connection of its own: MULTI and EXEC, WATCH, SELECT, SUBSCRIBE. Commands on it go to one node, in
 * order, and nothing is sent twice. Released, it goes back to its pool; if its state was changed, it is closed instead.
 */

/**
 * Takes a connection to a node (url NULL: the one that the manager was opened for) out of its pool. Waits at most
 * timeout_ms (-1: the property "command_timeout") for one that is free, and for the server if it has to be opened.
 * Give it back with rk_connection_release(). out may not be NULL.
 */
rk_status rk_connection_lease(rk_manager *manager,
                              const char *url,
                              int64_t timeout_ms,
                              struct rk_connection **out,
                              rk_error **err);

/**
 * As rk_command(), on this connection. A command that subscribes or unsubscribes is answered by the last of its
 * confirmations; messages, and the lines of MONITOR, are then read by rk_connection_receive(). A reply that CLIENT
 * REPLY leaves out is an RK_REPLY_NIL. After an error of the connection itself, lease another one.
 */
rk_status rk_connection_command(struct rk_connection *connection,
                                const rk_slice *args,
                                size_t n,
                                rk_reply **out,
                                rk_error **err);

/** As rk_connection_command(), with a time of its own, in milliseconds; -1: as rk_connection_command(). */
rk_status rk_connection_command_within(struct rk_connection *connection,
                                       const rk_slice *args,
                                       size_t n,
                                       int64_t timeout_ms,
                                       rk_reply **out,
                                       rk_error **err);

/**
 * The next message on this connection, after SUBSCRIBE and its kin, MONITOR or CLIENT TRACKING: an array such as
 * "message", channel, data; of MONITOR, a text. Waits at most timeout_ms (0: takes what is there; -1: without end);
 * RK_NIL if none came. Messages come in their order; those that arrive while a command waits for its reply are kept.
 */
rk_status rk_connection_receive(struct rk_connection *connection,
                                int64_t timeout_ms,
                                rk_reply **out,
                                rk_error **err);

/** Gives a connection back, and frees it. NULL is nothing to do. */
void rk_connection_release(struct rk_connection *connection);

/* ---- Pipelines and transactions -----------------------------------------------------------------
 *
 * Many commands that go to the server in one go: append them, execute them, read an array of replies. What a pipeline
 * holds is packed as it is appended, and its memory is kept from one use to the next.
 */

/** Makes an empty pipeline for the node that the manager was opened for. out may not be NULL. */
rk_status rk_pipeline_new(rk_manager *manager, struct rk_pipeline **out, rk_error **err);

/**
 * As rk_pipeline_new(), on a leased connection, where MULTI, WATCH and the like may be appended too. After the
 * connection was released, executing returns RK_ERR_CLOSED.
 */
rk_status rk_connection_pipeline_new(rk_connection *connection,
                                     struct rk_pipeline **out,
                                     rk_error **err);

/** Frees a pipeline; commands that were not executed are forgotten. NULL is nothing to do. */
void rk_pipeline_free(struct rk_pipeline *pipeline);

/**
 * Appends a command, its name first. One that changes the state of its connection is RK_ERR_STATEFUL, unless the
 * connection is a leased one. What is refused is not appended, and the pipeline may be used on.
 */
rk_status rk_pipeline_append(struct rk_pipeline *pipeline,
                             const rk_slice *args,
                             size_t n,
                             rk_error **err);

/** Appends the call of a Lua script; see rk_eval(). Its text goes along with its first call in a pipeline only. */
rk_status rk_pipeline_append_eval(struct rk_pipeline *pipeline,
                                  const char *lua,
                                  const rk_slice *keys,
                                  size_t n_keys,
                                  const rk_slice *args,
                                  size_t n_args,
                                  rk_error **err);

/**
 * Whether the commands are executed as one transaction (MULTI, EXEC): all of them, with nobody else's in between, or,
 * if the server refuses one beforehand, none (RK_ERR_EXEC_ABORT). Off, and again after each execution.
 */
rk_status rk_pipeline_set_atomic(struct rk_pipeline *pipeline,
                                 bool atomic,
                                 rk_error **err);

/**
 * The time for the next execution as a whole, in milliseconds; -1: the property "command_timeout", and beyond that
 * what its commands ask to block.
 */
rk_status rk_pipeline_set_timeout(struct rk_pipeline *pipeline,
                                  int64_t timeout_ms,
                                  rk_error **err);

/** How many commands it holds; 0 for NULL. */
size_t rk_pipeline_len(const struct rk_pipeline *pipeline);

/**
 * Sends the commands and reads all replies: *out becomes an array with one element for each command, in their order,
 * an RK_REPLY_ERROR where the server refused one. If the connection breaks, the status says so, there are no replies,
 * and rk_pipeline_outcome() tells what became of each command. The pipeline is empty afterwards, however it ended.
 * Without commands: an empty array, and nothing is sent. out may be NULL if the replies are not wanted.
 */
rk_status rk_pipeline_execute(struct rk_pipeline *pipeline,
                              rk_reply **out,
                              rk_error **err);

/**
 * After an execution that failed: what became of the command at place i, from 0. RK_ANSWERED if it was answered before
 * the failure, and where nothing is known: for a place beyond the last, for NULL, for a pipeline that another thread
 * is using.
 */
rk_outcome rk_pipeline_outcome(const struct rk_pipeline *pipeline,
                               size_t i);

/**
 * Watches keys, lets body read and append commands, and executes those as one transaction, unless somebody changed a
 * watched key meanwhile: then body is called anew, 16 times at most and not after the property "command_timeout" is
 * over; the status is then RK_ERR_WATCHED. Body runs in the caller's thread; if it returns something other than RK_OK,
 * nothing is executed, and the error that it set with rk_error_set() is returned. *out becomes an array with the
 * replies to the appended commands; it may be NULL.
 */
rk_status rk_transaction_run(rk_manager *manager,
                             const rk_slice *keys,
                             size_t n_keys,
                             int32_t (*body)(struct rk_transaction *transaction,
                                             void *userdata,
                                             rk_error **err),
                             void *userdata,
                             rk_reply **out,
                             rk_error **err);

/** Sends a command now, before the transaction: to read what it is to be decided upon. See rk_command(). */
rk_status rk_transaction_read(struct rk_transaction *transaction,
                              const rk_slice *args,
                              size_t n,
                              rk_reply **out,
                              rk_error **err);

/** Appends a command to the transaction. */
rk_status rk_transaction_append(struct rk_transaction *transaction,
                                const rk_slice *args,
                                size_t n,
                                rk_error **err);

/* ---- Scripts, and walking over keys -------------------------------------------------------------
 */

/**
 * Calls a Lua script with its keys and arguments. The server is sent the script's digest, and its text only if it does
 * not know it yet. A script is not repeated when it is not known whether it was executed. out may be NULL if the
 * reply is not wanted.
 */
rk_status rk_eval(rk_manager *manager,
                  const char *lua,
                  const rk_slice *keys,
                  size_t n_keys,
                  const rk_slice *args,
                  size_t n_args,
                  rk_reply **out,
                  rk_error **err);

/** Begins to walk over all keys, or those that match a pattern ("user:*"; NULL: all). out may not be NULL. */
rk_status rk_scan_new(rk_manager *manager,
                      const char *pattern,
                      struct rk_scan **out,
                      rk_error **err);

/**
 * The next key; RK_NIL at the end. A key that is there from the beginning to the end comes; one that comes or goes
 * meanwhile may come or not; and a key may come twice. After an error, the next call goes on where it was. key may
 * not be NULL; what it held is overwritten, not freed.
 */
rk_status rk_scan_next(struct rk_scan *scan,
                       rk_bytes *key,
                       rk_error **err);

/** Ends the walk. NULL is nothing to do. */
void rk_scan_free(struct rk_scan *scan);

/* ---- Locks --------------------------------------------------------------------------------------
 *
 * A lock is made by name, acquired with a wait, and has a lease, which is renewed in the background while it is held. It
 * is kept in the server: threads, processes and machines respect it, and so does redis-py's Lock under the same key,
 * lock:{name}. Whoever dies while holding it holds up others for its lease at most.
 */

/**
 * Makes a lock of this name: the key lock:{name} in the server. lease_ms: for how long the server keeps it when
 * nothing more is heard of its holder; -1: 10 seconds, otherwise at least 1, or RK_ERR_ARGUMENT. Nothing is sent before
 * it is acquired. out may not be NULL.
 */
rk_status rk_lock_new(rk_manager *manager,
                      const char *name,
                      int64_t lease_ms,
                      struct rk_lock **out,
                      rk_error **err);

/**
 * As rk_lock_new(), the reading side of a read and write lock: any number of readers hold it at once, and no writer
 * meanwhile; who comes while a writer waits, waits behind it. The key is rwlock:{name}.
 */
rk_status rk_lock_new_read(rk_manager *manager,
                           const char *name,
                           int64_t lease_ms,
                           struct rk_lock **out,
                           rk_error **err);

/** As rk_lock_new_read(), the writing side: one writer holds it, and no reader meanwhile. */
rk_status rk_lock_new_write(rk_manager *manager,
                            const char *name,
                            int64_t lease_ms,
                            struct rk_lock **out,
                            rk_error **err);

/**
 * As rk_lock_new(), a semaphore: up to most hold it at once, at least 1; all who use it must say the same number. The
 * key is semaphore:{name}.
 */
rk_status rk_lock_new_semaphore(rk_manager *manager,
                                const char *name,
                                uint32_t most,
                                int64_t lease_ms,
                                struct rk_lock **out,
                                rk_error **err);

/**
 * As rk_lock_new(), over n independent servers, an odd number of at least 3: it is held by whoever has it on more than
 * half of them. Of the lease, at least 20 ms, 1 % and 2 ms are given away, because the servers' clocks may run faster
 * than ours. It has no fence, keeps no order, and whoever waits tries again every 10 to 50 ms.
 */
rk_status rk_lock_new_redlock(rk_manager *const *managers,
                              size_t n,
                              const char *name,
                              int64_t lease_ms,
                              struct rk_lock **out,
                              rk_error **err);

/**
 * Sets an option, for acquisitions from then on:
 * "renew" (true): whether the lease is renewed, every third of it, while the lock is held;
 * "max_hold" (off): the longest time for which it may be held, in seconds or with a unit ("90", "500ms");
 * "fair" (false): whether those who wait get it in the order in which they came, whichever process they are in; all
 * users of the lock must say so;
 * "reentrant" (false): whether this handle, or its thread by another handle, may acquire it again while it is held; it
 * is then released as often.
 * RK_ERR_UNKNOWN_PROPERTY, RK_ERR_BAD_VALUE. A Redlock has the first two only.
 */
rk_status rk_lock_option(struct rk_lock *lock,
                         const char *name,
                         const char *value,
                         rk_error **err);

/**
 * Has cb called with the name of the lock when it was lost while this handle held it: within one lease of the last
 * renewal, at most. It is called in a thread of the library's own, "redkeep-lost", one call after the other; it should
 * be quick, may call the library, and must not leave by longjmp(). It may free this lock. Not called after
 * rk_lock_release(). Set it before the lock is acquired, once: a second time is RK_ERR_CONFLICT.
 *
 * userdata_free (NULL: none) is called with userdata exactly once: when the lock was freed and cb does not run any
 * more, which rk_lock_free() waits for; or at once if this call fails.
 */
rk_status rk_lock_on_lost(struct rk_lock *lock,
                          void (*cb)(const char *name, void *userdata),
                          void *userdata,
                          void (*userdata_free)(void *userdata),
                          rk_error **err);

/**
 * Waits at most wait_ms for the lock (0: tries once; -1: no end). RK_ERR_LOCK_TIMEOUT, "Could not acquire lock:
 * lock:{name}", if it was not to be had. What is sent to the server has the property "command_timeout" of its own,
 * whatever the wait. If this handle holds it already, and is not reentrant, RK_ERR_ARGUMENT.
 */
rk_status rk_lock_acquire(struct rk_lock *lock,
                          int64_t wait_ms,
                          rk_error **err);

/** As rk_lock_acquire() without a wait: *acquired tells whether it was to be had. acquired may not be NULL. */
rk_status rk_lock_try_acquire(struct rk_lock *lock,
                              bool *acquired,
                              rk_error **err);

/**
 * Gives the lock back. *was_held (NULL: not wanted) is true if it was still held by this handle until now; false if it
 * was lost before, or never acquired.
 */
rk_status rk_lock_release(struct rk_lock *lock,
                          bool *was_held,
                          rk_error **err);

/**
 * Whether this handle still holds the lock, as far as can be known without asking the server: by a local clock, started
 * before the lock was asked for, that no standstill of the process or the machine stops. False for NULL, and while
 * another thread acquires, releases or changes it.
 */
bool rk_lock_is_held(const struct rk_lock *lock);

/**
 * The number of this acquisition, larger than that of every one before it on this lock: hand it to the store that the
 * lock protects, and let that refuse what comes with a smaller number than it has seen. Its counter never expires; it
 * counts acquisitions by redkeep only. RK_NIL, and 0, if this handle holds nothing, or if it is a Redlock. number may
 * not be NULL.
 */
rk_status rk_lock_fence(const struct rk_lock *lock,
                        int64_t *number,
                        rk_error **err);

/** Frees a lock; if it is held, it is released. NULL is nothing to do. */
void rk_lock_free(struct rk_lock *lock);

/* ---- Rate limits --------------------------------------------------------------------------------
 *
 * At most so many requests within any window of time, for each id: a user, an address, a key of an interface. A check
 * is one round trip, by the server's clock; only what is allowed is counted. What is counted for an id is kept in the
 * key "rate_limit:{id}" (the braces are not part of it), at most one entry of about 30 bytes for each request within
 * the window, and expires with it.
 */

/**
 * A limit of max_requests (-1: 100) within any window of window_ms milliseconds (-1: an hour). Changing either between
 * checks of an id is allowed: what was let through before counts as it did. out may not be NULL.
 */
rk_status rk_limiter_new(rk_manager *manager,
                         int64_t max_requests,
                         int64_t window_ms,
                         struct rk_limiter **out,
                         rk_error **err);

/** Frees a limiter; what it counted stays. NULL is nothing to do. */
void rk_limiter_free(struct rk_limiter *limiter);

/**
 * Sets an option:
 *
 * "algorithm": "sliding" (the default) for an exact sliding window, or "gcra" for a steady rate after a first burst of
 * the whole limit (up to twice the limit in one window, and no more than 100 bytes an id).
 *
 * "when_away": "open" (the default) allows everything while Redis is away, "closed" nothing. Either is logged, and told
 * by a remaining of -1.
 */
rk_status rk_limiter_option(struct rk_limiter *limiter,
                            const char *name,
                            const char *value,
                            rk_error **err);

/**
 * Whether a request of this id is allowed; if so, it is counted as cost, from 1 to the limit: all of it, or nothing.
 * *remaining: how many more of cost 1 would be allowed now; -1 if Redis is away, when *allowed is as the option
 * "when_away" says. *retry_after_ms: the time after which the same check is allowed, if nobody else takes what becomes
 * free; 0 if it was. Outputs may be NULL.
 */
rk_status rk_limiter_check(const struct rk_limiter *limiter,
                           const char *id,
                           int64_t cost,
                           bool *allowed,
                           int64_t *remaining,
                           int64_t *retry_after_ms,
                           rk_error **err);

/**
 * As rk_limiter_check(). *reset_after_ms: the time after which the whole limit is there again, if nobody takes any of
 * it.
 */
rk_status rk_limiter_check_full(const struct rk_limiter *limiter,
                                const char *id,
                                int64_t cost,
                                bool *allowed,
                                int64_t *remaining,
                                int64_t *retry_after_ms,
                                int64_t *reset_after_ms,
                                rk_error **err);

/** What rk_limiter_check_full() would say of a request of cost 1; nothing is counted. */
rk_status rk_limiter_peek(const struct rk_limiter *limiter,
                          const char *id,
                          bool *allowed,
                          int64_t *remaining,
                          int64_t *retry_after_ms,
                          int64_t *reset_after_ms,
                          rk_error **err);

/** Forgets what was counted for an id. *existed, which may be NULL: whether there was something. */
rk_status rk_limiter_reset(const struct rk_limiter *limiter,
                           const char *id,
                           bool *existed,
                           rk_error **err);

/* ---- Sessions -----------------------------------------------------------------------------------
 *
 * A session is a JSON object under the key "session:{id}" (the braces are not part of it): "user_id", "created_at"
 * (seconds since 1970, with a fraction) and the program's data beside them. It expires unless it is touched. Its id is
 * a random UUID (version 4); whoever knows it has the session. An id of anything but letters, digits, -, _ and ., or
 * longer than 128, is RK_ERR_ARGUMENT and is not sent.
 *
 * The sessions of a user are noted under "user_sessions:{user_id}", which cannot live in the same slot of a cluster as
 * the sessions themselves: creating and touching are two steps, in such an order that no live session is missing there.
 */

/** Sessions that live for ttl_seconds (-1: a day) after they were created or last touched. out may not be NULL. */
rk_status rk_sessions_new(rk_manager *manager,
                          int64_t ttl_seconds,
                          struct rk_sessions **out,
                          rk_error **err);

/** Frees the handle; the sessions stay. NULL is nothing to do. */
void rk_sessions_free(struct rk_sessions *sessions);

/**
 * Creates a session. data_json is a JSON object (NULL: an empty one); a field called "user_id" or "created_at" is
 * RK_ERR_ARGUMENT. id may not be NULL; what it held is overwritten, not freed.
 */
rk_status rk_sessions_create(const struct rk_sessions *sessions,
                             const char *user_id,
                             const char *data_json,
                             rk_bytes *id,
                             rk_error **err);

/**
 * The whole session as JSON, "user_id" and "created_at" among its fields. RK_NIL if there is no such session, or none
 * any more. json may not be NULL; what it held is overwritten, not freed.
 */
rk_status rk_sessions_get(const struct rk_sessions *sessions,
                          const char *id,
                          rk_bytes *json,
                          rk_error **err);

/**
 * Sets the fields of data_json, a JSON object, in a session, and takes those out that are null; the others stay as
 * they are, "user_id", "created_at" and the time that the session has left among them. *existed, which may be NULL, is
 * false if there is no such session. Nothing that others change meanwhile is lost; RK_ERR_WATCHED if they never leave
 * off.
 */
rk_status rk_sessions_update(const struct rk_sessions *sessions,
                             const char *id,
                             const char *data_json,
                             bool *existed,
                             rk_error **err);

/**
 * Lets a session live for the whole time again, from now on. *existed, which may be NULL, is false if there is no such
 * session.
 */
rk_status rk_sessions_touch(const struct rk_sessions *sessions,
                            const char *id,
                            bool *existed,
                            rk_error **err);

/** Deletes a session. *existed, which may be NULL, is false if there was none. */
rk_status rk_sessions_delete(const struct rk_sessions *sessions,
                             const char *id,
                             bool *existed,
                             rk_error **err);

/**
 * The ids of a user's live sessions, as a JSON list of strings, in no order. ids_json may not be NULL; what it held is
 * overwritten, not freed.
 */
rk_status rk_sessions_all_of(const struct rk_sessions *sessions,
                             const char *user_id,
                             rk_bytes *ids_json,
                             rk_error **err);

/**
 * Deletes all sessions of a user; one that is created meanwhile may stay. *deleted, which may be NULL: how many those
 * were.
 */
rk_status rk_sessions_delete_all_of(const struct rk_sessions *sessions,
                                    const char *user_id,
                                    int64_t *deleted,
                                    rk_error **err);

/* ---- Cache --------------------------------------------------------------------------------------
 *
 * Results of a function, kept by its arguments, which are JSON: the order of an object's keys does not matter. A hit is
 * one round trip. On a miss the function runs, once for each key in the process and, by a lock, once for each key in
 * all processes; whoever asks meanwhile waits for its result, or gets its error. What goes wrong with Redis is logged,
 * and the function runs; only a manager that was closed is an error. The key is "cache:{namespace}:", with these braces,
 * and the SHA-1 of the arguments: a namespace lives in one slot of a cluster.
 */

/** A cache of this namespace: any text without braces. out may not be NULL. */
rk_status rk_cache_new(rk_manager *manager, const char *ns, struct rk_cache **out, rk_error **err);

/** Frees the handle; what is kept stays. NULL is nothing to do. */
void rk_cache_free(struct rk_cache *cache);

/**
 * Sets an option. All programs that share a namespace should set the same. Times are seconds, or with their unit
 * ("500ms").
 *
 * "expire": how long a value is kept ("3600").
 *
 * "jitter": the share of it, from 0 to 1, by which it is kept less long at most, at random ("0").
 *
 * "early": how eagerly a value is computed anew before it expires, by one caller, while the others go on with the one
 * that is there: 1 is right for most, 0 is never ("0").
 *
 * "negative": how long empty results are kept (null, "", [], {}: there is none); otherwise they are not ("off").
 *
 * "stale": how long after it has expired a value is still served if the function fails ("off").
 *
 * "wait": how long a caller waits for what another computes ("60"); then the status is RK_ERR_TIMEOUT if that is a
 * thread of this process, and the function runs here too if it is another process.
 *
 * "across_processes": whether a function runs in one process at a time for each key; that is two more round trips on a
 * miss ("true").
 *
 * "skip_keys": arguments (keys of the outermost object) that do not matter, with commas between them ("").
 *
 * "only_for": a JSON list of conditions, {"kwarg": "state", "operator": "in", "value": ["used"]}, with the operators in,
 * not in, ==, !=, < and >. Only what is computed for arguments that meet all of them is kept; for others the function
 * just runs. An argument that is not there counts as null ("[]").
 */
rk_status rk_cache_option(struct rk_cache *cache,
                          const char *name,
                          const char *value,
                          rk_error **err);

/**
 * The value for these arguments: the one that is kept, or what compute makes of them. Compute runs in the caller's
 * thread, before this returns, and gets args_json as it was given. It fills json_out with rk_bytes_copy() and returns
 * RK_OK, returns RK_NIL for "there is none" (null), or fails with rk_error_set() and a negative status. What it returns
 * must be JSON (RK_ERR_JSON). If it asks for what it is itself to compute, directly or by way of others, that call
 * returns RK_ERR_DEADLOCK.
 *
 * RK_NIL if the value is null. json may not be NULL; what it held is overwritten, not freed.
 */
rk_status rk_cache_get_or_compute(const struct rk_cache *cache,
                                  const char *args_json,
                                  int32_t (*compute)(const char *args_json,
                                                     rk_bytes *json_out,
                                                     void *userdata,
                                                     rk_error **err),
                                  void *userdata,
                                  rk_bytes *json,
                                  rk_error **err);

/**
 * Forgets the value for these arguments; args_json NULL: all values of the namespace, at once. What is being computed at
 * this moment is not stored.
 */
rk_status rk_cache_invalidate(const struct rk_cache *cache,
                              const char *args_json,
                              rk_error **err);

/* ---- Near cache ---------------------------------------------------------------------------------
 *
 * Copies of values in this process, which the server itself keeps fresh: a read of a key that is known here does not use
 * the network, and when anybody changes the key, the server says so and the copy goes.
 *
 * A thread that reads a key through one near cache never sees a value older than one that it saw before. When a call that
 * writes through the same manager has returned, nobody reads the old value from here any more; what others write is seen
 * when the server's word of it has arrived, usually within a millisecond. Where the connection on which that comes
 * breaks, everything of the node is forgotten.
 *
 * It needs a server from 6.0 on that allows CLIENT TRACKING, and RESP3. Of a node that does not tell of changes nothing
 * is kept: its keys are read from the server each time, and the log says so once.
 */

/**
 * A near cache that takes about max_bytes at most; 0 stands for the property near_cache_bytes. Where that is 0 too,
 * nothing is kept, and every read goes to the server. out may not be NULL.
 */
rk_status rk_near_new(rk_manager *manager,
                      size_t max_bytes,
                      struct rk_near **out,
                      rk_error **err);

/** Frees the handle, and all that it keeps. NULL is nothing to do. */
void rk_near_free(struct rk_near *near);

/**
 * Sets an option; what was kept before is forgotten.
 *
 * "ttl": how long a copy is kept at most, changed or not ("3600"; seconds, or with its unit, "500ms").
 *
 * "prefix": only keys that begin with this are kept, or with one of those given before; and the server tells of changes
 * to no others. Without any, all keys are kept, and the server sends the name of every key that is changed: name those
 * that are wanted where much is written.
 */
rk_status rk_near_option(struct rk_near *near,
                         const char *name,
                         const char *value,
                         rk_error **err);

/** The value of a key; RK_NIL, and {NULL, 0}, if there is no such key. out may not be NULL. */
rk_status rk_near_get(const struct rk_near *near,
                      const void *key,
                      size_t key_len,
                      rk_bytes *out,
                      rk_error **err);

/**
 * The value of a key, copied into the caller's own buffer of cap bytes; nothing is allocated where it is known, and no
 * zero is added. *len becomes the length of the whole value. If that is more than cap, the first cap bytes are copied
 * and RK_TRUNCATED is returned. RK_NIL if there is no such key. buf may be NULL if cap is 0; len may not be NULL.
 */
rk_status rk_near_get_into(const struct rk_near *near,
                           const void *key,
                           size_t key_len,
                           void *buf,
                           size_t cap,
                           size_t *len,
                           rk_error **err);

/**
 * The value of a key as the JSON text that is stored, after checking that it is JSON (RK_ERR_STORED_JSON); RK_NIL if
 * there is no such key. json may not be NULL.
 */
rk_status rk_near_get_json(const struct rk_near *near,
                           const void *key,
                           size_t key_len,
                           rk_bytes *json,
                           rk_error **err);

/**
 * The values of several keys: an array, in their order, with a nil for each that does not exist. Those that are not known
 * are asked for together, of each node. out may not be NULL.
 */
rk_status rk_near_mget(const struct rk_near *near,
                       const rk_slice *keys,
                       size_t n,
                       rk_reply **out,
                       rk_error **err);

/**
 * The value of one field of a hash; RK_NIL if there is no such field. What is kept is what was asked for, not the whole
 * hash. out may not be NULL.
 */
rk_status rk_near_hget(const struct rk_near *near,
                       const void *name,
                       size_t name_len,
                       const void *field,
                       size_t field_len,
                       rk_bytes *out,
                       rk_error **err);

/**
 * All fields of a hash with their values: a map, in no particular order, and an empty one if there is no such key. An
 * rk_near_hget() of the same hash is answered from here too. out may not be NULL.
 */
rk_status rk_near_hgetall(const struct rk_near *near,
                          const void *name,
                          size_t name_len,
                          rk_reply **out,
                          rk_error **err);

/** Forgets everything. */
rk_status rk_near_clear(const struct rk_near *near, rk_error **err);

/**
 * What it has seen in this process so far, as JSON: {"hits", "misses", "invalidations", "evictions", "emptied",
 * "entries", "bytes", "max_bytes", "nodes"}, all of them numbers. An invalidation is a value that was dropped because its
 * key was changed, an eviction one for which there was no more room; "emptied" is how often everything of a node was
 * dropped, and "nodes" how many tell of changes at present. Fields are added, never removed. out may not be NULL.
 */
rk_status rk_near_stats_json(const struct rk_near *near,
                             rk_bytes *out,
                             rk_error **err);

/* ---- Publish and subscribe ----------------------------------------------------------------------
 *
 * A subscriber listens to channels, to patterns of them and to sharded channels, which are added and removed while it
 * runs. What is published is either polled (rk_subscriber_poll(), and a descriptor for epoll), or handed to callbacks:
 * one or the other for one subscriber. To publish, see rk_publish().
 *
 * When the connection is lost it is made anew, and everything is subscribed to again. What was published meanwhile is
 * lost; each subscription is told so once, by an event of type RK_EVENT_GAP or the callback of rk_subscriber_on_gap(),
 * in its place among the messages.
 */

/** What an event tells. */
enum rk_event_type RK_INT32 {
    /** Nothing: the event is NULL. */
    RK_EVENT_NONE = 0,
    /** A message was published. */
    RK_EVENT_MESSAGE = 1,
    /** The connection was lost and is there again: what was published meanwhile is lost to this subscription. */
    RK_EVENT_GAP = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum rk_event_type rk_event_type;
#else
typedef int32_t rk_event_type;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/** Makes a subscriber that listens to nothing yet. out may not be NULL. */
rk_status rk_subscriber_new(rk_manager *manager, struct rk_subscriber **out, rk_error **err);

/**
 * Ends its subscriptions and frees it. It waits for the callbacks that are running, unless it is called in one of them:
 * then their userdata is freed when the last one returns. Its descriptor is closed. NULL is nothing to do.
 */
void rk_subscriber_free(struct rk_subscriber *subscriber);

/**
 * Sets an option by its name:
 *
 * "queue_limit": how many messages may wait to be polled or handled, "10000" unless set; for all of a polled
 * subscriber, for each channel or pattern of one with callbacks.
 *
 * "queue_bytes": how many bytes of messages may wait in the same way, about, "67108864" unless set. One message may
 * wait however large it is.
 *
 * "overflow": what happens to a message for which there is no room: "drop_oldest" (unless set) makes room for it,
 * "drop_newest" drops it. rk_subscriber_stats_json() counts what was dropped.
 *
 * RK_ERR_UNKNOWN_PROPERTY for another name, RK_ERR_BAD_VALUE for another value.
 */
rk_status rk_subscriber_option(struct rk_subscriber *subscriber,
                               const char *name,
                               const char *value,
                               rk_error **err);

/**
 * Subscribes to a channel, and returns when the server has confirmed it: what is published from then on comes. Waits
 * "command_timeout" at most. Adding what was added before does nothing. A refusal (RK_ERR_NO_PERMISSION where an ACL
 * forbids the channel) leaves the other subscriptions alone.
 */
rk_status rk_subscriber_add(struct rk_subscriber *subscriber,
                            const char *channel,
                            rk_error **err);

/**
 * As rk_subscriber_add(), to all channels whose names match: "?" is any character, "*" any number of them, "[ab]" one of
 * these. A message whose channel matches several of its subscriptions comes once for each.
 */
rk_status rk_subscriber_add_pattern(struct rk_subscriber *subscriber,
                                    const char *pattern,
                                    rk_error **err);

/** As rk_subscriber_add(), to a sharded channel, which belongs to the slot of its name; see rk_publish_sharded(). */
rk_status rk_subscriber_add_sharded(struct rk_subscriber *subscriber,
                                    const char *channel,
                                    rk_error **err);

/**
 * Ends the subscription to a channel; RK_NIL if there is none. What waits of it is forgotten. A callback that runs at
 * this moment is not waited for.
 */
rk_status rk_subscriber_remove(struct rk_subscriber *subscriber,
                               const char *channel,
                               rk_error **err);

/** As rk_subscriber_remove(), for a pattern. */
rk_status rk_subscriber_remove_pattern(struct rk_subscriber *subscriber,
                                       const char *pattern,
                                       rk_error **err);

/** As rk_subscriber_remove(), for a sharded channel. */
rk_status rk_subscriber_remove_sharded(struct rk_subscriber *subscriber,
                                       const char *channel,
                                       rk_error **err);

/**
 * Has every message handed to cb, in the manager's worker threads (property "workers"): one after the other for each
 * channel or pattern added, at the same time for different ones. It is set once, before anything is added; after
 * that, or after polling, RK_ERR_CONFLICT.
 *
 * channel is the one published to; data are len bytes, with no zero behind them. Both live as long as the call. cb may
 * call the library, rk_subscriber_free() of this subscriber too. It must return, and not leave by longjmp().
 *
 * userdata_free (NULL: none) is called with userdata exactly once: when the subscriber was freed and no callback runs
 * any more, or at once if this call fails.
 */
rk_status rk_subscriber_on_message(struct rk_subscriber *subscriber,
                                   void (*cb)(const char *channel,
                                              const void *data,
                                              size_t len,
                                              void *userdata),
                                   void *userdata,
                                   void (*userdata_free)(void *userdata),
                                   rk_error **err);

/**
 * Has cb called for every gap, in its place among the messages of that subscription: channel is the channel, or the
 * pattern, that was subscribed to. Otherwise as rk_subscriber_on_message(), without which it is of no use.
 */
rk_status rk_subscriber_on_gap(struct rk_subscriber *subscriber,
                               void (*cb)(const char *channel, void *userdata),
                               void *userdata,
                               void (*userdata_free)(void *userdata),
                               rk_error **err);

/**
 * The next event, waiting for it timeout_ms at most: 0 only looks, -1 waits without end. RK_NIL and NULL if nothing came;
 * RK_ERR_CLOSED when the manager was closed; RK_ERR_CONFLICT for a subscriber with callbacks. Free the event with
 * rk_event_free(). out may not be NULL.
 */
rk_status rk_subscriber_poll(struct rk_subscriber *subscriber,
                             int64_t timeout_ms,
                             struct rk_event **out,
                             rk_error **err);

/**
 * A descriptor for select(), poll() or epoll, which is readable while there is something to poll, RK_ERR_CLOSED among
 * it. It belongs to the subscriber: neither read nor close it. -1 for NULL, for a subscriber with callbacks, and when
 * the system has no descriptor left.
 */
int rk_subscriber_fd(const struct rk_subscriber *subscriber);

/**
 * What the subscriber has seen so far, as JSON. Fields are added, never removed: subscriptions (now), received
 * (messages that came from the server), delivered (messages and gaps that were polled or handed to a callback), dropped
 * (messages for which there was no room), gaps, failed (always 0 in C), waiting (now). json may not be NULL; what it
 * held is overwritten, not freed.
 */
rk_status rk_subscriber_stats_json(struct rk_subscriber *subscriber,
                                   rk_bytes *json,
                                   rk_error **err);

/** What the event tells; RK_EVENT_NONE for NULL. */
rk_event_type rk_event_kind(const struct rk_event *event);

/** The channel: of a message the one published to, of a gap the one subscribed to (NULL if that was a pattern). */
const char *rk_event_channel(const struct rk_event *event);

/** The pattern that was subscribed to; NULL if it was a channel. */
const char *rk_event_pattern(const struct rk_event *event);

/** What was published: *len bytes, with no zero behind them. NULL and 0 for anything but a message. len may be NULL. */
const void *rk_event_data(const struct rk_event *event,
                          size_t *len);

/** Frees an event. NULL is nothing to do. */
void rk_event_free(struct rk_event *event);

/* ---- Streams: senders ---------------------------------------------------------------------------
 *
 * Messages go to channels, which are Redis streams: a name, by which handlers know what a message is about, and a body,
 * which is JSON. On the wire they are the fields "name" and "body" of a stream's entry.
 */

/** Makes a sender without channels. out may not be NULL. */
rk_status rk_sender_new(rk_manager *manager, struct rk_sender **out, rk_error **err);

/** Frees a sender. NULL is nothing to do. */
void rk_sender_free(struct rk_sender *sender);

/** Names a channel that may be sent to; sending to another is RK_ERR_ARGUMENT. Nothing is asked of the server. */
rk_status rk_sender_register_channel(struct rk_sender *sender,
                                     const char *channel,
                                     rk_error **err);

/**
 * As rk_sender_register_channel(), with a limit for the stream: {"max_length": entries} or {"max_age": seconds, by this
 * machine's clock}. The server removes whole blocks of about a hundred entries, unless "exact" is true. What is
 * trimmed is gone, also for those who have not read it. options_json NULL: no limit. An unknown name is
 * RK_ERR_ARGUMENT.
 */
rk_status rk_sender_register_channel_with(struct rk_sender *sender,
                                          const char *channel,
                                          const char *options_json,
                                          rk_error **err);

/**
 * Sends a message; *id becomes that of its entry (NULL: not wanted). body_json is checked to be JSON: RK_ERR_JSON. Where
 * rk_error_outcome() is RK_OUTCOME_UNKNOWN, the message may have been sent, and it is not sent again by itself; see
 * rk_sender_send_once().
 */
rk_status rk_sender_send(struct rk_sender *sender,
                         const char *channel,
                         const char *name,
                         const char *body_json,
                         rk_bytes *id,
                         rk_error **err);

/**
 * Sends a message at most once for this key, within 24 hours: if one was sent with it before, nothing is sent, and *id
 * is that one's. Call it again after an unknown outcome.
 */
rk_status rk_sender_send_once(struct rk_sender *sender,
                              const char *channel,
                              const char *name,
                              const char *body_json,
                              const char *key,
                              rk_bytes *id,
                              rk_error **err);

/**
 * Sends many messages in one go: n pairs of slices, each a name and a body in JSON, which must be UTF-8. *ids becomes an
 * array with the id of each (NULL: not wanted). Should the server refuse some of them, the error says how many;
 * should the connection break, its outcome is that of all of them together.
 */
rk_status rk_sender_send_many(struct rk_sender *sender,
                              const char *channel,
                              const rk_slice *messages,
                              size_t n,
                              rk_reply **ids,
                              rk_error **err);

/**
 * Sends the messages of the channel's dead-letter stream ("{orders}:dead" for "orders") once more, the oldest first,
 * most of them at most, and takes them out of it; *moved becomes how many (NULL: not wanted). They get new ids, and
 * every listener of the channel sees them again.
 */
rk_status rk_sender_redrive(struct rk_sender *sender,
                            const char *channel,
                            int64_t most,
                            int64_t *moved,
                            rk_error **err);

/* ---- Streams: messages --------------------------------------------------------------------------
 *
 * A message that came: what a handler is given, and what rk_consumer_poll() returns.
 */

/** Its id in the stream: milliseconds, a hyphen, a number. NULL for NULL. */
const char *rk_message_id(const struct rk_message *message);

/** The channel it came from. NULL for NULL. */
const char *rk_message_channel(const struct rk_message *message);

/** What it is about. NULL for NULL. */
const char *rk_message_name(const struct rk_message *message);

/** The body, which is JSON. NULL for NULL. */
const char *rk_message_body(const struct rk_message *message);

/** How often it was delivered, to whomever, this time included. 0 for NULL. */
int64_t rk_message_deliveries(const struct rk_message *message);

/**
 * A polled message was handled: it will be acknowledged, together with others, before anything else is read.
 * RK_ERR_ARGUMENT for one that was acknowledged or failed before, and in a handler, whose result says it.
 */
rk_status rk_message_ack(const struct rk_message *message,
                         rk_error **err);

/**
 * A message could not be handled: it is delivered again after a pause, or goes to the dead-letter stream, with this
 * reason, when it was delivered often enough. In a handler, this says why, and the handler then returns something
 * other than RK_OK. RK_ERR_ARGUMENT for one that was acknowledged or failed before.
 */
rk_status rk_message_fail(const struct rk_message *message,
                          const char *reason,
                          rk_error **err);

/**
 * Frees a polled message. If it was neither acknowledged nor failed, it stays pending, and is delivered again after
 * "claim_idle". NULL is nothing to do.
 */
void rk_message_free(struct rk_message *message);

/* ---- Streams: consumers -------------------------------------------------------------------------
 *
 * A consumer receives the messages of channels in the name of a listener. All consumers of one listener share them;
 * another listener gets all of them again.
 *
 * It is used in one of three ways: rk_consumer_start(), after which handlers run on the manager's worker threads
 * (with a single channel and a concurrency of 1, on the thread that reads it) until rk_consumer_stop();
 * rk_consumer_consume(), rk_consumer_persist() and their likes, which call handlers in the caller's thread; or
 * rk_consumer_poll(), without handlers, whose descriptor may be given to select, poll or epoll.
 */

/** Makes a consumer without channels, in the name of a listener. out may not be NULL. */
rk_status rk_consumer_new(rk_manager *manager,
                          const char *listener,
                          struct rk_consumer **out,
                          rk_error **err);

/**
 * Stops a consumer and frees it. Waits for handlers under way; called in a handler, it does not wait, and takes effect
 * when that returns. NULL is nothing to do.
 */
void rk_consumer_free(struct rk_consumer *consumer);

/**
 * Names a channel, and how it is to be consumed. options_json is NULL, or an object with any of these; times are in
 * seconds; an unknown name is RK_ERR_ARGUMENT.
 *
 * "from": "beginning" (default) or "now": where a group begins that is not there yet. "consumers": the listeners of the
 * channel; their groups are made now, and clean-up waits for all of them. "read_messages": true. "message_cleanup":
 * false; whether entries that every group has acknowledged are deleted, in the background too. "delivery":
 * "at_least_once" (default: acknowledged after the handler), "at_most_once" (before it), or "ledger" (at least once, but
 * what stands in the ledger is not handled again). "max_deliveries": 5; then a message goes to the dead-letter stream.
 * "concurrency": 1; how many handlers run at once after rk_consumer_start(). "count": 128; how many messages are read at
 * once. "order_by": with a concurrency of more than 1, what keeps its order: "name", or a JSON pointer into the body.
 * "backoff": 1, "max_backoff": 30; the pause before a failed message is tried again. "claim_idle": 60; after which
 * silence a consumer's messages are taken over. "ledger_window": 604800. "cleanup_interval": 30. "consumer_idle": 3600;
 * after which a silent consumer without messages is removed, if "message_cleanup" is on.
 */
rk_status rk_consumer_register_channel(struct rk_consumer *consumer,
                                       const char *channel,
                                       const char *options_json,
                                       rk_error **err);

/**
 * Says what handles the messages of a channel. cb returns RK_OK, or something else, and then the message is delivered
 * again after a pause, and put into the dead-letter stream after "max_deliveries"; rk_message_fail() tells why. It is
 * called on a thread of the library's, on several at once if so asked for ("concurrency"), or in the thread of
 * rk_consumer_consume() and its likes; no lock is held, and it may call the library. It must return: one that never does
 * holds its thread for ever, and one that leaves by longjmp() or an exception leaves the library undone.
 *
 * userdata_free (NULL: none) is called with userdata exactly once: when the consumer has ended, or at once if this call
 * fails.
 */
rk_status rk_consumer_register_handler(struct rk_consumer *consumer,
                                       const char *channel,
                                       int32_t (*cb)(const rk_message *message, void *userdata),
                                       void *userdata,
                                       void (*userdata_free)(void *userdata),
                                       rk_error **err);

/**
 * Reads one batch of a channel's messages and handles them in this thread; *handled becomes how many came (NULL: not
 * wanted). Waits for the first of them for block_ms at most (-1: 1 s). group NULL: "{channel}:{listener}:cg", with their
 * names in place of the braces.
 */
rk_status rk_consumer_consume(struct rk_consumer *consumer,
                              const char *channel,
                              const char *group,
                              int64_t block_ms,
                              int64_t *handled,
                              rk_error **err);

/** As rk_consumer_consume(), for one batch of each registered channel. */
rk_status rk_consumer_consume_all(struct rk_consumer *consumer,
                                  int64_t block_ms,
                                  int64_t *handled,
                                  rk_error **err);

/**
 * Reads and handles messages in this thread, again and again, until rk_consumer_stop() is called in another thread or
 * in a handler. channel NULL: all registered channels (group must then be NULL too). After a round that was empty or
 * failed, it rests for rest_ms (-1: 5 s; 0: not at all after an empty one); failures are logged.
 */
rk_status rk_consumer_persist(struct rk_consumer *consumer,
                              const char *channel,
                              const char *group,
                              int64_t rest_ms,
                              int64_t block_ms,
                              rk_error **err);

/**
 * Begins to consume all channels in the background, and returns. A round waits for messages for block_ms at most (-1:
 * 1 s); after an empty or a failed one, the consumer rests for rest_ms (-1: 5 s; 0: messages are handled as soon as they
 * come).
 */
rk_status rk_consumer_start(struct rk_consumer *consumer,
                            int64_t rest_ms,
                            int64_t block_ms,
                            rk_error **err);

/**
 * Ends it: no handler is begun any more, those under way are waited for, what they have handled is acknowledged, and
 * what was read and not begun is given back. RK_ERR_TIMEOUT: a handler still ran after timeout_ms (-1: no end); its
 * message is acknowledged if it succeeds after all. Called in a handler, it does not wait. A stopped consumer stays
 * stopped.
 */
rk_status rk_consumer_stop(struct rk_consumer *consumer,
                           int64_t timeout_ms,
                           rk_error **err);

/**
 * The next message, for programs without handlers: RK_OK and *out, or RK_NIL if none comes within timeout_ms (-1: no
 * end). Say what became of it with rk_message_ack() or rk_message_fail(), and free it. From the first call on, messages
 * are read in the background. RK_ERR_CLOSED once the consumer was stopped. out may not be NULL.
 */
rk_status rk_consumer_poll(struct rk_consumer *consumer,
                           int64_t timeout_ms,
                           rk_message **out,
                           rk_error **err);

/**
 * A descriptor that select, poll and epoll find readable while rk_consumer_poll() has something to return at once, the
 * news that the consumer was stopped included. It belongs to the consumer: do not read or close it. -1 for NULL, and
 * where rk_consumer_poll() would fail.
 */
int rk_consumer_fd(const struct rk_consumer *consumer);

/**
 * Deletes the entries that every group of the channel has read and acknowledged, in the channels that were registered
 * with "message_cleanup"; *deleted becomes how many (NULL: not wanted). What a group has still to read or to acknowledge
 * stays, and so does everything while a group of one of the "consumers" is missing.
 */
rk_status rk_consumer_clean_up(struct rk_consumer *consumer,
                               int64_t *deleted,
                               rk_error **err);

/**
 * What is counted of each channel, as JSON: {"consumer": name, "channels": [...]}, each channel with "channel", "group",
 * "lag" and "pending" (of the group, null if the server did not tell), "in_hand" (messages in this consumer's hands),
 * "delivered", "handled", "failed", "reclaimed", "recovered", "repeated", "dead", "trimmed", "cleaned", and
 * "handler_time" ("seconds" in all, and "buckets": how many calls, "count", took up to "le" seconds). Fields are added,
 * never removed. json may not be NULL.
 */
rk_status rk_consumer_stats_json(struct rk_consumer *consumer,
                                 rk_bytes *json,
                                 rk_error **err);

/** The same as text for Prometheus, in its exposition format. text may not be NULL. */
rk_status rk_consumer_stats_prometheus(struct rk_consumer *consumer,
                                       rk_bytes *text,
                                       rk_error **err);

/* ---- Log ----------------------------------------------------------------------------------------
 *
 * The library is silent unless told otherwise. What it tells is about nodes that go and come back; keys, values and
 * passwords are never part of it.
 */

/**
 * Sets who is told what happens, for the whole process, in place of whoever was told before. level: 1 errors, 2 also
 * warnings, 3 also information, 4 also details, 5 everything; 0 nothing. cb NULL: nobody is told any more.
 *
 * cb is called in the thread in which it happens: one that called the library, or one of the library's own. Several
 * threads may call it at the same time. It must not call the library, and should be quick. target says which part
 * speaks, and text what it says; both live as long as the call.
 *
 * userdata_free (NULL: none) is called with userdata exactly once: when another callback was set and no thread is
 * inside this one any more, which the call that sets the other waits for; or at once, if this call fails or cb is
 * NULL. RK_ERR_ARGUMENT for another level; RK_ERR_CONFIG if the program is a Rust program with a logger of its own.
 *
 * Thread safety: any number of threads at the same time.
 */
rk_status rk_log_set_callback(int32_t level,
                              void (*cb)(int32_t level,
                                         const char *target,
                                         const char *text,
                                         void *userdata),
                              void *userdata,
                              void (*userdata_free)(void *userdata));

/* ---- Tracing ------------------------------------------------------------------------------------
 *
 * Who wants to trace or measure commands is told of each of them, before and after.
 */

/**
 * Has every command told to before, right before it is sent, and to after, when it is over; either may be NULL. What
 * before returns, a span say, is handed to after. Managers opened with the configuration from then on do so. Another
 * call sets others; both NULL: nobody is told any more.
 *
 * Both are called in the thread that makes the call: mostly one of the program's own; for what the library does by
 * itself, such as renewing locks, one of the library's, and then a callback that dallies holds that up. Several
 * threads may call them at the same time. They may call the library; what they call is not told. Told are single
 * commands, pipelines (as one) and those on leased connections; not the reading of consumers and subscribers, nor
 * health checks. Without a hook, nothing is measured.
 *
 * userdata_free (NULL: none) is called with userdata exactly once: when the configuration is freed or has other
 * callbacks, every manager that was opened with it is freed, and neither is running; or at once, if this call fails or
 * both are NULL.
 */
rk_status rk_config_set_command_hook(rk_config *config,
                                     void *(*before)(const struct rk_call *call, void *userdata),
                                     void (*after)(const struct rk_call *call,
                                                   void *span,
                                                   void *userdata),
                                     void *userdata,
                                     void (*userdata_free)(void *userdata),
                                     rk_error **err);

/** The name of the command, in capitals; "PIPELINE" or "MULTI" where several are sent together. Never keys or values. */
const char *rk_call_name(const struct rk_call *call);

/** How many commands are sent: 1, or those of the pipeline. */
size_t rk_call_commands(const struct rk_call *call);

/**
 * The node that it was sent to last, as "host:port" or the path of its socket. NULL before it is over, if it came to
 * no node, and if it was sent to several at once.
 */
const char *rk_call_node(const struct rk_call *call);

/**
 * What the caller is told, which belongs to the call: do not free it. NULL before it is over, and if it succeeded.
 * Errors among the replies of a pipeline are no error here.
 */
const rk_error *rk_call_error(const struct rk_call *call);

/**
 * How often it was sent, or tried to be; more than once after a retry or a redirection. 0 for a pipeline that went to
 * several nodes at once.
 */
uint32_t rk_call_tries(const struct rk_call *call);

/**
 * How long it took, in microseconds. part NULL: as a whole. Otherwise the part of it that went to "wait" (for a
 * connection, for its turn on a shared line, between two tries, and all that is none of the others), "connect",
 * "write", "server" (from the last byte sent to the first received) or "read"; together they are the whole. 0 before
 * it is over; -1 for another part.
 */
int64_t rk_call_microseconds(const struct rk_call *call,
                             const char *part);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* REDKEEP_H */
