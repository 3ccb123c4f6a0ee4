/* Sessions: log in, use the session, log out everywhere. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <redkeep.h>

static void need(rk_status status, rk_error *err)
{
    if (status >= 0)
        return;
    fprintf(stderr, "%s: %s\n", rk_status_name(status), rk_error_message(err));
    rk_error_free(err);
    exit(1);
}

int main(void)
{
    rk_error *err = NULL;
    rk_manager *keep = NULL;
    rk_sessions *sessions = NULL;
    rk_bytes id = RK_BYTES_INIT, session = RK_BYTES_INIT;
    bool known = false;
    int64_t ended = 0;

    /* Yours opens "redis://localhost", or NULL to go by the environment. */
    need(rk_manager_open("embedded://", &keep, &err), err);
    need(rk_sessions_new(keep, 24 * 3600, &sessions, &err), err);

    /* Log in: the id goes to the browser, as a cookie. */
    need(rk_sessions_create(sessions, "user:1", "{\"theme\": \"dark\"}", &id, &err), err);
    printf("an id of %zu characters\n", id.len);

    /* Each request: who is this? And the session lives for another day. */
    if (rk_sessions_get(sessions, (char *)id.data, &session, &err) == RK_OK)
        printf("%s\n", (char *)session.data);
    need(rk_error_status(err), err);
    rk_bytes_free(&session);
    need(rk_sessions_update(sessions, (char *)id.data, "{\"cart\": [7, 9]}", NULL, &err), err);
    need(rk_sessions_touch(sessions, (char *)id.data, &known, &err), err);
    printf("the session is %s\n", known ? "known" : "over");

    /* The devices that the user is logged in on. */
    need(rk_sessions_all_of(sessions, "user:1", &session, &err), err);
    printf("sessions: %s\n", (char *)session.data);
    rk_bytes_free(&session);

    /* Log out here. */
    need(rk_sessions_delete(sessions, (char *)id.data, &known, &err), err);
    printf("that session is %s\n", known ? "ended" : "unknown");

    /* Log out, on all devices. */
    need(rk_sessions_delete_all_of(sessions, "user:1", &ended, &err), err);
    printf("%" PRId64 " more ended\n", ended);

    rk_bytes_free(&id);
    rk_sessions_free(sessions);
    rk_manager_free(keep);
    return 0;
}
