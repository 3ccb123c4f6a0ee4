/* Bytes: made, freed, freed again. */
#include "keep.h"

#define BIG (3 * 1024 * 1024 + 7)

static void copies(void)
{
    rk_bytes bytes = RK_BYTES_INIT;
    rk_slice text = RK_LIT("a\0b");

    OK(rk_bytes_copy(&bytes, TEXT("hello"), &err));
    BYTES(bytes, "hello");
    CHECK(bytes.data == NULL && bytes.len == 0);
    rk_bytes_free(&bytes);
    rk_bytes_free(&bytes);
    rk_bytes_free(NULL);

    CHECK_EQ_INT(text.len, 3);
    OK(rk_bytes_copy(&bytes, text.data, text.len, &err));
    CHECK_EQ_INT(bytes.len, 3);
    CHECK_MEM(bytes.data, "a\0b", 4);
    rk_bytes_free(&bytes);

    OK(rk_bytes_copy(&bytes, NULL, 0, &err));
    BYTES(bytes, "");
    OK(rk_bytes_copy(&bytes, "x", 0, &err));
    BYTES(bytes, "");
}

static void wrong(void)
{
    rk_bytes bytes = {(uint8_t *)"rubbish", 3};

    FAILS(RK_ERR_ARGUMENT, rk_bytes_copy(&bytes, NULL, 5, &err));
    CHECK_STR(rk_error_message(err), "data: NULL with a length of 5");
    CHECK(bytes.data == NULL && bytes.len == 0);
    done();
    STATUS(RK_ERR_ARGUMENT, rk_bytes_copy(&bytes, "x", (size_t)-1, &err));
    FAILS(RK_ERR_ARGUMENT, rk_bytes_copy(NULL, "x", 1, &err));
    CHECK_STR(rk_error_message(err), "out: NULL");
    done();
}

static void large_and_empty(rk_manager *keep)
{
    rk_bytes bytes = RK_BYTES_INIT;
    unsigned char *big = malloc(BIG);
    size_t sizes[] = {BIG, 32 * 1024, 32 * 1024 + 1, 70000, 1};
    size_t i;

    CHECK(big != NULL);
    for (i = 0; i < BIG; i++)
        big[i] = (unsigned char)(i * 31 + i / 256);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        OK(rk_set(keep, TEXT("big"), big, sizes[i], &err));
        OK(rk_get(keep, TEXT("big"), &bytes, &err));
        CHECK_EQ_INT(bytes.len, sizes[i]);
        CHECK(memcmp(bytes.data, big, sizes[i]) == 0);
        CHECK_EQ_INT(bytes.data[bytes.len], 0);
        rk_bytes_free(&bytes);
    }
    free(big);

    OK(rk_set(keep, TEXT("empty"), NULL, 0, &err));
    OK(rk_get(keep, TEXT("empty"), &bytes, &err));
    BYTES(bytes, "");
}

int main(void)
{
    rk_manager *keep = open_keep();
    copies();
    wrong();
    large_and_empty(keep);
    rk_manager_free(keep);
    return 0;
}
