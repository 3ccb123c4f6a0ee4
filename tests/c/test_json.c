/* JSON: checked when stored, checked when read, handed over as it is stored. */
#include "keep.h"

int main(void)
{
    static const char *const not_json[] = {"", "{", "{\"a\":1} x", "nul", "'a'", "[1,]", "\"\\q\""};
    rk_manager *keep = open_keep();
    rk_set_options *once = rk_set_options_new();
    rk_bytes text = RK_BYTES_INIT;
    bool was_set = false;
    size_t i;

    OK(rk_set_json(keep, TEXT("order"), " {\"b\": [1, 2.50], \"a\": null} ", NULL, &was_set, &err));
    CHECK(was_set);
    OK(rk_get_json(keep, TEXT("order"), &text, &err));
    BYTES(text, " {\"b\": [1, 2.50], \"a\": null} ");
    STATUS(RK_NIL, rk_get_json(keep, TEXT("no such key"), &text, &err));
    CHECK(text.data == NULL);

    rk_set_options_nx(once);
    OK(rk_set_json(keep, TEXT("order"), "1", once, &was_set, &err));
    CHECK(!was_set);
    OK(rk_set_json(keep, TEXT("other"), "1", once, NULL, &err));

    was_set = true;
    for (i = 0; i < sizeof not_json / sizeof *not_json; i++)
        STATUS(RK_ERR_JSON, rk_set_json(keep, TEXT("order"), not_json[i], NULL, &was_set, &err));
    CHECK(!was_set);
    STATUS(RK_ERR_ARGUMENT, rk_set_json(keep, TEXT("order"), "\"\xff\"", NULL, &was_set, &err));
    FAILS(RK_ERR_ARGUMENT, rk_set_json(keep, TEXT("order"), NULL, NULL, &was_set, &err));
    CHECK_STR(rk_error_message(err), "json: NULL");
    done();

    OK(rk_set(keep, TEXT("plain"), TEXT("no secret in errors"), &err));
    FAILS(RK_ERR_STORED_JSON, rk_get_json(keep, TEXT("plain"), &text, &err));
    CHECK(strstr(rk_error_message(err), "secret") == NULL);
    CHECK(text.data == NULL);
    done();
    OK(rk_set(keep, TEXT("bytes"), TEXT("\"\xff\""), &err));
    STATUS(RK_ERR_STORED_JSON, rk_get_json(keep, TEXT("bytes"), &text, &err));
    OK(rk_set(keep, TEXT("empty"), NULL, 0, &err));
    STATUS(RK_ERR_STORED_JSON, rk_get_json(keep, TEXT("empty"), &text, &err));
    STATUS(RK_ERR_ARGUMENT, rk_get_json(keep, TEXT("order"), NULL, &err));
    STATUS(RK_ERR_ARGUMENT, rk_get_json(NULL, TEXT("order"), &text, &err));

    rk_set_options_free(once);
    rk_manager_free(keep);
    return 0;
}
