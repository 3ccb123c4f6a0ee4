/* Status names, errors and what they tell, errors made by callbacks. */
#include "keep.h"

static void names(void)
{
    CHECK_STR(rk_status_name(RK_OK), "RK_OK");
    CHECK_STR(rk_status_name(RK_TRUNCATED), "RK_TRUNCATED");
    CHECK_STR(rk_status_name(RK_ERR_ARGUMENT), "RK_ERR_ARGUMENT");
    CHECK_STR(rk_status_name(RK_ERR_SYSTEM), "RK_ERR_SYSTEM");
    CHECK_STR(rk_status_name((rk_status)12345), "RK_ERR_?");
}

static void nothing(void)
{
    CHECK_EQ_INT(rk_error_status(NULL), RK_OK);
    CHECK_STR(rk_error_message(NULL), "no error");
    CHECK_STR(rk_error_server_code(NULL), NULL);
    CHECK_STR(rk_error_node(NULL), NULL);
    CHECK(!rk_error_is_retriable(NULL));
    CHECK_EQ_INT(rk_error_outcome(NULL), RK_NOT_SENT);
    rk_error_free(NULL);
}

static void made(void)
{
    rk_error_set(&err, RK_ERR_TIMEOUT, "the oracle is silent");
    CHECK_EQ_INT(rk_error_status(err), RK_ERR_TIMEOUT);
    CHECK_STR(rk_error_message(err), "the oracle is silent");
    CHECK(rk_error_is_retriable(err));
    CHECK_STR(rk_error_node(err), NULL);

    rk_error_set(&err, RK_ERR_JSON, NULL); /* frees the one before */
    CHECK_STR(rk_error_message(err), "RK_ERR_JSON");
    CHECK(!rk_error_is_retriable(err));

    rk_error_set(&err, RK_OK, "not an error"); /* not negative */
    CHECK_EQ_INT(rk_error_status(err), RK_ERR_INTERNAL);
    rk_error_set(&err, (rk_status)-77, "not a status");
    CHECK_EQ_INT(rk_error_status(err), RK_ERR_INTERNAL);
    CHECK_STR(rk_error_message(err), "not a status");
    rk_error_set(NULL, RK_ERR_JSON, "nobody listens");
    done();
}

static void from_the_server(rk_manager *keep)
{
    const char *const push[] = {"LPUSH", "list", "one"};
    const char *const wrong[] = {"NOSUCHCOMMAND"};
    rk_bytes value = RK_BYTES_INIT;

    OK(rk_command_argv(keep, 3, push, NULL, &err));
    FAILS(RK_ERR_WRONG_TYPE, rk_get(keep, TEXT("list"), &value, &err));
    CHECK_STR(rk_error_server_code(err), "WRONGTYPE");
    HAS(url_of("RK_TEST_URL"), rk_error_node(err));
    HAS(rk_error_message(err), rk_error_node(err));
    HAS(rk_error_message(err), "WRONGTYPE Operation against a key");
    CHECK_EQ_INT(rk_error_outcome(err), RK_REFUSED);
    CHECK(!rk_error_is_retriable(err));
    CHECK(value.data == NULL);
    done();

    FAILS(RK_ERR_SERVER, rk_command_argv(keep, 1, wrong, NULL, &err));
    CHECK_STR(rk_error_server_code(err), "ERR");
    done();

    /* Without an error to fill, the status tells all the same; and a success clears an old error's place. */
    CHECK_EQ_INT(rk_get(keep, TEXT("list"), &value, NULL), RK_ERR_WRONG_TYPE);
    err = (rk_error *)(void *)&value;
    CHECK_EQ_INT(rk_ping(keep, &err), RK_OK);
    CHECK(err == NULL);
}

static void of_arguments(void)
{
    FAILS(RK_ERR_ARGUMENT, rk_ping(NULL, &err));
    CHECK_STR(rk_error_message(err), "manager: NULL");
    CHECK_EQ_INT(rk_error_outcome(err), RK_NOT_SENT);
    done();
}

int main(void)
{
    rk_manager *keep = open_keep();
    names();
    nothing();
    made();
    from_the_server(keep);
    of_arguments();
    rk_manager_free(keep);
    return 0;
}
