/* What the tests of redkeep.hpp share. */
#ifndef KEEP_HPP
#define KEEP_HPP

#include <atomic>
#include <chrono>
#include <string>
#include <string_view>
#include <thread>

#include <redkeep.hpp>

#include "check.h"

using namespace std::chrono_literals;

inline std::string url_of(const char *name)
{
    const char *url = std::getenv(name);
    if (!url) {
        std::fprintf(stderr, "%s is not set; tests/c/run.sh sets it\n", name);
        std::exit(1);
    }
    return url;
}

inline void check_text(const char *file, int line, const char *what, std::string_view got, std::string_view wanted)
{
    if (got == wanted)
        return;
    std::fprintf(stderr, "%s:%d: %s is \"%.*s\", not \"%.*s\"\n", file, line, what, static_cast<int>(got.size()),
                 got.data(), static_cast<int>(wanted.size()), wanted.data());
    std::exit(1);
}

#define CHECK_TEXT(got, wanted) check_text(__FILE__, __LINE__, #got, (got), (wanted))

inline void check_has(const char *file, int line, std::string_view got, std::string_view wanted)
{
    if (got.find(wanted) != got.npos)
        return;
    std::fprintf(stderr, "%s:%d: \"%.*s\" does not have \"%s\"\n", file, line, static_cast<int>(got.size()), got.data(),
                 std::string(wanted).c_str());
    std::exit(1);
}

#define CHECK_HAS(got, wanted) check_has(__FILE__, __LINE__, (got), (wanted))

/* Waits until it is true, and gives up after ten seconds. */
#define EVENTUALLY(cond)                                                                                               \
    do {                                                                                                               \
        for (int tries = 0; !(cond) && tries < 5000; tries++)                                                          \
            std::this_thread::sleep_for(2ms);                                                                          \
        CHECK(cond);                                                                                                   \
    } while (0)

/* A function object that knows how many of it there are: what is handed over must be destroyed. */
struct counted {
    static inline std::atomic<int> alive{0};
    counted() { ++alive; }
    counted(const counted &) { ++alive; }
    counted(counted &&) noexcept { ++alive; }
    ~counted() { --alive; }
};

#ifndef REDKEEP_RESULTS
/* The call throws an error with this status, which is returned. */
#define FAILS(wanted, call) check_fails(__FILE__, __LINE__, #call, (wanted), [&] { static_cast<void>(call); })

template <class Call>
redkeep::error check_fails(const char *file, int line, const char *text, rk_status wanted, Call call)
{
    try {
        call();
    } catch (const redkeep::error &e) {
        if (e.status() == wanted)
            return e;
        std::fprintf(stderr, "%s:%d: %s is %s, not %s: %s\n", file, line, text, e.name(), rk_status_name(wanted),
                     e.what());
        std::exit(1);
    }
    std::fprintf(stderr, "%s:%d: %s does not fail\n", file, line, text);
    std::exit(1);
}

/* A manager on the server of the tests, which is empty. */
inline redkeep::manager open_keep()
{
    auto keep = redkeep::manager::open(url_of("RK_TEST_URL"));
    keep.command("FLUSHALL");
    return keep;
}
#endif

#endif
