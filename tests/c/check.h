/* What the C tests check with: a check that fails prints where, what and the values, and ends the program. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_EQ_INT(got, wanted) check_int(__FILE__, __LINE__, #got, (long long)(got), (long long)(wanted))

/* Both are C strings; NULL equals only NULL. */
#define CHECK_STR(got, wanted) check_str(__FILE__, __LINE__, #got, (got), (wanted))

/* `size` bytes, shown in hexadecimal when they differ. */
#define CHECK_MEM(got, wanted, size) check_mem(__FILE__, __LINE__, #got, (got), (wanted), (size))

static inline void check_int(const char *file, int line, const char *text, long long got, long long wanted)
{
    if (got != wanted) {
        fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", file, line, text, got, wanted);
        exit(1);
    }
}

static inline void check_str(const char *file, int line, const char *text, const char *got, const char *wanted)
{
    if (got == wanted || (got && wanted && strcmp(got, wanted) == 0))
        return;
    fprintf(stderr, "%s:%d: %s is \"%s\", not \"%s\"\n", file, line, text, got ? got : "(NULL)",
            wanted ? wanted : "(NULL)");
    exit(1);
}

static inline void check_hex(const char *name, const unsigned char *bytes, size_t size)
{
    size_t i;
    fprintf(stderr, "  %s:", name);
    for (i = 0; bytes && i < size; i++)
        fprintf(stderr, " %02x", bytes[i]);
    fprintf(stderr, "%s\n", bytes ? "" : " (NULL)");
}

static inline void check_mem(const char *file, int line, const char *text, const void *got, const void *wanted,
                             size_t size)
{
    if (size == 0 || (got && wanted && memcmp(got, wanted, size) == 0))
        return;
    fprintf(stderr, "%s:%d: %s is not as wanted, in %zu bytes\n", file, line, text, size);
    check_hex("got   ", (const unsigned char *)got, size);
    check_hex("wanted", (const unsigned char *)wanted, size);
    exit(1);
}

#endif
