/* Credentials that are asked for at each connect, by a callback or from a file, and rotation. */
#include "keep.h"

#include <stdatomic.h>

/* Readable and writable by any thread. */
struct safe {
    atomic_int number; /* of the password that is answered; 0: the callback fails */
    atomic_int asked;
    atomic_int freed;
};

static int32_t answer(rk_bytes *username, rk_bytes *password, void *userdata, rk_error **failed)
{
    struct safe *safe = userdata;
    char text[32];
    int number = atomic_load(&safe->number);

    atomic_fetch_add(&safe->asked, 1);
    if (number == 0) {
        rk_error_set(failed, RK_ERR_SYSTEM, "the safe is locked");
        return RK_ERR_SYSTEM;
    }
    if (number < 0)
        return number == -1 ? RK_OK : RK_NIL;
    snprintf(text, sizeof text, "password-%d", number);
    if (rk_bytes_copy(username, TEXT("c-user"), failed) != RK_OK)
        return RK_ERR_INTERNAL;
    return rk_bytes_copy(password, TEXT(text), failed);
}

static void is_free(void *userdata)
{
    struct safe *safe = userdata;
    atomic_fetch_add(&safe->freed, 1);
}

static void allow(rk_manager *keep, int number)
{
    char password[32];
    const char *words[] = {"ACL", "SETUSER", "c-user", "resetpass", "on", "~*", "+@all", password};

    snprintf(password, sizeof password, ">password-%d", number);
    OK(rk_command_argv(keep, 8, words, NULL, &err));
}

static void is_user(rk_manager *keep, const char *wanted)
{
    static const char *const words[] = {"ACL", "WHOAMI"};
    rk_reply *reply = NULL;
    size_t len = 0;
    const void *name;

    OK(rk_command_argv(keep, 2, words, &reply, &err));
    name = rk_reply_bytes(reply, &len);
    CHECK_EQ_INT(len, strlen(wanted));
    CHECK_MEM(name, wanted, len);
    rk_reply_free(reply);
}

static rk_config *config_for(void)
{
    rk_config *config = rk_config_new();
    OK(rk_config_set(config, "url", url_of("RK_TEST_TCP_URL"), &err));
    OK(rk_config_set(config, "health_check_interval", "0", &err));
    return config;
}

static void asks_and_rotates(rk_manager *admin)
{
    struct safe safe = {1, 0, 0};
    rk_config *config = config_for();
    rk_manager *keep = NULL;

    allow(admin, 1);
    OK(rk_config_set_credentials_provider(config, answer, &safe, is_free, &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    CHECK_EQ_INT(atomic_load(&safe.asked), 0);
    is_user(keep, "c-user");
    CHECK_EQ_INT(atomic_load(&safe.asked), 1);

    allow(admin, 2);
    is_user(keep, "c-user");
    /* The old password is no longer accepted, and what is open stays open. */
    FAILS(RK_ERR_AUTH, rk_manager_rotate_credentials(keep, &err));
    CHECK_STR(rk_error_server_code(err), "WRONGPASS");
    CHECK(!rk_error_is_retriable(err));
    done();
    is_user(keep, "c-user");
    atomic_store(&safe.number, 2);
    OK(rk_manager_rotate_credentials(keep, &err));
    is_user(keep, "c-user");

    CHECK_EQ_INT(atomic_load(&safe.freed), 0);
    rk_manager_free(keep);
    CHECK_EQ_INT(atomic_load(&safe.freed), 1);
}

static void fails(int number, const char *text)
{
    struct safe safe = {0, 0, 0};
    rk_config *config = config_for();
    rk_manager *keep = NULL;
    bool is = true;

    atomic_store(&safe.number, number);
    OK(rk_config_set_credentials_provider(config, answer, &safe, is_free, &err));
    OK(rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
    FAILS(RK_ERR_AUTH, rk_exists(keep, TEXT("a"), &is, &err));
    CHECK(!is);
    HAS(rk_error_message(err), "the credentials provider failed");
    HAS(rk_error_message(err), text);
    done();
    rk_manager_free(keep);
    CHECK_EQ_INT(atomic_load(&safe.freed), 1);
}

static void frees_once(void)
{
    struct safe one = {1, 0, 0}, two = {1, 0, 0};
    rk_config *config = rk_config_new();

    STATUS(RK_ERR_ARGUMENT, rk_config_set_credentials_provider(NULL, answer, &one, is_free, &err));
    CHECK_EQ_INT(atomic_load(&one.freed), 1);
    OK(rk_config_set_credentials_provider(config, NULL, &one, is_free, &err));
    CHECK_EQ_INT(atomic_load(&one.freed), 2);
    OK(rk_config_set_credentials_provider(config, answer, &one, is_free, &err));
    OK(rk_config_set_credentials_provider(config, answer, &two, is_free, &err));
    CHECK_EQ_INT(atomic_load(&one.freed), 3);
    OK(rk_config_set_credentials_provider(config, answer, NULL, NULL, &err));
    CHECK_EQ_INT(atomic_load(&two.freed), 1);
    rk_config_free(config);
    CHECK_EQ_INT(atomic_load(&one.asked) + atomic_load(&two.asked), 0);
}

static void write_file(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    CHECK(out != NULL);
    CHECK(fputs(text, out) >= 0);
    CHECK(fclose(out) == 0);
}

static void reads_a_file(rk_manager *admin)
{
    char path[512];
    rk_config *config = config_for();
    rk_manager *keep = NULL;

    snprintf(path, sizeof path, "%s/secret", url_of("RK_TEST_FOLDER"));
    allow(admin, 3);
    OK(rk_config_set(config, "credentials_file", path, &err));
    remove(path);
    FAILS(RK_ERR_BAD_VALUE, rk_manager_open_config(config, &keep, &err));
    HAS(rk_error_message(err), path);
    done();
    write_file(path, "c-user\npassword-3\n");
    OK(rk_manager_open_config(config, &keep, &err));
    is_user(keep, "c-user");
    allow(admin, 4);
    write_file(path, "c-user\npassword-4\n");
    OK(rk_manager_rotate_credentials(keep, &err));
    is_user(keep, "c-user");
    rk_manager_free(keep);

    OK(rk_config_set(config, "url", "redis://:secret@localhost", &err));
    STATUS(RK_ERR_CONFLICT, rk_manager_open_config(config, &keep, &err));
    rk_config_free(config);
}

int main(void)
{
    static const char *const gone[] = {"ACL", "DELUSER", "c-user"};
    rk_manager *admin = open_keep();

    asks_and_rotates(admin);
    fails(0, "the safe is locked");
    fails(-1, "password");
    fails(-2, "it returned 1");
    frees_once();
    reads_a_file(admin);
    OK(rk_command_argv(admin, 3, gone, NULL, &err));
    rk_manager_free(admin);
    STATUS(RK_ERR_ARGUMENT, rk_manager_rotate_credentials(NULL, &err));
    return 0;
}
