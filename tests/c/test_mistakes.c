/* The mistakes of mistakes.h, through C. */
#include "keep.h"

static rk_status config_with(const char *name, const char *value)
{
    rk_config *config = rk_config_new();
    const rk_status status = rk_config_set(config, name, value, &err);
    rk_config_free(config);
    return status;
}

static rk_status lock_with(rk_manager *keep, const char *name, const char *value)
{
    rk_lock *lock = NULL;
    rk_status status;
    OK(rk_lock_new(keep, "l", 1000, &lock, &err));
    status = rk_lock_option(lock, name, value, &err);
    rk_lock_free(lock);
    return status;
}

static rk_status made(rk_manager *keep, const char *name, int64_t lease_ms)
{
    rk_lock *lock = NULL;
    return rk_lock_new(keep, name, lease_ms, &lock, &err);
}

static rk_status set(rk_manager *keep, int64_t seconds, int64_t milliseconds)
{
    rk_set_options *options = rk_set_options_new();
    rk_status status;
    if (seconds >= 0)
        rk_set_options_ex(options, seconds);
    if (milliseconds >= 0)
        rk_set_options_px(options, milliseconds);
    status = rk_set_with(keep, TEXT("k"), TEXT("v"), options, NULL, &err);
    rk_set_options_free(options);
    return status;
}

static rk_status unknown_property(rk_manager *keep) { return (void)keep, config_with("colour", "red"); }
static rk_status value_out_of_range(rk_manager *keep) { return (void)keep, config_with("max_connections", "0"); }
static rk_status no_number(rk_manager *keep) { return (void)keep, config_with("max_connections", "many"); }
static rk_status unknown_fault(rk_manager *keep) { return rk_manager_embedded_fault(keep, "nap", &err); }
static rk_status unnamed_lock(rk_manager *keep) { return made(keep, "", 1000); }
static rk_status lease_of_nothing(rk_manager *keep) { return made(keep, "l", 0); }
static rk_status unknown_option(rk_manager *keep) { return lock_with(keep, "colour", "red"); }
static rk_status option_out_of_range(rk_manager *keep) { return lock_with(keep, "max_hold", "soon"); }
static rk_status two_expiries(rk_manager *keep) { return set(keep, 5, 5); }
static rk_status expires_at_once(rk_manager *keep) { return set(keep, 0, -1); }

static rk_status bad_url(rk_manager *keep)
{
    rk_manager *other = NULL;
    return (void)keep, rk_manager_open("http://localhost", &other, &err);
}

static rk_status transaction_by_command(rk_manager *keep)
{
    const char *const multi[] = {"MULTI"};
    return rk_command_argv(keep, 1, multi, NULL, &err);
}

static rk_status unnamed_listener(rk_manager *keep)
{
    rk_consumer *consumer = NULL;
    return rk_consumer_new(keep, "", &consumer, &err);
}

static rk_status unnamed_channel(rk_manager *keep)
{
    rk_sender *sender = NULL;
    rk_status status;
    OK(rk_sender_new(keep, &sender, &err));
    status = rk_sender_register_channel(sender, "", &err);
    rk_sender_free(sender);
    return status;
}

int main(void)
{
    rk_manager *keep = open_keep();
#define MISTAKE(name, status, text)                                                                                    \
    FAILS(status, name(keep));                                                                                         \
    CHECK_STR(rk_error_message(err), text);                                                                            \
    done();
#include "mistakes.h"
    rk_manager_free(keep);
    return 0;
}
