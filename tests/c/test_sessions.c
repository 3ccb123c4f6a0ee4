/* Sessions. */
#include <stdint.h>

#include "keep.h"

static void a_life(rk_manager *keep)
{
    rk_sessions *sessions = NULL;
    rk_bytes id = RK_BYTES_INIT, second = RK_BYTES_INIT, json = RK_BYTES_INIT;
    bool existed = false;
    int64_t deleted = -1;

    OK(rk_sessions_new(keep, -1, &sessions, &err));
    OK(rk_sessions_create(sessions, "user:1", "{\"theme\": \"dark\"}", &id, &err));
    CHECK_EQ_INT(id.len, 36);
    OK(rk_sessions_get(sessions, (char *)id.data, &json, &err));
    HAS((char *)json.data, "\"user_id\":\"user:1\"");
    HAS((char *)json.data, "\"created_at\":");
    HAS((char *)json.data, "\"theme\":\"dark\"");
    rk_bytes_free(&json);

    OK(rk_sessions_update(sessions, (char *)id.data, "{\"theme\": null, \"cart\": [7]}", &existed, &err));
    CHECK(existed);
    OK(rk_sessions_get(sessions, (char *)id.data, &json, &err));
    HAS((char *)json.data, "\"cart\":[7]");
    HAS((char *)json.data, "\"created_at\":");
    CHECK(strstr((char *)json.data, "theme") == NULL);
    rk_bytes_free(&json);
    OK(rk_sessions_touch(sessions, (char *)id.data, &existed, &err));
    CHECK(existed);

    OK(rk_sessions_create(sessions, "user:1", NULL, &second, &err));
    OK(rk_sessions_all_of(sessions, "user:1", &json, &err));
    CHECK_EQ_INT(json.len, 2 * 38 + 3);
    HAS((char *)json.data, (char *)id.data);
    HAS((char *)json.data, (char *)second.data);
    rk_bytes_free(&json);
    OK(rk_sessions_delete(sessions, (char *)second.data, &existed, &err));
    CHECK(existed);
    OK(rk_sessions_delete(sessions, (char *)second.data, &existed, &err));
    CHECK(!existed);
    OK(rk_sessions_delete_all_of(sessions, "user:1", &deleted, &err));
    CHECK_EQ_INT(deleted, 1);
    OK(rk_sessions_delete_all_of(sessions, "user:1", NULL, &err));
    OK(rk_sessions_all_of(sessions, "user:1", &json, &err));
    BYTES(json, "[]");

    STATUS(RK_NIL, rk_sessions_get(sessions, (char *)id.data, &json, &err));
    CHECK(json.data == NULL);
    OK(rk_sessions_touch(sessions, (char *)id.data, &existed, &err));
    CHECK(!existed);
    OK(rk_sessions_update(sessions, (char *)id.data, "{}", &existed, &err));
    CHECK(!existed);
    rk_bytes_free(&id);
    rk_bytes_free(&second);
    rk_sessions_free(sessions);
}

static void bad_input(rk_manager *keep)
{
    static const char *const odd[] = {"", "a b", "{a}", "*", "a\r\nb", "\xc3\xa9"};
    rk_sessions *sessions = NULL;
    rk_bytes out = RK_BYTES_INIT;
    bool existed = true;
    size_t i;

    FAILS(RK_ERR_ARGUMENT, rk_sessions_new(keep, 0, &sessions, &err));
    HAS(rk_error_message(err), "ttl_seconds: 0");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_sessions_new(keep, -2, &sessions, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_new(keep, INT64_MAX, &sessions, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_new(NULL, 5, &sessions, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_new(keep, 5, NULL, &err));
    CHECK(sessions == NULL);

    OK(rk_sessions_new(keep, 100, &sessions, &err));
    for (i = 0; i < sizeof odd / sizeof *odd; i++) {
        FAILS(RK_ERR_ARGUMENT, rk_sessions_get(sessions, odd[i], &out, &err));
        HAS(rk_error_message(err), "id: ");
        done();
        STATUS(RK_ERR_ARGUMENT, rk_sessions_touch(sessions, odd[i], &existed, &err));
        STATUS(RK_ERR_ARGUMENT, rk_sessions_delete(sessions, odd[i], &existed, &err));
        STATUS(RK_ERR_ARGUMENT, rk_sessions_update(sessions, odd[i], "{}", &existed, &err));
        CHECK(!existed);
    }
    STATUS(RK_ERR_ARGUMENT, rk_sessions_get(sessions, "\xff", &out, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_get(sessions, NULL, &out, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_get(sessions, "a", NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_get(NULL, "a", &out, &err));
    STATUS(RK_ERR_JSON, rk_sessions_create(sessions, "u", "[1]", &out, &err));
    STATUS(RK_ERR_JSON, rk_sessions_create(sessions, "u", "{", &out, &err));
    FAILS(RK_ERR_ARGUMENT, rk_sessions_create(sessions, "u", "{\"user_id\": 5}", &out, &err));
    HAS(rk_error_message(err), "user_id");
    done();
    STATUS(RK_ERR_ARGUMENT, rk_sessions_create(sessions, "u", "{\"created_at\": 5}", &out, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_create(sessions, "", "{}", &out, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_create(sessions, NULL, "{}", &out, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_create(sessions, "u", "{}", NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_update(sessions, "a", NULL, &existed, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_all_of(sessions, "u", NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_all_of(sessions, "", &out, &err));
    STATUS(RK_ERR_ARGUMENT, rk_sessions_delete_all_of(NULL, "u", NULL, &err));
    CHECK(out.data == NULL);
    rk_sessions_free(sessions);
    rk_sessions_free(NULL);
}

int main(void)
{
    rk_manager *keep = open_keep();
    rk_sessions *sessions = NULL;
    rk_bytes id = RK_BYTES_INIT;

    a_life(keep);
    bad_input(keep);
    /* It keeps its manager alive. */
    OK(rk_sessions_new(keep, 100, &sessions, &err));
    rk_manager_free(keep);
    OK(rk_sessions_create(sessions, "u", "{}", &id, &err));
    rk_bytes_free(&id);
    rk_sessions_free(sessions);
    return 0;
}
