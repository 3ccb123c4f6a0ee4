/* dlopen() and dlclose(), again and again: what was opened in between works, and what is left over harms nobody. */
#include <dlfcn.h>

#include <redkeep.h>

#include "check.h"

#define SYMBOL(library, name) name##_fn name = (name##_fn)symbol(library, #name)

typedef rk_status (*rk_manager_open_fn)(const char *, rk_manager **, rk_error **);
typedef rk_status (*rk_ping_fn)(rk_manager *, rk_error **);
typedef rk_status (*rk_manager_close_fn)(rk_manager *, int64_t, rk_error **);
typedef void (*rk_manager_free_fn)(rk_manager *);

typedef void (*any_fn)(void);

static any_fn symbol(void *library, const char *name)
{
    any_fn found = NULL;
    void *address = dlsym(library, name);

    CHECK(address);
    memcpy(&found, &address, sizeof found);
    return found;
}

static const char *setting(const char *name)
{
    const char *text = getenv(name);
    if (!text) {
        fprintf(stderr, "%s is not set; tests/c/run.sh sets it\n", name);
        exit(1);
    }
    return text;
}

static void opened_and_closed_again_and_again(void)
{
    const char *path = setting("RK_TEST_LIBRARY"), *url = setting("RK_TEST_URL");
    const char *cycles = getenv("RK_TEST_CYCLES");
    int rounds = cycles ? atoi(cycles) : 100, i;

    CHECK(!dlopen("libredkeep.so.0", RTLD_NOW | RTLD_NOLOAD));
    for (i = 0; i < rounds; i++) {
        void *library = dlopen(path, i % 2 ? RTLD_NOW : RTLD_LAZY);
        rk_manager *keep = NULL;
        if (!library)
            fprintf(stderr, "%s\n", dlerror());
        CHECK(library);
        SYMBOL(library, rk_manager_open);
        SYMBOL(library, rk_ping);
        SYMBOL(library, rk_manager_close);
        SYMBOL(library, rk_manager_free);
        CHECK_EQ_INT(rk_manager_open(url, &keep, NULL), RK_OK);
        CHECK_EQ_INT(rk_ping(keep, NULL), RK_OK);
        /* Its threads still run when the library is let go of; or they ended just before. */
        if (i % 3 == 1)
            CHECK_EQ_INT(dlclose(library), 0);
        if (i % 2)
            CHECK_EQ_INT(rk_manager_close(keep, -1, NULL), RK_OK);
        rk_manager_free(keep);
        if (i % 3 != 1)
            CHECK_EQ_INT(dlclose(library), 0);
    }
    printf("figure: dlopen and dlclose %d times: 0 crashes\n", rounds);
}

int main(void)
{
    opened_and_closed_again_and_again();
    return 0;
}
