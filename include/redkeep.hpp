/* redkeep: an embedded, blocking Redis and Valkey client manager, for C++17.
 *
 *     auto keep = redkeep::manager::open("redis://localhost");
 *     keep.set("greeting", "hello");
 *     std::optional<std::string> greeting = keep.get("greeting");
 *
 * All of it stands in this file, over the functions of redkeep.h: there is nothing more to link than the library, and
 * no C++ library to be of the same make. What a call does in detail, and which thread may call it, is said in redkeep.h
 * at the function of the same name; here is said what is different.
 *
 * Bytes go in as std::string_view and come out as std::string, std::optional where there may be none, and may hold
 * anything. Names, URLs and JSON go in the same way, and hold no zero byte (RK_ERR_ARGUMENT). Times are of any unit of
 * std::chrono. Objects own what they stand for, are moved and not copied, and give it back at the end of their scope,
 * in any order.
 *
 * Errors are thrown, as redkeep::error. Without exceptions (-fno-exceptions; -fno-rtti works too), or where
 * REDKEEP_RESULTS is defined before this file is included, every call returns a redkeep::result<> of what it would
 * return otherwise:
 *
 *     auto greeting = keep.get("greeting");                    // a redkeep::result<std::optional<std::string>>
 *     if (!greeting)
 *         std::fputs(greeting.error().what(), stderr);
 *
 * Files of either form may be linked into one program; their objects are of different types.
 *
 * A function that you hand over (a handler, a computation) fails by throwing, or by returning a redkeep::result<> with
 * an error. What it throws never crosses the library: a call that runs it before it returns (get_or_compute(),
 * transaction()) throws the same thing itself. It is destroyed once, when the library is done with it.
 *
 * After fork(), a manager works in the child too, over connections of the child's own, and so do senders, limiters,
 * sessions and caches. What a guard of a lock holds stays the parent's. Connections, subscribers and consumers that the
 * parent made are of no use in the child (RK_ERR_CLOSED): make others there. */

#ifndef REDKEEP_HPP
#define REDKEEP_HPP

#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "redkeep.h"

#if defined(__cpp_exceptions) || defined(__EXCEPTIONS)
#define REDKEEP_CAN_THROW 1
#else
#define REDKEEP_CAN_THROW 0
#ifndef REDKEEP_RESULTS
#define REDKEEP_RESULTS
#endif
#endif

/* Code of one form must not be taken for that of another by the linker. */
#if !defined(REDKEEP_RESULTS)
#define REDKEEP_FORM throwing
#elif REDKEEP_CAN_THROW
#define REDKEEP_FORM results
#else
#define REDKEEP_FORM results_only
#endif

namespace redkeep {
inline namespace REDKEEP_FORM {

/* ---- Errors and results ---------------------------------------------------------------------- */

/// What went wrong, with everything known about it. Passwords and values never appear in it.
class error : public std::exception {
  public:
    /// An error of your own, for functions that you hand over: one of the negative statuses, and a text.
    error(rk_status status, std::string_view text)
    {
        rk_error *made = nullptr;
        rk_error_set(&made, status, std::string(text).c_str());
        take(made, status);
    }

    /// Takes over an error of a C function, which may be NULL, and the status that it returned.
    error(rk_error *taken, rk_status status) { take(taken, status); }

    // Never moved from, which would leave one without a text.
    error(const error &) noexcept = default;
    error &operator=(const error &) noexcept = default;

    /// The text, for people: the node, what happened there, and why. Its wording may change; the status does not.
    const char *what() const noexcept override { return known_->text.c_str(); }

    /// What a program decides by: RK_ERR_TIMEOUT and its like.
    rk_status status() const noexcept { return known_->status; }

    /// The status as text: "RK_ERR_TIMEOUT".
    const char *name() const noexcept { return rk_status_name(known_->status); }

    /// What became of the command: RK_NOT_SENT, RK_REFUSED or RK_OUTCOME_UNKNOWN.
    rk_outcome outcome() const noexcept { return known_->outcome; }

    /// Whether the same call may succeed a little later. Look at outcome() before you send it again.
    bool is_retriable() const noexcept { return known_->retriable; }

    /// The first word of the server's error reply, such as "WRONGTYPE".
    const std::optional<std::string> &server_code() const noexcept { return known_->server_code; }

    /// The node on which it happened: "127.0.0.1:6379", or the path of a socket.
    const std::optional<std::string> &node() const noexcept { return known_->node; }

  private:
    struct known {
        rk_status status = RK_ERR_INTERNAL;
        rk_outcome outcome = RK_NOT_SENT;
        bool retriable = false;
        std::string text;
        std::optional<std::string> server_code, node;
    };

    void take(rk_error *taken, rk_status status)
    {
        auto all = std::make_shared<known>();
        all->status = taken ? rk_error_status(taken) : status;
        all->outcome = rk_error_outcome(taken);
        all->retriable = rk_error_is_retriable(taken);
        all->text = taken ? rk_error_message(taken) : rk_status_name(status);
        if (const char *code = rk_error_server_code(taken))
            all->server_code = code;
        if (const char *node = rk_error_node(taken))
            all->node = node;
        rk_error_free(taken);
        known_ = std::move(all);
    }

    // Shared, so that copying an exception under way cannot fail.
    std::shared_ptr<const known> known_;
};

/// What a call returns where errors are not thrown: a value, or an error. Looking at the one that is not there ends the
/// program, except for value(), which throws the error where there are exceptions.
template <class T = void> class [[nodiscard]] result {
  public:
    result(T value) : held_(std::in_place_index<0>, std::move(value)) {}
    result(redkeep::error error) : held_(std::in_place_index<1>, std::move(error)) {}

    bool has_value() const noexcept { return held_.index() == 0; }

    /// Whether there is a value. Not for a result<bool>, whose value one would take it for: ask has_value().
    template <class U = T, std::enable_if_t<!std::is_same_v<U, bool>, int> = 0> explicit operator bool() const noexcept
    {
        return has_value();
    }

    T &value() & { return must(), *std::get_if<0>(&held_); }
    const T &value() const & { return must(), *std::get_if<0>(&held_); }
    T value() && { return must(), std::move(*std::get_if<0>(&held_)); }

    T &operator*() & { return value(); }
    const T &operator*() const & { return value(); }
    T operator*() && { return std::move(*this).value(); }
    T *operator->() { return &value(); }
    const T *operator->() const { return &value(); }

    /// The value, or this one instead of an error.
    template <class U> T value_or(U &&instead) &&
    {
        return has_value() ? std::move(*this).value() : static_cast<T>(std::forward<U>(instead));
    }

    const redkeep::error &error() const
    {
        if (has_value())
            stop("redkeep::result::error() where there is a value");
        return *std::get_if<1>(&held_);
    }

  private:
    template <class> friend class result;

    void must() const
    {
        if (has_value())
            return;
#if REDKEEP_CAN_THROW
        throw error();
#else
        stop(error().what());
#endif
    }

    [[noreturn]] static void stop(const char *why)
    {
        std::fprintf(stderr, "%s\n", why);
        std::abort();
    }

    std::variant<T, redkeep::error> held_;
};

/// What a call returns that has nothing to tell but an error.
template <> class [[nodiscard]] result<void> {
  public:
    result() : held_(std::monostate()) {}
    result(redkeep::error error) : held_(std::move(error)) {}

    bool has_value() const noexcept { return held_.has_value(); }
    explicit operator bool() const noexcept { return has_value(); }
    void value() const { held_.must(); }
    const redkeep::error &error() const { return held_.error(); }

  private:
    result<std::monostate> held_;
};

#ifdef REDKEEP_RESULTS
/// What calls return in this form: a result of what stands between the brackets.
template <class T> using returns = result<T>;
/// What calls return after which one might go on with the same object: the object itself where errors are thrown.
template <class Self> using chained = result<void>;
#else
/// What calls return in this form: what stands between the brackets.
template <class T> using returns = T;
/// What calls return after which one may go on with the same object.
template <class Self> using chained = Self &;
#endif

/* ---- What goes in ---------------------------------------------------------------------------- */

/// A time of any unit of std::chrono, rounded up to whole milliseconds; a negative one is 0, which tries once.
class timespan {
  public:
    template <class Rep, class Period> constexpr timespan(std::chrono::duration<Rep, Period> time)
    {
        using ms = std::chrono::duration<double, std::milli>;
        const double about = ms(time).count();
        if (about > 9e18)
            ms_ = std::numeric_limits<std::int64_t>::max();
        else if (about > 0)
            ms_ = std::chrono::ceil<std::chrono::duration<std::int64_t, std::milli>>(time).count();
    }

    constexpr std::int64_t milliseconds() const noexcept { return ms_; }

    /// The -1 of the C functions: their default, or no end to a wait.
    static constexpr timespan unset() noexcept { return timespan(); }

  private:
    constexpr timespan() noexcept : ms_(-1) {}
    std::int64_t ms_ = 0;
};

/// The default that the description of a call names.
inline constexpr timespan by_default = timespan::unset();

/// A wait without end.
inline constexpr timespan for_ever = timespan::unset();

/// A value or an argument: text, bytes, or a number, which goes as text. It borrows, for the time of a call.
class argument {
  public:
    template <class S, std::enable_if_t<std::is_convertible_v<const S &, std::string_view>, int> = 0>
    argument(const S &text) : argument(std::string_view(text), nullptr)
    {}

    template <class N, std::enable_if_t<(std::is_integral_v<N> && !std::is_same_v<N, bool> && sizeof(N) > 1) ||
                                            std::is_same_v<N, signed char> || std::is_same_v<N, unsigned char>,
                                        long> = 0>
    argument(N number)
    {
        slice_ = {digits_,
                  static_cast<std::size_t>(std::to_chars(digits_, digits_ + sizeof digits_, number).ptr - digits_)};
    }

    template <class D, std::enable_if_t<std::is_floating_point_v<D>, char> = 0> argument(D value)
    {
        const double number = static_cast<double>(value);
        const int len = std::snprintf(digits_, sizeof digits_, "%.17g", number);
        slice_ = {digits_, static_cast<std::size_t>(len)};
        for (int i = 0; i < len; i++) // the locale's
            if (digits_[i] == ',')
                digits_[i] = '.';
    }

    argument(std::nullptr_t) = delete;
    argument(const argument &) = delete;
    argument &operator=(const argument &) = delete;

    const rk_slice &slice() const noexcept { return slice_; }
    const void *data() const noexcept { return slice_.data; }
    std::size_t size() const noexcept { return slice_.len; }

  private:
    argument(std::string_view text, std::nullptr_t) : slice_{text.data(), text.size()} {}

    rk_slice slice_;
    char digits_[32];
};

/// One or many keys or arguments: a text, a list in braces, or any container of texts. It borrows, for the time of a
/// call.
class strings {
    // What is made on the way cannot be borrowed.
    template <class List> using element = decltype(*std::begin(std::declval<const List &>()));

  public:
    strings(std::initializer_list<argument> list)
    {
        slices_.reserve(list.size());
        for (const argument &one : list)
            slices_.push_back(one.slice());
    }

    template <class S, std::enable_if_t<std::is_convertible_v<const S &, std::string_view>, int> = 0>
    strings(const S &text)
    {
        push(text);
    }

    template <class List, std::enable_if_t<!std::is_convertible_v<const List &, std::string_view> &&
                                               std::is_convertible_v<element<List>, std::string_view> &&
                                               (std::is_lvalue_reference_v<element<List>> ||
                                                std::is_same_v<element<List>, std::string_view>),
                                           long> = 0>
    strings(const List &list)
    {
        for (const auto &text : list)
            push(text);
    }

    const rk_slice *data() const noexcept { return slices_.data(); }
    std::size_t size() const noexcept { return slices_.size(); }

  private:
    void push(std::string_view text) { slices_.push_back({text.data(), text.size()}); }

    std::vector<rk_slice> slices_;
};

/// Pairs of a key, a field or a name, and a value: {{"name", "Ann"}, {"age", 40}}, a map, or any container of pairs of
/// texts. It borrows, for the time of a call.
class pairs {
  public:
    pairs(std::initializer_list<std::pair<argument, argument>> list)
    {
        for (const auto &pair : list) {
            slices_.push_back(pair.first.slice());
            slices_.push_back(pair.second.slice());
        }
    }

    template <class List,
              std::enable_if_t<
                  std::is_convertible_v<decltype(std::begin(std::declval<const List &>())->second), std::string_view>,
                  int> = 0>
    pairs(const List &list)
    {
        for (const auto &pair : list) {
            const std::string_view first = pair.first, second = pair.second;
            slices_.push_back({first.data(), first.size()});
            slices_.push_back({second.data(), second.size()});
        }
    }

    const rk_slice *data() const noexcept { return slices_.data(); }

    /// How many pairs there are.
    std::size_t size() const noexcept { return slices_.size() / 2; }

  private:
    std::vector<rk_slice> slices_;
};

/// The value of a property or an option: a text as redkeep.h describes it, a number, a flag, or a time.
class setting {
  public:
    template <class S, std::enable_if_t<std::is_convertible_v<const S &, std::string_view>, int> = 0>
    setting(const S &text) : text_(std::string_view(text))
    {}

    template <class N, std::enable_if_t<std::is_arithmetic_v<N> && !std::is_same_v<N, char>, long> = 0>
    setting(N number)
    {
        if constexpr (std::is_same_v<N, bool>) {
            text_ = number ? "true" : "false";
        } else {
            const argument digits(number);
            text_.assign(static_cast<const char *>(digits.data()), digits.size());
        }
    }

    template <class Rep, class Period>
    setting(std::chrono::duration<Rep, Period> time)
        : text_(std::to_string(time < time.zero() ? -1 : timespan(time).milliseconds()) + "ms")
    {}

    setting(std::nullptr_t) = delete;

    const std::string &text() const noexcept { return text_; }

  private:
    std::string text_;
};

/* ---- How a C function is called -------------------------------------------------------------- */

namespace detail {

/* A C string. One that was never given (std::string_view()) is NULL. */
class text {
  public:
    text(std::string_view view, const char *name) : text_(view), name_(name), none_(view.data() == nullptr) {}

    const char *c_str() const noexcept { return none_ ? nullptr : text_.c_str(); }

    /* The name, if C would not see all of it. */
    const char *cut_short() const noexcept { return text_.find('\0') == std::string::npos ? nullptr : name_; }

  private:
    std::string text_;
    const char *name_;
    bool none_;
};

/* A command as it is written out in a call. */
template <std::size_t N> class words {
  public:
    template <class... Args> explicit words(const Args &...args) : all_{argument(args)...}
    {
        for (std::size_t i = 0; i < N; i++)
            slices_[i] = all_[i].slice();
    }

    const rk_slice *data() const noexcept { return slices_; }
    static constexpr std::size_t size() noexcept { return N; }

  private:
    const argument all_[N];
    rk_slice slices_[N];
};
template <class... Args> words(const Args &...) -> words<sizeof...(Args)>;

template <class... Args>
using is_command = std::enable_if_t<(std::is_constructible_v<argument, const Args &> && ...), int>;

/* A text of C's, which is NULL where there is none. */
inline std::string_view view(const char *text) noexcept { return text ? std::string_view(text) : std::string_view(); }

/* What an argument is for C. */
inline const char *plain(const text &v) noexcept { return v.c_str(); }
inline std::int64_t plain(const timespan &v) noexcept { return v.milliseconds(); }
template <class T> T plain(const T &v) noexcept { return v; }

inline const char *cut_short(const text &v) noexcept { return v.cut_short(); }
template <class T> const char *cut_short(const T &) noexcept { return nullptr; }

/* A call of a C function: its arguments, and last, without being named, where its error goes. */
class attempt {
  public:
    template <class F, class... Args> explicit attempt(F function, const Args &...args)
    {
        const char *bad = nullptr;
        ((bad = bad ? bad : detail::cut_short(args)), ...);
        if (bad) {
            rk_error_set(&err_, RK_ERR_ARGUMENT, (std::string(bad) + ": it holds a zero byte").c_str());
            status_ = RK_ERR_ARGUMENT;
            return;
        }
        reached_ = true;
        status_ = function(detail::plain(args)..., &err_);
    }

    attempt(const attempt &) = delete;
    attempt &operator=(const attempt &) = delete;
    ~attempt() { rk_error_free(err_); }

    rk_status status() const noexcept { return status_; }

    /* Whether the function was called, and owns what it was handed. */
    bool reached() const noexcept { return reached_; }

    /* What the whole call returns, or its error. */
    template <class T, class Make> returns<T> then(Make make)
    {
        if (status_ < 0) {
            rk_error *err = err_;
            err_ = nullptr;
#ifdef REDKEEP_RESULTS
            return error(err, status_);
#else
            throw error(err, status_);
#endif
        }
        if constexpr (std::is_void_v<T>)
            return returns<void>();
        else
            return make();
    }

    returns<void> done()
    {
        return then<void>([] {});
    }

  private:
    rk_error *err_ = nullptr;
    rk_status status_ = RK_OK;
    bool reached_ = false;
};

/* Where a C function puts its result, and what becomes of that: a number or a flag as it is. */
template <class T, class = void> struct output {
    T raw{};
    T *to() { return &raw; }
    T made(rk_status) { return raw; }
};

struct bytes {
    rk_bytes raw = RK_BYTES_INIT;
    bytes() = default;
    bytes(const bytes &) = delete;
    bytes &operator=(const bytes &) = delete;
    ~bytes() { rk_bytes_free(&raw); }
    rk_bytes *to() { return &raw; }
    std::string text() const
    {
        return raw.data ? std::string(reinterpret_cast<char *>(raw.data), raw.len) : std::string();
    }
};

template <> struct output<std::string> : bytes {
    std::string made(rk_status) { return text(); }
};

template <> struct output<std::optional<std::string>> : bytes {
    std::optional<std::string> made(rk_status)
    {
        if (!raw.data)
            return std::nullopt;
        return text();
    }
};

template <> struct output<std::optional<std::int64_t>> {
    std::int64_t raw = 0;
    std::int64_t *to() { return &raw; }
    std::optional<std::int64_t> made(rk_status status)
    {
        if (status == RK_NIL)
            return std::nullopt;
        return raw;
    }
};

template <> struct output<std::chrono::seconds> {
    std::int64_t raw = 0;
    std::int64_t *to() { return &raw; }
    std::chrono::seconds made(rk_status) { return std::chrono::seconds(raw); }
};

template <> struct output<std::chrono::duration<double>> {
    double raw = 0;
    double *to() { return &raw; }
    std::chrono::duration<double> made(rk_status) { return std::chrono::duration<double>(raw); }
};

/* Objects that stand for a handle of C, by their constructor from it. */
template <class T> struct output<T, std::void_t<typename T::c_type>> {
    typename T::c_type *raw = nullptr;
    typename T::c_type **to() { return &raw; }
    T made(rk_status) { return T(raw); }
};

template <class T> struct output<std::optional<T>, std::void_t<typename T::c_type>> {
    typename T::c_type *raw = nullptr;
    typename T::c_type **to() { return &raw; }
    std::optional<T> made(rk_status)
    {
        if (!raw)
            return std::nullopt;
        return T(raw);
    }
};

/* Calls a function whose last arguments are where its result and its error go. */
template <class T, class F, class... Args> returns<T> call(F function, const Args &...args)
{
    if constexpr (std::is_void_v<T>) {
        return attempt(function, args...).done();
    } else {
        output<T> out;
        attempt it(function, args..., out.to());
        return it.then<T>([&] { return out.made(it.status()); });
    }
}

/* Calls a function that copies a value into a buffer of the program's. */
template <class F, class C>
returns<std::optional<std::size_t>> copy_into(F function, C *c, std::string_view key, void *buffer, std::size_t cap)
{
    std::size_t len = 0;
    attempt it(function, c, key.data(), key.size(), buffer, cap, &len);
    return it.then<std::optional<std::size_t>>(
        [&] { return it.status() == RK_NIL ? std::nullopt : std::optional<std::size_t>(len); });
}

/* Calls a function that changes an object, with which the program may go on. */
template <class Self, class F, class... Args> chained<Self> change(Self &self, F function, const Args &...args)
{
#ifdef REDKEEP_RESULTS
    static_cast<void>(self);
    return call<void>(function, args...);
#else
    call<void>(function, args...);
    return self;
#endif
}

/* What owns a handle of C. */
template <class C, void (*Free)(C *)> class handle {
  public:
    using c_type = C;

    /// Takes over a handle that a C function made.
    explicit handle(C *c) noexcept : c_(c) {}

    /// The handle, for functions of redkeep.h. It stays this object's.
    C *raw() const noexcept { return c_.get(); }

  private:
    struct freed {
        void operator()(C *c) const noexcept { Free(c); }
    };
    std::unique_ptr<C, freed> c_;
};

/* ---- Functions of the program's, called by C ------------------------------------------------- */

/* What a function returned that has nothing to tell but an error. */
inline std::int32_t settled(const result<void> &returned, rk_error **err)
{
    if (returned)
        return RK_OK;
    rk_error_set(err, returned.error().status(), returned.error().what());
    return returned.error().status();
}

/* Calls a function that returns nothing, or a result<void>. */
template <class F, class... Args> std::int32_t settle(rk_error **err, F &function, Args &&...args)
{
    using R = std::invoke_result_t<F &, Args...>;
    static_assert(std::is_void_v<R> || std::is_same_v<R, result<void>>,
                  "this function returns nothing, and throws to fail; or it returns a redkeep::result<>");
    if constexpr (std::is_void_v<R>) {
        function(std::forward<Args>(args)...);
        return RK_OK;
    } else {
        return settled(function(std::forward<Args>(args)...), err);
    }
}

/* Where what was thrown waits until C has returned, for the functions that are called before that. */
class thrown {
  public:
#if REDKEEP_CAN_THROW && !defined(REDKEEP_RESULTS)
    void clear() { what_ = nullptr; }
    void keep() { what_ = std::current_exception(); }
    void go_on(rk_status status)
    {
        if (status < 0 && what_)
            std::rethrow_exception(std::move(what_));
    }

  private:
    std::exception_ptr what_;
#else
    void clear() {}
    void keep() {}
    void go_on(rk_status) {}
#endif
};

/* Runs what must not throw into C: an exception becomes an error, of this status unless it has one of its own. */
template <class Body> std::int32_t guarded(rk_error **err, rk_status status, thrown *kept, Body body) noexcept
{
#if REDKEEP_CAN_THROW
    try {
        return body();
    } catch (const error &e) {
        if (kept)
            kept->keep();
        rk_error_set(err, e.status(), e.what());
        return e.status();
    } catch (const std::exception &e) {
        if (kept)
            kept->keep();
        rk_error_set(err, status, e.what());
    } catch (...) {
        if (kept)
            kept->keep();
        rk_error_set(err, status, "something was thrown that is no std::exception");
    }
    return status;
#else
    static_cast<void>(err), static_cast<void>(status), static_cast<void>(kept);
    return body();
#endif
}

/* A function that C owns, and destroys once. */
template <class F> struct kept {
    F function;

    template <class G> static std::unique_ptr<kept> make(G &&function)
    {
        return std::unique_ptr<kept>(new kept{std::forward<G>(function)});
    }
    static kept &at(void *userdata) { return *static_cast<kept *>(userdata); }
    static void free(void *userdata) { delete static_cast<kept *>(userdata); }
};

/* A function that is called before C returns, and what it threw. */
template <class F> struct lent {
    F &function;
    detail::thrown thrown;

    static lent &at(void *userdata) { return *static_cast<lent *>(userdata); }
};

/* Registers a function: C owns it from then on, whatever comes of it. */
template <class F, class C, class... Args>
returns<void> hand_over(std::unique_ptr<kept<F>> own, C function, const Args &...args)
{
    attempt it(function, args..., static_cast<void *>(own.get()), &kept<F>::free);
    if (it.reached())
        static_cast<void>(own.release());
    return it.done();
}

} // namespace detail

/* ---- Version, log ---------------------------------------------------------------------------- */

/// The version of the library that runs: "0.1.0".
inline std::string_view version() { return rk_version_string(); }

namespace detail {

/* Whether code that was compiled with a header of this version may use a library of that one. Before 1.0 a minor
 * version is what a major one is later. */
constexpr bool fits(std::uint32_t header, std::uint32_t library)
{
    const std::uint32_t within = header < 10000 ? 100 : 10000;
    return library >= header && library / within == header / within;
}

inline rk_status check_version(std::uint32_t library, rk_error **err)
{
    if (fits(RK_VERSION_NUMBER, library))
        return RK_OK;
    const std::string text = "this program was compiled for redkeep " RK_VERSION_STRING ", but runs with version " +
                             std::to_string(library / 10000) + "." + std::to_string(library / 100 % 100) + "." +
                             std::to_string(library % 100);
    rk_error_set(err, RK_ERR_CONFIG, text.c_str());
    return RK_ERR_CONFIG;
}

} // namespace detail

/// Sets who is told what happens, for the whole process, in place of whoever was told before: a function
/// (int level, std::string_view target, std::string_view text), called in whichever thread it happens, in several at
/// the same time. It must not call redkeep; what it throws is dropped. Levels: 1 errors, 2 also warnings, 3 also
/// information, 4 also details, 5 everything, 0 nothing.
template <class F> returns<void> log_to(int level, F &&function)
{
    using own = detail::kept<std::decay_t<F>>;
    auto cb = [](std::int32_t at, const char *target, const char *text, void *userdata) {
        detail::guarded(nullptr, RK_ERR_INTERNAL, nullptr, [&] {
            own::at(userdata).function(static_cast<int>(at), std::string_view(target), std::string_view(text));
            return 0;
        });
    };
    const rk_status status = rk_log_set_callback(level, cb, own::make(std::forward<F>(function)).release(), &own::free);
    return detail::attempt([status](rk_error **err) {
               if (status < 0)
                   rk_error_set(err, status,
                                "log_to: a level from 0 to 5, and no Rust program with a logger of its own");
               return status;
           })
        .done();
}

/// Nobody is told any more.
inline void log_off() { rk_log_set_callback(0, nullptr, nullptr, nullptr); }

/* ---- Configuration --------------------------------------------------------------------------- */

/// A user name, none for the configured one, and a password, that are valid now: {"app", token}, {{}, token}.
struct credentials {
    std::optional<std::string> username;
    std::string password;
};

/// A set of properties, each with a name and a value; what is not set has its default. dump() lists them.
///
///     redkeep::config config;
///     config.set("url", "redis://localhost").set("max_connections", 32).set("command_timeout", 500ms);
///     auto keep = redkeep::manager::open(config);
class config : public detail::handle<rk_config, rk_config_free> {
  public:
    using handle::handle;

    /// Nothing is set.
    config() : handle(rk_config_new()) {}

    /// What the environment sets: REDIS_URL, REDIS_HOST and the others.
    static returns<config> from_env() { return detail::call<config>(rk_config_from_env); }

    /// Sets a property: a text, a number, a flag or a time.
    chained<config> set(std::string_view name, const setting &value) &
    {
        return detail::change(*this, rk_config_set, raw(), detail::text(name, "name"),
                              detail::text(value.text(), "value"));
    }
#ifndef REDKEEP_RESULTS
    config set(std::string_view name, const setting &value) && { return std::move(set(name, value)); }
#endif

    /// The value of a property as text: what was set, or else its default. Passwords come as they are.
    returns<std::optional<std::string>> get(std::string_view name) const
    {
        return detail::call<std::optional<std::string>>(rk_config_get, raw(), detail::text(name, "name"));
    }

    /// Every property with its value, as a JSON object. Passwords are masked.
    returns<std::string> dump() const { return detail::call<std::string>(rk_config_dump, raw()); }

    /// Sets who is asked for user name and password at each connect: a function () that returns redkeep::credentials,
    /// or a result of them. It is called in a thread of the library's own. Should it fail, whoever needed the
    /// connection gets an RK_ERR_AUTH with its text.
    template <class F> returns<void> credentials_provider(F &&function)
    {
        using own = detail::kept<std::decay_t<F>>;
        auto cb = [](rk_bytes *username, rk_bytes *password, void *userdata, rk_error **err) {
            return detail::guarded(err, RK_ERR_AUTH, nullptr,
                                   [&] { return give(own::at(userdata).function(), username, password, err); });
        };
        return detail::hand_over(own::make(std::forward<F>(function)), rk_config_set_credentials_provider, raw(),
                                 static_cast<std::int32_t (*)(rk_bytes *, rk_bytes *, void *, rk_error **)>(cb));
    }

    /// Nobody is asked any more.
    returns<void> no_credentials_provider()
    {
        return detail::call<void>(rk_config_set_credentials_provider, raw(), nullptr, nullptr, nullptr);
    }

    /// Has every command told to before, a function (const redkeep::traced_call &) that returns something to be handed
    /// to after, and to after, a function (that, const redkeep::traced_call &). Both are called in the thread that makes
    /// the call, in several at the same time; what they throw is dropped. Managers opened from then on do so.
    template <class Before, class After> returns<void> command_hook(Before &&before, After &&after);

    /// Nobody is told any more.
    returns<void> no_command_hook()
    {
        return detail::call<void>(rk_config_set_command_hook, raw(), nullptr, nullptr, nullptr, nullptr);
    }

  private:
    static std::int32_t give(const credentials &valid, rk_bytes *username, rk_bytes *password, rk_error **err)
    {
        rk_status status = RK_OK;
        if (valid.username)
            status = rk_bytes_copy(username, valid.username->data(), valid.username->size(), err);
        if (status == RK_OK)
            status = rk_bytes_copy(password, valid.password.data(), valid.password.size(), err);
        return status;
    }

    static std::int32_t give(const result<credentials> &valid, rk_bytes *username, rk_bytes *password, rk_error **err)
    {
        return valid ? give(*valid, username, password, err) : detail::settled(valid.error(), err);
    }
};

/// A command, as the functions of config::command_hook() see it, while they run.
class traced_call {
  public:
    explicit traced_call(const rk_call *raw) noexcept : raw_(raw) {}

    /// Its name, in capitals; PIPELINE or MULTI where several are sent together.
    std::string_view name() const noexcept { return rk_call_name(raw_); }

    /// How many commands are sent.
    std::size_t commands() const noexcept { return rk_call_commands(raw_); }

    /// The node that it was sent to last; none before it is over, or if it was none, or several.
    std::optional<std::string_view> node() const noexcept
    {
        const char *node = rk_call_node(raw_);
        return node ? std::optional<std::string_view>(node) : std::nullopt;
    }

    /// RK_OK, or the status of its error; and the text of that.
    rk_status status() const noexcept { return rk_error_status(rk_call_error(raw_)); }
    std::string_view message() const noexcept { return rk_error_message(rk_call_error(raw_)); }

    /// How often it was sent.
    std::uint32_t tries() const noexcept { return rk_call_tries(raw_); }

    /// How long it took, as a whole, or its "wait", "connect", "write", "server" or "read".
    std::chrono::microseconds time(const char *part = nullptr) const noexcept
    {
        return std::chrono::microseconds(rk_call_microseconds(raw_, part));
    }

  private:
    const rk_call *raw_;
};

namespace detail {

/* The two functions of a hook, and how a span passes between them. */
template <class Before, class After> struct hook {
    using span = std::decay_t<std::invoke_result_t<Before &, const traced_call &>>;

    Before before;
    After after;

    static void *begin(const rk_call *raw, void *userdata)
    {
        std::unique_ptr<span> made;
        guarded(nullptr, RK_ERR_INTERNAL, nullptr, [&] {
            made.reset(new span(kept<hook>::at(userdata).function.before(traced_call(raw))));
            return 0;
        });
        return made.release();
    }

    static void finish(const rk_call *raw, void *made, void *userdata)
    {
        const std::unique_ptr<span> own(static_cast<span *>(made));
        if (own)
            guarded(nullptr, RK_ERR_INTERNAL, nullptr, [&] {
                kept<hook>::at(userdata).function.after(std::move(*own), traced_call(raw));
                return 0;
            });
    }
};

} // namespace detail

template <class Before, class After> returns<void> config::command_hook(Before &&before, After &&after)
{
    using both = detail::hook<std::decay_t<Before>, std::decay_t<After>>;
    using own = detail::kept<both>;
    return detail::hand_over(own::make(both{std::forward<Before>(before), std::forward<After>(after)}),
                             rk_config_set_command_hook, raw(), &both::begin, &both::finish);
}

/// For how long a value is to be set, and under which condition: redkeep::set_options().ex(1h).nx(). Options that
/// exclude each other, and times below 1, are told by the command that is given them.
class set_options : public detail::handle<rk_set_options, rk_set_options_free> {
  public:
    using handle::handle;

    /// No expiry, no condition.
    set_options() : handle(rk_set_options_new()) {}

    /// Expires after this time. Excludes px() and keep_ttl().
    set_options &ex(std::chrono::seconds time) & { return rk_set_options_ex(raw(), time.count()), *this; }
    set_options ex(std::chrono::seconds time) && { return std::move(ex(time)); }

    /// As ex(), to the millisecond.
    set_options &px(std::chrono::milliseconds time) & { return rk_set_options_px(raw(), time.count()), *this; }
    set_options px(std::chrono::milliseconds time) && { return std::move(px(time)); }

    /// Sets only if the key does not exist. Excludes xx().
    set_options &nx() & { return rk_set_options_nx(raw()), *this; }
    set_options nx() && { return std::move(nx()); }

    /// Sets only if the key exists. Excludes nx().
    set_options &xx() & { return rk_set_options_xx(raw()), *this; }
    set_options xx() && { return std::move(xx()); }

    /// Leaves the expiry that the key has as it is. Excludes ex() and px().
    set_options &keep_ttl() & { return rk_set_options_keep_ttl(raw()), *this; }
    set_options keep_ttl() && { return std::move(keep_ttl()); }
};

/* ---- Replies --------------------------------------------------------------------------------- */

namespace detail {

inline const char *type_name(const rk_reply *reply)
{
    switch (rk_reply_type_of(reply)) {
    case RK_REPLY_STATUS: return "a status";
    case RK_REPLY_ERROR: return "an error";
    case RK_REPLY_INTEGER: return "an integer";
    case RK_REPLY_DOUBLE: return "a double";
    case RK_REPLY_BOOL: return "a bool";
    case RK_REPLY_BYTES: return "bytes";
    case RK_REPLY_BIG_NUMBER: return "a big number";
    case RK_REPLY_VERBATIM: return "a verbatim text";
    case RK_REPLY_ARRAY: return "an array";
    case RK_REPLY_SET: return "a set";
    case RK_REPLY_MAP: return "a map";
    default: return "nil";
    }
}

inline std::string_view view_of(const rk_reply *reply)
{
    std::size_t len = 0;
    const void *data = rk_reply_bytes(reply, &len);
    return {static_cast<const char *>(data), len};
}

/* The part of a reply that is not of the type asked for; none if all is well. A nil may be NULL. */
using misfit = std::optional<const rk_reply *>;

inline misfit unless(bool well, const rk_reply *reply) { return well ? misfit() : misfit(reply); }

/* Reads a reply as a type. */
template <class T, class = void> struct reader;

template <> struct reader<std::string> {
    static misfit read(const rk_reply *reply, std::string &to)
    {
        if (rk_reply_type_of(reply) == RK_REPLY_ERROR || !rk_reply_bytes(reply, nullptr))
            return reply;
        to = std::string(view_of(reply));
        return {};
    }
};

template <> struct reader<bool> {
    static misfit read(const rk_reply *reply, bool &to)
    {
        const rk_reply_type type = rk_reply_type_of(reply);
        to = rk_reply_bool(reply);
        return unless(type == RK_REPLY_BOOL || type == RK_REPLY_INTEGER, reply);
    }
};

template <class N> struct reader<N, std::enable_if_t<std::is_integral_v<N>>> {
    static misfit read(const rk_reply *reply, N &to)
    {
        const rk_reply_type type = rk_reply_type_of(reply);
        if (type == RK_REPLY_INTEGER || type == RK_REPLY_BOOL) {
            const std::int64_t number = rk_reply_integer(reply);
            to = static_cast<N>(number);
            return unless(static_cast<std::int64_t>(to) == number && (to < N(1)) == (number < 1), reply);
        }
        const std::string_view text = view_of(reply);
        const auto end = std::from_chars(text.data(), text.data() + text.size(), to);
        const bool whole = !text.empty() && end.ec == std::errc() && end.ptr == text.data() + text.size();
        return unless(type != RK_REPLY_ERROR && whole, reply);
    }
};

template <class D> struct reader<D, std::enable_if_t<std::is_floating_point_v<D>>> {
    static misfit read(const rk_reply *reply, D &to)
    {
        const rk_reply_type type = rk_reply_type_of(reply);
        if (type == RK_REPLY_DOUBLE || type == RK_REPLY_INTEGER) {
            to = static_cast<D>(rk_reply_double(reply));
            return {};
        }
        const std::string text(view_of(reply));
        char *end = nullptr;
        to = static_cast<D>(std::strtod(text.c_str(), &end));
        return unless(type != RK_REPLY_ERROR && !text.empty() && *end == '\0', reply);
    }
};

template <class T> struct reader<std::optional<T>> {
    static misfit read(const rk_reply *reply, std::optional<T> &to)
    {
        to.reset();
        return rk_reply_type_of(reply) == RK_REPLY_NIL ? misfit() : reader<T>::read(reply, to.emplace());
    }
};

/* Maps: pairs, or keys and values in turn, or an array of arrays of two. */
template <class M> struct reader<M, std::void_t<typename M::mapped_type>> {
    static misfit read(const rk_reply *reply, M &to)
    {
        const rk_reply_type type = rk_reply_type_of(reply);
        const std::size_t len = rk_reply_len(reply);
        misfit wrong;
        to.clear();
        if (type == RK_REPLY_MAP) {
            for (std::size_t i = 0; i < len && !wrong; i++)
                wrong = pair(rk_reply_key_at(reply, i), rk_reply_at(reply, i), to);
        } else if (type != RK_REPLY_ARRAY) {
            wrong = reply;
        } else if (len > 0 && rk_reply_type_of(rk_reply_at(reply, 0)) == RK_REPLY_ARRAY) {
            for (std::size_t i = 0; i < len && !wrong; i++) {
                const rk_reply *both = rk_reply_at(reply, i);
                wrong = rk_reply_len(both) == 2 ? pair(rk_reply_at(both, 0), rk_reply_at(both, 1), to) : misfit(both);
            }
        } else if (len % 2 != 0) {
            wrong = reply;
        } else {
            for (std::size_t i = 0; i < len && !wrong; i += 2)
                wrong = pair(rk_reply_at(reply, i), rk_reply_at(reply, i + 1), to);
        }
        return wrong;
    }

    static misfit pair(const rk_reply *key, const rk_reply *value, M &to)
    {
        typename M::key_type k{};
        typename M::mapped_type v{};
        misfit wrong = reader<typename M::key_type>::read(key, k);
        if (!wrong)
            wrong = reader<typename M::mapped_type>::read(value, v);
        if (!wrong)
            to.emplace(std::move(k), std::move(v));
        return wrong;
    }
};

template <class T> struct reader<std::vector<T>> {
    static misfit read(const rk_reply *reply, std::vector<T> &to)
    {
        const rk_reply_type type = rk_reply_type_of(reply);
        misfit wrong = unless(type == RK_REPLY_ARRAY || type == RK_REPLY_SET, reply);
        const std::size_t len = rk_reply_len(reply);
        to.clear();
        to.reserve(len);
        for (std::size_t i = 0; i < len && !wrong; i++) {
            T one{};
            wrong = reader<T>::read(rk_reply_at(reply, i), one);
            to.push_back(std::move(one));
        }
        return wrong;
    }
};

} // namespace detail

/// A reply, or a part of one; a part keeps the whole alive, and a copy is the same reply.
///
///     for (redkeep::reply user : keep.command("ZRANGE", "scores", 0, 9))
///         std::cout << user.text() << "\n";
///     auto scores = keep.command("ZRANGE", "scores", 0, 9, "WITHSCORES").as<std::map<std::string, double>>();
class reply {
  public:
    using c_type = rk_reply;

    /// Takes over the root of a reply that a C function made; NULL is a nil.
    explicit reply(rk_reply *root) : c_(root, rk_reply_free) {}

    /// The reply, for functions of redkeep.h. It stays this object's.
    const rk_reply *raw() const noexcept { return c_.get(); }

    rk_reply_type type() const noexcept { return rk_reply_type_of(raw()); }
    bool is_nil() const noexcept { return type() == RK_REPLY_NIL; }

    /// An error inside an array, as pipelines and EXEC return them; its words are text().
    bool is_error() const noexcept { return type() == RK_REPLY_ERROR; }

    /// What it holds, as a T: std::string, a number, bool, and std::optional, std::vector and maps of these. Numbers
    /// are read from text, too; a nil is an empty std::optional and nothing else. RK_ERR_REPLY_TYPE if it is of another
    /// type, RK_ERR_SERVER if it is an error.
    template <class T> returns<T> as() const
    {
        T made{};
        const detail::misfit wrong = detail::reader<T>::read(raw(), made);
        auto check = [wrong](rk_error **err) {
            if (!wrong)
                return RK_OK;
            const bool error = rk_reply_type_of(*wrong) == RK_REPLY_ERROR;
            const std::string text = error
                                         ? std::string(detail::view_of(*wrong))
                                         : std::string("reply: ") + detail::type_name(*wrong) + ", which does not fit";
            const rk_status status = error ? RK_ERR_SERVER : RK_ERR_REPLY_TYPE;
            rk_error_set(err, status, text.c_str());
            return status;
        };
        return detail::attempt(check).template then<T>([&] { return std::move(made); });
    }

    /// The text or the bytes; empty for anything else.
    std::string text() const { return std::string(detail::view_of(raw())); }

    /// As text(), borrowed for as long as any part of the reply lives.
    std::string_view view() const &noexcept { return detail::view_of(raw()); }
    std::string_view view() const && = delete;

    /// The number; 0 for anything else.
    std::int64_t integer() const noexcept { return rk_reply_integer(raw()); }
    double real() const noexcept { return rk_reply_double(raw()); }
    bool boolean() const noexcept { return rk_reply_bool(raw()); }

    /// How many elements, or pairs of a map, there are.
    std::size_t size() const noexcept { return rk_reply_len(raw()); }

    /// The element at a place, from 0; of a map, the value. A nil beyond the end.
    reply at(std::size_t i) const { return reply(c_, rk_reply_at(raw(), i)); }
    reply operator[](std::size_t i) const { return at(i); }

    /// The key of a pair of a map.
    reply key_at(std::size_t i) const { return reply(c_, rk_reply_key_at(raw(), i)); }

    /// Walks over the elements, or the values of a map.
    class iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = reply;
        using difference_type = std::ptrdiff_t;
        using pointer = const reply *;
        using reference = reply;

        reply operator*() const { return reply(whole_, rk_reply_at(whole_.get(), i_)); }
        iterator &operator++() { return ++i_, *this; }
        iterator operator++(int)
        {
            iterator before = *this;
            ++i_;
            return before;
        }
        bool operator==(const iterator &other) const noexcept { return i_ == other.i_; }
        bool operator!=(const iterator &other) const noexcept { return i_ != other.i_; }

      private:
        friend class reply;
        iterator(std::shared_ptr<const rk_reply> whole, std::size_t i) : whole_(std::move(whole)), i_(i) {}

        std::shared_ptr<const rk_reply> whole_;
        std::size_t i_;
    };

    iterator begin() const { return iterator(c_, 0); }
    iterator end() const { return iterator(c_, size()); }

  private:
    reply(const std::shared_ptr<const rk_reply> &whole, const rk_reply *part) : c_(whole, part) {}

    std::shared_ptr<const rk_reply> c_;
};

namespace detail {

/* Replies that become something else at once. */
template <class T> struct output<std::vector<T>> {
    rk_reply *raw = nullptr;
    rk_reply **to() { return &raw; }
    std::vector<T> made(rk_status)
    {
        const reply whole(raw);
        std::vector<T> all;
        reader<std::vector<T>>::read(whole.raw(), all);
        return all;
    }
};

} // namespace detail

/* ---- Pipelines, connections, transactions, walks --------------------------------------------- */

/// Commands that go to the server together: append them, execute them, read an array of replies.
///
///     auto replies = keep.pipeline().append("INCR", "visits").append("GET", "greeting").execute();
///     auto visits = replies[0].as<int>();
class pipeline : public detail::handle<rk_pipeline, rk_pipeline_free> {
  public:
    using handle::handle;

    /// Appends a command, its name first: texts and numbers, or a list of texts.
    template <class... Args, detail::is_command<Args...> = 0> chained<pipeline> append(const Args &...args)
    {
        const detail::words all(args...);
        return detail::change(*this, rk_pipeline_append, raw(), all.data(), all.size());
    }
    chained<pipeline> append(const strings &args)
    {
        return detail::change(*this, rk_pipeline_append, raw(), args.data(), args.size());
    }

    /// Appends the call of a Lua script with its keys and arguments.
    chained<pipeline> append_eval(std::string_view lua, const strings &keys = {}, const strings &args = {})
    {
        return detail::change(*this, rk_pipeline_append_eval, raw(), detail::text(lua, "lua"), keys.data(), keys.size(),
                              args.data(), args.size());
    }

    /// Has the commands executed as one transaction: all of them, with nobody else's in between, or none. For the next
    /// execution.
    chained<pipeline> atomic(bool on = true) { return detail::change(*this, rk_pipeline_set_atomic, raw(), on); }

    /// The time for the next execution as a whole; by default the property "command_timeout".
    chained<pipeline> timeout(timespan time) { return detail::change(*this, rk_pipeline_set_timeout, raw(), time); }

    /// How many commands it holds.
    std::size_t size() const noexcept { return rk_pipeline_len(raw()); }

    /// Sends the commands: an array with one reply for each, is_error() where the server refused it. The pipeline is
    /// empty afterwards, however it ended.
    returns<reply> execute() { return detail::call<reply>(rk_pipeline_execute, raw()); }

    /// After an execution that failed: what became of the command at a place, from 0.
    rk_outcome outcome(std::size_t i) const noexcept { return rk_pipeline_outcome(raw(), i); }
};

/// A connection of one's own, for what needs one: WATCH, SELECT, SUBSCRIBE, MONITOR. It goes back to its pool at the
/// end of its scope, or is closed, if its state was changed.
class connection : public detail::handle<rk_connection, rk_connection_release> {
  public:
    using handle::handle;

    /// Any command, its name first: texts and numbers, or a list of texts.
    template <class... Args, detail::is_command<Args...> = 0> returns<reply> command(const Args &...args)
    {
        const detail::words all(args...);
        return detail::call<reply>(rk_connection_command, raw(), all.data(), all.size());
    }
    returns<reply> command(const strings &args)
    {
        return detail::call<reply>(rk_connection_command, raw(), args.data(), args.size());
    }

    /// As command(), with a time of its own.
    template <class... Args, detail::is_command<Args...> = 0>
    returns<reply> command_within(timespan time, const Args &...args)
    {
        const detail::words all(args...);
        return detail::call<reply>(rk_connection_command_within, raw(), all.data(), all.size(), time);
    }
    returns<reply> command_within(timespan time, const strings &args)
    {
        return detail::call<reply>(rk_connection_command_within, raw(), args.data(), args.size(), time);
    }

    /// The next message on this connection, after SUBSCRIBE, MONITOR or CLIENT TRACKING; none if none came in time.
    returns<std::optional<reply>> receive(timespan time)
    {
        return detail::call<std::optional<reply>>(rk_connection_receive, raw(), time);
    }

    /// A pipeline on this connection, where MULTI, WATCH and the like may be appended too.
    returns<redkeep::pipeline> pipeline() { return detail::call<redkeep::pipeline>(rk_connection_pipeline_new, raw()); }
};

/// A transaction under way: what the function given to manager::transaction() reads with, and appends to.
class transaction {
  public:
    explicit transaction(rk_transaction *c) noexcept : c_(c) {}
    transaction(const transaction &) = delete;
    transaction &operator=(const transaction &) = delete;

    rk_transaction *raw() const noexcept { return c_; }

    /// Sends a command now: to read what is to be decided upon.
    template <class... Args, detail::is_command<Args...> = 0> returns<reply> read(const Args &...args)
    {
        const detail::words all(args...);
        return detail::call<reply>(rk_transaction_read, raw(), all.data(), all.size());
    }
    returns<reply> read(const strings &args)
    {
        return detail::call<reply>(rk_transaction_read, raw(), args.data(), args.size());
    }

    /// Appends a command to what is executed in the end.
    template <class... Args, detail::is_command<Args...> = 0> chained<transaction> append(const Args &...args)
    {
        const detail::words all(args...);
        return detail::change(*this, rk_transaction_append, raw(), all.data(), all.size());
    }
    chained<transaction> append(const strings &args)
    {
        return detail::change(*this, rk_transaction_append, raw(), args.data(), args.size());
    }

  private:
    rk_transaction *c_;
};

/// A walk over the keys, once:
///
///     for (const std::string &key : keep.scan("user:*"))
///         std::cout << key << "\n";
///
/// Where errors are not thrown, each step is a result<std::string>, and an error is the last.
class scan : public detail::handle<rk_scan, rk_scan_free> {
  public:
    using handle::handle;

    /// The next key; none at the end. After an error, the next call goes on where it was.
    returns<std::optional<std::string>> next() { return detail::call<std::optional<std::string>>(rk_scan_next, raw()); }

    class iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = returns<std::string>;
        using difference_type = std::ptrdiff_t;
        using pointer = value_type *;
        using reference = value_type &;

        reference operator*() const { return *here_; }
        pointer operator->() const { return &*here_; }
        iterator &operator++()
        {
#ifdef REDKEEP_RESULTS
            if (here_ && !*here_) {
                here_.reset();
                return *this;
            }
            here_.reset();
            auto next = of_->next();
            if (!next)
                here_.emplace(next.error());
            else if (*next)
                here_.emplace(std::move(**next));
#else
            here_ = of_->next();
#endif
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(const iterator &other) const noexcept { return here_.has_value() == other.here_.has_value(); }
        bool operator!=(const iterator &other) const noexcept { return !(*this == other); }

      private:
        friend class scan;
        iterator() = default;
        explicit iterator(scan *of) : of_(of) { ++*this; }

        scan *of_ = nullptr;
        mutable std::optional<value_type> here_;
    };

    iterator begin() { return iterator(this); }
    iterator end() { return iterator(); }
};

/* ---- Locks ----------------------------------------------------------------------------------- */

namespace detail {

/* A handle, and how often it came to hold its lock anew: a guard of before must not give back what is held now. */
struct lock_state {
    explicit lock_state(rk_lock *lock) noexcept : c(lock) {}
    lock_state(const lock_state &) = delete;
    lock_state &operator=(const lock_state &) = delete;
    ~lock_state() { rk_lock_free(c); }

    rk_lock *c;
    std::uint64_t holds = 0;
};

} // namespace detail

/// A lock that is held until the end of its scope. It may outlive the redkeep::lock that it came from.
class [[nodiscard]] held {
  public:
    held(held &&) noexcept = default;
    held &operator=(held &&other) noexcept
    {
        std::swap(of_, other.of_);
        std::swap(hold_, other.hold_);
        return *this;
    }
    ~held()
    {
        if (mine())
            rk_lock_release(of_->c, nullptr, nullptr);
    }

    /// Whether the lock is still held, as far as can be known without asking the server.
    bool is_held() const noexcept { return mine() && rk_lock_is_held(of_->c); }

    /// The number of this acquisition, larger than that of every one before: hand it to the store that the lock
    /// protects. None of a Redlock, and once it is released.
    returns<std::optional<std::int64_t>> fence() const
    {
        if (!mine())
            return std::optional<std::int64_t>();
        return detail::call<std::optional<std::int64_t>>(rk_lock_fence, of_->c);
    }

    /// Gives it back now. False if it was lost before, or is given back already.
    returns<bool> release()
    {
        const auto of = std::move(of_);
        if (!of || hold_ != of->holds)
            return false;
        return detail::call<bool>(rk_lock_release, of->c);
    }

  private:
    friend class lock;
    explicit held(std::shared_ptr<detail::lock_state> of) noexcept : of_(std::move(of)), hold_(of_->holds) {}

    bool mine() const noexcept { return of_ && hold_ == of_->holds; }

    std::shared_ptr<detail::lock_state> of_;
    std::uint64_t hold_;
};

/// A lock by name, made by manager::lock() and its kin. Its lease is renewed in the background while it is held.
///
///     auto report = keep.lock("report", 30s);
///     {
///         auto guard = report.acquire(5s);       // RK_ERR_LOCK_TIMEOUT after that
///         write(*guard.fence(), ...);
///     }                                          // released
///
/// A lock and its guards are used by one thread at a time; each thread makes a lock of its own.
class lock {
  public:
    using c_type = rk_lock;

    explicit lock(rk_lock *c) : of_(std::make_shared<detail::lock_state>(c)) {}
    lock(lock &&) noexcept = default;
    lock &operator=(lock &&) noexcept = default;

    rk_lock *raw() const noexcept { return of_ ? of_->c : nullptr; }

    /// Sets an option, for acquisitions from then on: "renew" (true), "max_hold" (off), "fair" (false), "reentrant"
    /// (false); see rk_lock_option().
    chained<lock> option(std::string_view name, const setting &value)
    {
        return detail::change(*this, rk_lock_option, raw(), detail::text(name, "name"),
                              detail::text(value.text(), "value"));
    }

    /// Has a function (std::string_view name) called when the lock was lost while it was held, in a thread of the
    /// library's. It should be quick; what it throws is dropped. Once, before the lock is acquired.
    template <class F> returns<void> on_lost(F &&function)
    {
        using own = detail::kept<std::decay_t<F>>;
        auto cb = [](const char *name, void *userdata) {
            detail::guarded(nullptr, RK_ERR_INTERNAL, nullptr, [&] {
                own::at(userdata).function(std::string_view(name));
                return 0;
            });
        };
        return detail::hand_over(own::make(std::forward<F>(function)), rk_lock_on_lost, raw(),
                                 static_cast<void (*)(const char *, void *)>(cb));
    }

    /// Waits for the lock, or until the time is over: RK_ERR_LOCK_TIMEOUT, "Could not acquire lock: lock:{name}".
    returns<held> acquire(timespan wait)
    {
        const bool again = rk_lock_is_held(raw());
        detail::attempt it(rk_lock_acquire, raw(), wait);
        return it.then<held>([&] { return guard(again); });
    }

    /// Tries once: none if somebody else holds it.
    returns<std::optional<held>> try_acquire()
    {
        const bool again = rk_lock_is_held(raw());
        bool acquired = false;
        detail::attempt it(rk_lock_try_acquire, raw(), &acquired);
        return it.then<std::optional<held>>(
            [&] { return acquired ? std::optional<held>(guard(again)) : std::optional<held>(); });
    }

    /// Whether it is held through this object, as far as can be known without asking the server.
    bool is_held() const noexcept { return rk_lock_is_held(raw()); }

  private:
    held guard(bool again)
    {
        if (!again)
            of_->holds++;
        return held(of_);
    }

    std::shared_ptr<detail::lock_state> of_;
};

/* ---- Rate limits, sessions, cache ------------------------------------------------------------ */

/// What a limiter says of a request.
struct verdict {
    bool allowed = false;
    /// How many more of cost 1 would be allowed now; -1 if Redis is away.
    std::int64_t remaining = 0;
    /// After which time the same check is allowed; 0 if it was.
    std::chrono::milliseconds retry_after{0};
    /// After which time the whole limit is there again.
    std::chrono::milliseconds reset_after{0};

    explicit operator bool() const noexcept { return allowed; }
};

/// At most so many requests within any window of time, for each id.
///
///     auto limiter = keep.limiter(100, 1min);
///     if (auto verdict = limiter.check("user:1"); !verdict)
///         reject(verdict.retry_after);
class limiter : public detail::handle<rk_limiter, rk_limiter_free> {
  public:
    using handle::handle;

    /// Sets an option: "algorithm" ("sliding" or "gcra"), "when_away" ("open" or "closed"); see rk_limiter_option().
    chained<limiter> option(std::string_view name, const setting &value)
    {
        return detail::change(*this, rk_limiter_option, raw(), detail::text(name, "name"),
                              detail::text(value.text(), "value"));
    }

    /// Whether a request of this id is allowed; if so, it is counted as cost: all of it, or nothing.
    returns<verdict> check(std::string_view id, std::int64_t cost = 1) const
    {
        return ask(rk_limiter_check_full, detail::text(id, "id"), cost);
    }

    /// What check() would say; nothing is counted.
    returns<verdict> peek(std::string_view id) const { return ask(rk_limiter_peek, detail::text(id, "id")); }

    /// Forgets what was counted for an id. Whether there was something.
    returns<bool> reset(std::string_view id) const
    {
        return detail::call<bool>(rk_limiter_reset, raw(), detail::text(id, "id"));
    }

  private:
    template <class F, class... Args> returns<verdict> ask(F function, const Args &...args) const
    {
        verdict made;
        std::int64_t retry = 0, reset = 0;
        detail::attempt it(function, raw(), args..., &made.allowed, &made.remaining, &retry, &reset);
        return it.then<verdict>([&] {
            made.retry_after = std::chrono::milliseconds(retry);
            made.reset_after = std::chrono::milliseconds(reset);
            return made;
        });
    }
};

/// Sessions that live equally long: a JSON object each, under a random id.
class sessions : public detail::handle<rk_sessions, rk_sessions_free> {
  public:
    using handle::handle;

    /// Creates a session with these data, a JSON object, and returns its id.
    returns<std::string> create(std::string_view user_id, std::string_view data_json = {}) const
    {
        return detail::call<std::string>(rk_sessions_create, raw(), detail::text(user_id, "user_id"),
                                         detail::text(data_json, "data_json"));
    }

    /// The whole session as JSON, "user_id" and "created_at" among its fields.
    returns<std::optional<std::string>> get(std::string_view id) const
    {
        return detail::call<std::optional<std::string>>(rk_sessions_get, raw(), detail::text(id, "id"));
    }

    /// Sets the fields of a JSON object, and takes those out that are null. False if there is no such session.
    returns<bool> update(std::string_view id, std::string_view data_json) const
    {
        return detail::call<bool>(rk_sessions_update, raw(), detail::text(id, "id"),
                                  detail::text(data_json, "data_json"));
    }

    /// Lets a session live for the whole time again. False if there is no such session.
    returns<bool> touch(std::string_view id) const
    {
        return detail::call<bool>(rk_sessions_touch, raw(), detail::text(id, "id"));
    }

    /// Deletes a session. False if there was none.
    returns<bool> del(std::string_view id) const
    {
        return detail::call<bool>(rk_sessions_delete, raw(), detail::text(id, "id"));
    }

    /// The ids of a user's live sessions.
    returns<std::vector<std::string>> all_of(std::string_view user_id) const
    {
        detail::bytes list;
        detail::attempt it(rk_sessions_all_of, raw(), detail::text(user_id, "user_id"), list.to());
        return it.then<std::vector<std::string>>([&] {
            // A JSON list of strings in which nothing is escaped: ids are letters, digits, -, _ and .
            std::vector<std::string> ids;
            const std::string json = list.text();
            for (std::size_t from = json.find('"'); from != std::string::npos; from = json.find('"', from)) {
                const std::size_t to = json.find('"', from + 1);
                ids.push_back(json.substr(from + 1, to - from - 1));
                from = to + 1;
            }
            return ids;
        });
    }

    /// Deletes all sessions of a user, and returns how many those were.
    returns<std::int64_t> del_all_of(std::string_view user_id) const
    {
        return detail::call<std::int64_t>(rk_sessions_delete_all_of, raw(), detail::text(user_id, "user_id"));
    }
};

/// Results of a function, kept by its arguments, which are JSON.
///
///     auto rows = keep.cache("rows");
///     rows.option("expire", 1h);
///     auto some = rows.get_or_compute(R"({"year": 2026})", [&](std::string_view args) {
///         return query(args);                    // JSON; or std::nullopt for "there is none"
///     });
class cache : public detail::handle<rk_cache, rk_cache_free> {
  public:
    using handle::handle;

    /// Sets an option, such as "expire", "jitter", "early", "negative", "stale" or "skip_keys"; see rk_cache_option().
    chained<cache> option(std::string_view name, const setting &value)
    {
        return detail::change(*this, rk_cache_option, raw(), detail::text(name, "name"),
                              detail::text(value.text(), "value"));
    }

    /// The value for these arguments: the one that is kept, or what the function makes of them. The function runs in
    /// this thread, once for all who ask at the same time; it is called with the arguments, or without any, and returns
    /// JSON as a std::string, or a std::optional of it, or a result of either. What it throws comes out of this call;
    /// others who wait for the same value get RK_ERR_COMPUTE with its text.
    template <class F>
    returns<std::optional<std::string>> get_or_compute(std::string_view args_json, F &&function) const
    {
        using lent = detail::lent<std::remove_reference_t<F>>;
        auto cb = [](const char *args, rk_bytes *out, void *userdata, rk_error **err) {
            lent &it = lent::at(userdata);
            it.thrown.clear();
            return detail::guarded(err, RK_ERR_COMPUTE, &it.thrown, [&] {
                if constexpr (std::is_invocable_v<F &, std::string_view>)
                    return deliver(it.function(std::string_view(args)), out, err);
                else
                    return deliver(it.function(), out, err);
            });
        };
        lent it{function, {}};
        detail::bytes json;
        detail::attempt call(rk_cache_get_or_compute, raw(), detail::text(args_json, "args_json"),
                             static_cast<std::int32_t (*)(const char *, rk_bytes *, void *, rk_error **)>(cb),
                             static_cast<void *>(&it), json.to());
        it.thrown.go_on(call.status());
        return call.then<std::optional<std::string>>(
            [&] { return json.raw.data ? std::optional<std::string>(json.text()) : std::nullopt; });
    }

    /// Forgets the value for these arguments.
    returns<void> invalidate(std::string_view args_json) const
    {
        return detail::call<void>(rk_cache_invalidate, raw(), detail::text(some(args_json), "args_json"));
    }

    /// Forgets all values of the namespace, at once.
    returns<void> invalidate_all() const { return detail::call<void>(rk_cache_invalidate, raw(), nullptr); }

  private:
    // No text is not all texts.
    static std::string_view some(std::string_view text) { return text.data() ? text : std::string_view(""); }

    static std::int32_t deliver(const std::optional<std::string> &made, rk_bytes *out, rk_error **err)
    {
        return made ? rk_bytes_copy(out, made->data(), made->size(), err) : RK_NIL;
    }

    template <class T> static std::int32_t deliver(const result<T> &made, rk_bytes *out, rk_error **err)
    {
        return made.has_value() ? deliver(*made, out, err) : detail::settled(made.error(), err);
    }
};

/// Copies of values in this process, which the server itself keeps fresh: a read of a key that is known here does not
/// use the network. It needs a server from 6.0 on that allows CLIENT TRACKING.
///
///     auto near = keep.near_cache(64 << 20);
///     near.option("prefix", "user:");
///     auto name = near.get("user:1");
class near_cache : public detail::handle<rk_near, rk_near_free> {
  public:
    using handle::handle;

    /// Sets an option, "ttl" or "prefix"; see rk_near_option(). What was kept before is forgotten.
    chained<near_cache> option(std::string_view name, const setting &value)
    {
        return detail::change(*this, rk_near_option, raw(), detail::text(name, "name"),
                              detail::text(value.text(), "value"));
    }

    /// The value of a key.
    returns<std::optional<std::string>> get(std::string_view key) const
    {
        return detail::call<std::optional<std::string>>(rk_near_get, raw(), key.data(), key.size());
    }

    /// Copies the value of a key into a buffer; as manager::get_into(). Nothing is allocated where it is known.
    returns<std::optional<std::size_t>> get_into(std::string_view key, void *buffer, std::size_t cap) const
    {
        return detail::copy_into(rk_near_get_into, raw(), key, buffer, cap);
    }

    /// The JSON text stored at a key. RK_ERR_STORED_JSON if what is stored is not JSON.
    returns<std::optional<std::string>> get_json(std::string_view key) const
    {
        return detail::call<std::optional<std::string>>(rk_near_get_json, raw(), key.data(), key.size());
    }

    /// The values of several keys, in their order.
    returns<std::vector<std::optional<std::string>>> mget(const strings &keys) const
    {
        return detail::call<std::vector<std::optional<std::string>>>(rk_near_mget, raw(), keys.data(), keys.size());
    }

    /// The value of one field of a hash.
    returns<std::optional<std::string>> hget(std::string_view name, std::string_view field) const
    {
        return detail::call<std::optional<std::string>>(rk_near_hget, raw(), name.data(), name.size(), field.data(),
                                                        field.size());
    }

    /// All fields of a hash with their values: a map, to be read by as<std::map<std::string, std::string>>().
    returns<reply> hgetall(std::string_view name) const
    {
        return detail::call<reply>(rk_near_hgetall, raw(), name.data(), name.size());
    }

    /// Forgets everything.
    returns<void> clear() const { return detail::call<void>(rk_near_clear, raw()); }

    /// What it has seen so far, as JSON; see rk_near_stats_json().
    returns<std::string> stats_json() const { return detail::call<std::string>(rk_near_stats_json, raw()); }
};

/* ---- Publish and subscribe ------------------------------------------------------------------- */

/// What a subscriber was told: a message, or a gap, after which something may be missing.
class event : public detail::handle<rk_event, rk_event_free> {
  public:
    using handle::handle;

    bool is_message() const noexcept { return rk_event_kind(raw()) == RK_EVENT_MESSAGE; }

    /// The connection was lost and is there again: what was published meanwhile is lost to this subscription.
    bool is_gap() const noexcept { return rk_event_kind(raw()) == RK_EVENT_GAP; }

    /// Of a message the channel published to, of a gap the one subscribed to; empty if that was a pattern.
    std::string_view channel() const noexcept { return detail::view(rk_event_channel(raw())); }

    /// The pattern that was subscribed to; empty if it was a channel.
    std::string_view pattern() const noexcept { return detail::view(rk_event_pattern(raw())); }

    /// What was published. It lives as long as the event.
    std::string_view data() const noexcept
    {
        std::size_t len = 0;
        const void *data = rk_event_data(raw(), &len);
        return {static_cast<const char *>(data), len};
    }
};

/// Listens to channels, patterns and sharded channels: with handlers, or by polling.
///
///     auto subscriber = keep.subscriber();
///     subscriber.on_message([](std::string_view channel, std::string_view data) { ... });
///     subscriber.add("orders");
class subscriber : public detail::handle<rk_subscriber, rk_subscriber_free> {
  public:
    using handle::handle;

    /// Sets an option: "queue_limit", "queue_bytes", "overflow"; see rk_subscriber_option().
    chained<subscriber> option(std::string_view name, const setting &value)
    {
        return detail::change(*this, rk_subscriber_option, raw(), detail::text(name, "name"),
                              detail::text(value.text(), "value"));
    }

    /// Subscribes to a channel, and returns when the server has confirmed it.
    chained<subscriber> add(std::string_view channel)
    {
        return with(rk_subscriber_add, detail::text(channel, "channel"));
    }

    /// As add(), to all channels whose names match: "?" is any character, "*" any number of them, "[ab]" one of these.
    chained<subscriber> add_pattern(std::string_view pattern)
    {
        return with(rk_subscriber_add_pattern, detail::text(pattern, "pattern"));
    }

    /// As add(), to a sharded channel; see manager::publish_sharded().
    chained<subscriber> add_sharded(std::string_view channel)
    {
        return with(rk_subscriber_add_sharded, detail::text(channel, "channel"));
    }

    /// Ends the subscription to a channel. False if there was none.
    returns<bool> remove(std::string_view channel)
    {
        return without(rk_subscriber_remove, detail::text(channel, "channel"));
    }
    returns<bool> remove_pattern(std::string_view pattern)
    {
        return without(rk_subscriber_remove_pattern, detail::text(pattern, "pattern"));
    }
    returns<bool> remove_sharded(std::string_view channel)
    {
        return without(rk_subscriber_remove_sharded, detail::text(channel, "channel"));
    }

    /// Has every message handed to a function (std::string_view channel, std::string_view data), on the manager's
    /// worker threads: one after the other for each subscription, at the same time for different ones. Set once, before
    /// anything is added. What it throws goes no further: failed() counts it.
    template <class F> chained<subscriber> on_message(F &&function)
    {
        auto counted = [function = std::decay_t<F>(std::forward<F>(function)),
                        failed = failed_](std::string_view channel, std::string_view data) mutable {
            count(*failed, [&](rk_error **err) { return detail::settle(err, function, channel, data); });
        };
        using own = detail::kept<decltype(counted)>;
        auto cb = [](const char *channel, const void *data, std::size_t len, void *userdata) {
            own::at(userdata).function(std::string_view(channel),
                                       std::string_view(static_cast<const char *>(data), len));
        };
        return handler(own::make(std::move(counted)), rk_subscriber_on_message,
                       static_cast<void (*)(const char *, const void *, std::size_t, void *)>(cb));
    }

    /// Has a function (std::string_view channel) called for every gap, in its place among the messages: the channel or
    /// the pattern subscribed to. Otherwise as on_message().
    template <class F> chained<subscriber> on_gap(F &&function)
    {
        auto counted = [function = std::decay_t<F>(std::forward<F>(function)),
                        failed = failed_](std::string_view channel) mutable {
            count(*failed, [&](rk_error **err) { return detail::settle(err, function, channel); });
        };
        using own = detail::kept<decltype(counted)>;
        auto cb = [](const char *channel, void *userdata) { own::at(userdata).function(std::string_view(channel)); };
        return handler(own::make(std::move(counted)), rk_subscriber_on_gap,
                       static_cast<void (*)(const char *, void *)>(cb));
    }

    /// How often a handler failed.
    std::uint64_t failed() const noexcept { return failed_ ? failed_->load(std::memory_order_relaxed) : 0; }

    /// The next event; none if nothing came in time. Not with handlers.
    returns<std::optional<event>> poll(timespan wait)
    {
        return detail::call<std::optional<event>>(rk_subscriber_poll, raw(), wait);
    }

    /// A descriptor for select, poll and epoll, readable while there is something to poll; -1 if there is none.
    int fd() const noexcept { return rk_subscriber_fd(raw()); }

    /// What it has seen so far, as JSON; its "failed" is always 0, see failed().
    returns<std::string> stats_json() const { return detail::call<std::string>(rk_subscriber_stats_json, raw()); }

  private:
    using counter = std::atomic<std::uint64_t>;

    template <class F> chained<subscriber> with(F function, const detail::text &name)
    {
        return detail::change(*this, function, raw(), name);
    }

    template <class F> returns<bool> without(F function, const detail::text &name)
    {
        detail::attempt it(function, raw(), name);
        return it.then<bool>([&] { return it.status() == RK_OK; });
    }

    template <class Own, class F, class Cb> chained<subscriber> handler(std::unique_ptr<Own> own, F function, Cb cb)
    {
#ifdef REDKEEP_RESULTS
        return detail::hand_over(std::move(own), function, raw(), cb);
#else
        detail::hand_over(std::move(own), function, raw(), cb);
        return *this;
#endif
    }

    template <class Body> static void count(counter &failed, Body body) noexcept
    {
        rk_error *err = nullptr;
        if (detail::guarded(&err, RK_ERR_INTERNAL, nullptr, [&] { return body(&err); }) != RK_OK)
            failed.fetch_add(1, std::memory_order_relaxed);
        rk_error_free(err);
    }

    std::shared_ptr<counter> failed_ = std::make_shared<counter>(0);
};

/* ---- Streams --------------------------------------------------------------------------------- */

/// Sends messages to channels, which are Redis streams.
///
///     auto sender = keep.sender();
///     sender.register_channel("orders").send("orders", "order.created", R"({"id": 1})");
class sender : public detail::handle<rk_sender, rk_sender_free> {
  public:
    using handle::handle;

    /// Names a channel that may be sent to.
    chained<sender> register_channel(std::string_view channel)
    {
        return detail::change(*this, rk_sender_register_channel, raw(), detail::text(channel, "channel"));
    }

    /// As above, with a limit for the stream: {"max_length": entries} or {"max_age": seconds}.
    chained<sender> register_channel(std::string_view channel, std::string_view options_json)
    {
        return detail::change(*this, rk_sender_register_channel_with, raw(), detail::text(channel, "channel"),
                              detail::text(options_json, "options_json"));
    }

    /// Sends a message, whose body is JSON, and returns its id. Where the error's outcome() is RK_OUTCOME_UNKNOWN, it
    /// may have been sent.
    returns<std::string> send(std::string_view channel, std::string_view name, std::string_view body_json) const
    {
        return detail::call<std::string>(rk_sender_send, raw(), detail::text(channel, "channel"),
                                         detail::text(name, "name"), detail::text(body_json, "body_json"));
    }

    /// Sends a message at most once for this key, within 24 hours: call it again after an unknown outcome.
    returns<std::string> send_once(std::string_view channel, std::string_view name, std::string_view body_json,
                                   std::string_view key) const
    {
        return detail::call<std::string>(rk_sender_send_once, raw(), detail::text(channel, "channel"),
                                         detail::text(name, "name"), detail::text(body_json, "body_json"),
                                         detail::text(key, "key"));
    }

    /// Sends many messages in one go, each a name and a body in JSON, and returns their ids.
    returns<std::vector<std::string>> send_many(std::string_view channel, const pairs &messages) const
    {
        return detail::call<std::vector<std::string>>(rk_sender_send_many, raw(), detail::text(channel, "channel"),
                                                      messages.data(), messages.size());
    }

    /// Sends the messages of the channel's dead-letter stream once more, the oldest first, and returns how many those
    /// were.
    returns<std::int64_t> redrive(std::string_view channel, std::int64_t most) const
    {
        return detail::call<std::int64_t>(rk_sender_redrive, raw(), detail::text(channel, "channel"), most);
    }
};

/// A message that came. What is read from it lives as long as it does.
class message {
  public:
    using c_type = rk_message;

    /// Takes over a message that was polled.
    explicit message(rk_message *polled) noexcept : c_(polled, {true}) {}

    const rk_message *raw() const noexcept { return c_.get(); }

    /// Its id in the stream: milliseconds, a hyphen, a number.
    std::string_view id() const noexcept { return detail::view(rk_message_id(raw())); }

    /// The channel it came from.
    std::string_view channel() const noexcept { return detail::view(rk_message_channel(raw())); }

    /// What it is about.
    std::string_view name() const noexcept { return detail::view(rk_message_name(raw())); }

    /// The body, which is JSON.
    std::string_view body() const noexcept { return detail::view(rk_message_body(raw())); }

    /// How often it was delivered, this time included.
    std::int64_t deliveries() const noexcept { return rk_message_deliveries(raw()); }

    /// A polled message was handled. In a handler, that is said by returning.
    returns<void> ack() const { return detail::call<void>(rk_message_ack, raw()); }

    /// It could not be handled: it is delivered again after a pause, or put aside when it came often enough. In a
    /// handler, the same as throwing something with this text.
    returns<void> fail(std::string_view reason) const
    {
        return detail::call<void>(rk_message_fail, raw(), detail::text(reason, "reason"));
    }

  private:
    friend class consumer;

    struct freed {
        bool own = true;
        void operator()(rk_message *c) const noexcept
        {
            if (own)
                rk_message_free(c);
        }
    };

    explicit message(const rk_message *lent) noexcept : c_(const_cast<rk_message *>(lent), {false}) {}

    std::unique_ptr<rk_message, freed> c_;
};

/// Receives the messages of channels in the name of a listener: with handlers, on threads of the library's (start()) or
/// in this one (consume() and its kin), or by polling.
///
///     auto consumer = keep.consumer("billing");
///     consumer.register_channel("orders").register_handler("orders", [](const redkeep::message &order) {
///         charge(order.body());                  // what it throws has the message delivered again
///     });
///     consumer.start();
class consumer : public detail::handle<rk_consumer, rk_consumer_free> {
  public:
    using handle::handle;

    /// Names a channel, and how it is to be consumed: {"max_deliveries": 3, "message_cleanup": true, ...}; see
    /// rk_consumer_register_channel().
    chained<consumer> register_channel(std::string_view channel, std::string_view options_json = {})
    {
        return detail::change(*this, rk_consumer_register_channel, raw(), detail::text(channel, "channel"),
                              detail::text(options_json, "options_json"));
    }

    /// Says what handles the messages of a channel: a function (const redkeep::message &). Returning, it has handled
    /// the message. If it throws, returns a redkeep::result<> with an error, or calls fail(), the message is delivered
    /// again after a pause, and in the end put into the dead-letter stream with that text. After start() it is called
    /// on threads of the library's, on several at once with a "concurrency" of more than 1.
    template <class F> chained<consumer> register_handler(std::string_view channel, F &&function)
    {
        using own = detail::kept<std::decay_t<F>>;
        auto cb = [](const rk_message *c, void *userdata) {
            rk_error *err = nullptr;
            const std::int32_t status = detail::guarded(&err, RK_ERR_INTERNAL, nullptr, [&] {
                const message lent(c);
                return detail::settle(&err, own::at(userdata).function, lent);
            });
            // A text that cannot be one of C is no reason to take the message for handled.
            if (status != RK_OK && rk_message_fail(c, rk_error_message(err), nullptr) != RK_OK)
                rk_message_fail(c, "the handler failed", nullptr);
            rk_error_free(err);
            return status;
        };
        auto with = static_cast<std::int32_t (*)(const rk_message *, void *)>(cb);
#ifdef REDKEEP_RESULTS
        return detail::hand_over(own::make(std::forward<F>(function)), rk_consumer_register_handler, raw(),
                                 detail::text(channel, "channel"), with);
#else
        detail::hand_over(own::make(std::forward<F>(function)), rk_consumer_register_handler, raw(),
                          detail::text(channel, "channel"), with);
        return *this;
#endif
    }

    /// Reads one batch of a channel's messages, handles them in this thread, and returns how many came. Waits 1 s by
    /// default. No group: "{channel}:{listener}:cg", with their names in place of the braces.
    returns<std::int64_t> consume(std::string_view channel, timespan block = by_default, std::string_view group = {})
    {
        return detail::call<std::int64_t>(rk_consumer_consume, raw(), detail::text(channel, "channel"),
                                          detail::text(group, "group"), block);
    }

    /// As consume(), for one batch of each channel.
    returns<std::int64_t> consume_all(timespan block = by_default)
    {
        return detail::call<std::int64_t>(rk_consumer_consume_all, raw(), block);
    }

    /// Reads and handles the messages of all channels in this thread, again and again, until stop(). After a round that
    /// was empty or failed it rests (5 s by default; 0s: not after an empty one).
    returns<void> persist(timespan rest = by_default, timespan block = by_default)
    {
        return detail::call<void>(rk_consumer_persist, raw(), nullptr, nullptr, rest, block);
    }

    /// As above, of one channel.
    returns<void> persist(std::string_view channel, timespan rest = by_default, timespan block = by_default,
                          std::string_view group = {})
    {
        return detail::call<void>(rk_consumer_persist, raw(), detail::text(channel, "channel"),
                                  detail::text(group, "group"), rest, block);
    }

    /// Begins to consume all channels in the background. 0s for the rest: messages are handled as soon as they come.
    returns<void> start(timespan rest = by_default, timespan block = by_default)
    {
        return detail::call<void>(rk_consumer_start, raw(), rest, block);
    }

    /// Ends it, and waits for the handlers under way: RK_ERR_TIMEOUT if one still runs.
    returns<void> stop(timespan timeout) { return detail::call<void>(rk_consumer_stop, raw(), timeout); }

    /// The next message; none if nothing came in time. Say what became of it by ack() or fail(). Not with handlers.
    returns<std::optional<message>> poll(timespan wait)
    {
        return detail::call<std::optional<message>>(rk_consumer_poll, raw(), wait);
    }

    /// A descriptor for select, poll and epoll, readable while there is something to poll; -1 if there is none.
    int fd() const noexcept { return rk_consumer_fd(raw()); }

    /// Deletes what every group has acknowledged, in channels with "message_cleanup", and returns how much that was.
    returns<std::int64_t> clean_up() { return detail::call<std::int64_t>(rk_consumer_clean_up, raw()); }

    /// What is counted of each channel, as JSON; see rk_consumer_stats_json().
    returns<std::string> stats_json() const { return detail::call<std::string>(rk_consumer_stats_json, raw()); }

    /// The same as text for Prometheus.
    returns<std::string> stats_prometheus() const
    {
        return detail::call<std::string>(rk_consumer_stats_prometheus, raw());
    }
};

/* ---- The manager ----------------------------------------------------------------------------- */

/// The connections of a program, and everything that can be done with them: open one manager, call it from any number
/// of threads. What is made by it keeps it alive.
class manager : public detail::handle<rk_manager, rk_manager_free> {
  public:
    using handle::handle;

    /// Opens a manager: redis://[[user]:password@]host[:port][/db], unix:///path, embedded://, and others. Without a
    /// URL: as the environment says (REDIS_URL and the others). Nothing is sent before the first command. RK_ERR_CONFIG
    /// if the library that runs is not of the version that the program was compiled for.
    static returns<manager> open(std::string_view url = {})
    {
        return checked([](const char *c, rk_manager **out, rk_error **err) { return rk_manager_open(c, out, err); },
                       detail::text(url, "url"));
    }

    /// Opens a manager for a configuration, after checking all of it.
    static returns<manager> open(const config &config)
    {
        return checked(
            [](rk_config *c, rk_manager **out, rk_error **err) { return rk_manager_open_config(c, out, err); },
            config.raw());
    }

    /// The manager of this process, opened from the environment when first asked for. It is never closed by this
    /// object. If the environment cannot be used, calls on it are RK_ERR_CONFIG; if the library that runs is not of the
    /// version that the program was compiled for, so is this.
    static returns<manager> global()
    {
        return checked(
            [](std::nullptr_t, rk_manager **out, rk_error **) { return *out = rk_manager_global(), RK_OK; }, nullptr);
    }

    /* -- Life, nodes, health: a node is named by its URL; none is the one that the manager was opened for -- */

    /// Makes the first contact.
    returns<void> initialize()
    {
        bool connected = false;
        return detail::call<void>(rk_manager_initialize, raw(), &connected);
    }

    /// Whether Redis is switched on and answered last time. Sends nothing.
    bool is_enabled() const noexcept { return rk_manager_is_enabled(raw()); }

    /// Asks for a sign of life.
    returns<void> ping() { return detail::call<void>(rk_ping, raw()); }

    /// Whether a node can be reached now.
    bool is_connected(std::string_view url = {})
    {
        const detail::text node(url, "url");
        return !node.cut_short() && rk_manager_is_connected(raw(), node.c_str(), nullptr);
    }

    /// Waits until a node answers, and returns the time it took. Gives up after a time (10 s), or so many more tries
    /// (5; -1: by default) that lie a step (250 ms) apart.
    returns<std::chrono::duration<double>> wait_for_ready(std::string_view url = {}, timespan timeout = by_default,
                                                          timespan step = by_default, std::int32_t max_retries = -1)
    {
        return detail::call<std::chrono::duration<double>>(rk_manager_wait_for_ready, raw(), detail::text(url, "url"),
                                                           timeout, step, max_retries);
    }

    /// Asks a node how it is: JSON with "status", "healthy" or "unhealthy", and more.
    returns<std::string> health_check(std::string_view url = {})
    {
        return detail::call<std::string>(rk_manager_health_check, raw(), detail::text(url, "url"));
    }

    /// Adds a node, and waits for it to answer, for the property "connect_timeout" by default. One that does not is
    /// added all the same: the error only tells.
    returns<void> add_node_pool(std::string_view url, timespan timeout = by_default)
    {
        return detail::call<void>(rk_manager_add_node_pool, raw(), detail::text(url, "url"), timeout);
    }

    /// Closes the pools of one node; add_node_pool() opens them again.
    returns<void> close_node_pools(std::string_view url = {})
    {
        return detail::call<void>(rk_manager_close_node_pools, raw(), detail::text(url, "url"));
    }

    /// Closes the pools of all nodes.
    returns<void> close_all_pools() { return detail::call<void>(rk_manager_close_all_pools, raw()); }

    /// Closes the connections of all nodes. The next command opens new ones.
    returns<void> disconnect() { return detail::call<void>(rk_manager_disconnect, raw()); }

    /// Replaces every connection by one with the credentials of this moment, without a caller noticing.
    returns<void> rotate_credentials() { return detail::call<void>(rk_manager_rotate_credentials, raw()); }

    /// The periodic health checks, which run from the start unless the property "health_check_interval" is 0.
    returns<void> start_health_checks() { return detail::call<void>(rk_manager_start_health_checks, raw()); }
    returns<void> stop_health_checks() { return detail::call<void>(rk_manager_stop_health_checks, raw()); }

    /// The clean-up of idle connections, which runs from the start unless the property "cleanup_interval" is 0.
    returns<void> start_cleanup() { return detail::call<void>(rk_manager_start_cleanup, raw()); }
    returns<void> stop_cleanup() { return detail::call<void>(rk_manager_stop_cleanup, raw()); }

    /// What every pool of every node is doing at this moment, as JSON; see rk_manager_fetch_pool_status().
    returns<std::string> fetch_pool_status() const
    {
        return detail::call<std::string>(rk_manager_fetch_pool_status, raw());
    }

    /// The manager's counts, as JSON; see rk_manager_stats_json().
    returns<std::string> stats_json() const { return detail::call<std::string>(rk_manager_stats_json, raw()); }

    /// The same as text for Prometheus.
    returns<std::string> stats_prometheus() const
    {
        return detail::call<std::string>(rk_manager_stats_prometheus, raw());
    }

    /// Makes the embedded:// server of this manager, opened with embedded://?embedded_faults=on, fail until another
    /// fault is set: "none", "freeze", "drop" or, with a time, "slow:50ms"; see rk_manager_embedded_fault().
    returns<void> embedded_fault(std::string_view fault)
    {
        return detail::call<void>(rk_manager_embedded_fault, raw(), detail::text(fault, "fault"));
    }

    /// Ends everything: calls under way and later ones are RK_ERR_CLOSED. RK_ERR_TIMEOUT if a thread still runs after
    /// this time, the property "command_timeout" by default. The end of a manager's scope closes it too.
    returns<void> close(timespan timeout = by_default) { return detail::call<void>(rk_manager_close, raw(), timeout); }

    /* -- Values -- */

    /// The value of a key.
    returns<std::optional<std::string>> get(std::string_view key)
    {
        return detail::call<std::optional<std::string>>(rk_get, raw(), key.data(), key.size());
    }

    /// Copies the value of a key into a buffer, without allocating, and returns the length of the whole value: if that
    /// is more than cap, what found room was copied. None if there is no such key.
    returns<std::optional<std::size_t>> get_into(std::string_view key, void *buffer, std::size_t cap)
    {
        return detail::copy_into(rk_get_into, raw(), key, buffer, cap);
    }

    /// Sets a key to a text, to bytes, or to a number, for ever.
    returns<void> set(std::string_view key, const argument &value)
    {
        return detail::call<void>(rk_set, raw(), key.data(), key.size(), value.data(), value.size());
    }

    /// Sets a key to a value under options. False if their condition was not met.
    returns<bool> set(std::string_view key, const argument &value, const set_options &options)
    {
        return detail::call<bool>(rk_set_with, raw(), key.data(), key.size(), value.data(), value.size(),
                                  options.raw());
    }

    /// The values of several keys, in their order.
    returns<std::vector<std::optional<std::string>>> mget(const strings &keys)
    {
        return detail::call<std::vector<std::optional<std::string>>>(rk_mget, raw(), keys.data(), keys.size());
    }

    /// Sets several keys at once, all of them or none.
    returns<void> mset(const pairs &values) { return detail::call<void>(rk_mset, raw(), values.data(), values.size()); }

    /// Deletes one key or several, and returns how many of them there were.
    returns<std::int64_t> del(const strings &keys)
    {
        return detail::call<std::int64_t>(rk_delete, raw(), keys.data(), keys.size());
    }

    /// Whether a key exists.
    returns<bool> exists(std::string_view key) { return detail::call<bool>(rk_exists, raw(), key.data(), key.size()); }

    /// Lets a key expire after this time; 0 or less deletes it at once. False if there is no such key.
    returns<bool> expire(std::string_view key, std::chrono::seconds time)
    {
        return detail::call<bool>(rk_expire, raw(), key.data(), key.size(), static_cast<std::int64_t>(time.count()));
    }

    /// The time that a key has left: -1 s if it never expires, -2 s if there is no such key.
    returns<std::chrono::seconds> ttl(std::string_view key)
    {
        return detail::call<std::chrono::seconds>(rk_ttl, raw(), key.data(), key.size());
    }

    /// Adds to the number stored at a key (0 if there is none), and returns the sum.
    returns<std::int64_t> incr(std::string_view key, std::int64_t by = 1)
    {
        return detail::call<std::int64_t>(rk_incr, raw(), key.data(), key.size(), by);
    }

    /// Sets one field of a hash, and returns how many fields are new.
    returns<std::int64_t> hset(std::string_view name, std::string_view field, const argument &value)
    {
        return detail::call<std::int64_t>(rk_hset, raw(), name.data(), name.size(), field.data(), field.size(),
                                          value.data(), value.size());
    }

    /// Sets several fields of a hash: keep.hset("user:1", {{"name", "Ann"}, {"age", 40}}).
    returns<std::int64_t> hset(std::string_view name, const pairs &fields)
    {
        return detail::call<std::int64_t>(rk_hset_many, raw(), name.data(), name.size(), fields.data(), fields.size());
    }

    /// Sets one field of a hash and several others in one command.
    returns<std::int64_t> hset(std::string_view name, std::string_view field, const argument &value,
                               const pairs &fields)
    {
        return detail::call<std::int64_t>(rk_hset_with, raw(), name.data(), name.size(), field.data(), field.size(),
                                          value.data(), value.size(), fields.data(), fields.size());
    }

    /// The value of one field of a hash.
    returns<std::optional<std::string>> hget(std::string_view name, std::string_view field)
    {
        return detail::call<std::optional<std::string>>(rk_hget, raw(), name.data(), name.size(), field.data(),
                                                        field.size());
    }

    /// Stores a JSON text as it is, after checking that it is JSON (RK_ERR_JSON).
    returns<void> set_json(std::string_view key, std::string_view json)
    {
        bool *const unwanted = nullptr;
        return detail::call<void>(rk_set_json, raw(), key.data(), key.size(), detail::text(json, "json"), nullptr,
                                  unwanted);
    }

    /// As above, under options. False if their condition was not met.
    returns<bool> set_json(std::string_view key, std::string_view json, const set_options &options)
    {
        return detail::call<bool>(rk_set_json, raw(), key.data(), key.size(), detail::text(json, "json"),
                                  options.raw());
    }

    /// The JSON text stored at a key. RK_ERR_STORED_JSON if what is stored is not JSON.
    returns<std::optional<std::string>> get_json(std::string_view key)
    {
        return detail::call<std::optional<std::string>>(rk_get_json, raw(), key.data(), key.size());
    }

    /* -- Everything else that Redis has -- */

    /// Any command, its name first: texts and numbers, or a list of texts. keep.command("ZADD", "scores", 3, "ann")
    template <class... Args, detail::is_command<Args...> = 0> returns<reply> command(const Args &...args)
    {
        const detail::words all(args...);
        return detail::call<reply>(rk_command, raw(), all.data(), all.size());
    }
    returns<reply> command(const strings &args)
    {
        return detail::call<reply>(rk_command, raw(), args.data(), args.size());
    }

    /// As command(), with a time of its own for all of it.
    template <class... Args, detail::is_command<Args...> = 0>
    returns<reply> command_within(timespan time, const Args &...args)
    {
        const detail::words all(args...);
        return detail::call<reply>(rk_command_within, raw(), all.data(), all.size(), time);
    }
    returns<reply> command_within(timespan time, const strings &args)
    {
        return detail::call<reply>(rk_command_within, raw(), args.data(), args.size(), time);
    }

    /// Calls a Lua script with its keys and arguments. Its text is sent only if the server does not know it yet.
    returns<reply> eval(std::string_view lua, const strings &keys = {}, const strings &args = {})
    {
        return detail::call<reply>(rk_eval, raw(), detail::text(lua, "lua"), keys.data(), keys.size(), args.data(),
                                   args.size());
    }

    /// Begins to walk over all keys, or those that match a pattern ("user:*").
    returns<redkeep::scan> scan(std::string_view pattern = {})
    {
        return detail::call<redkeep::scan>(rk_scan_new, raw(), detail::text(pattern, "pattern"));
    }

    /// An empty pipeline.
    returns<redkeep::pipeline> pipeline() { return detail::call<redkeep::pipeline>(rk_pipeline_new, raw()); }

    /// Watches keys, calls a function (redkeep::transaction &) that reads and appends commands, and executes those as
    /// one transaction, unless somebody changed a watched key meanwhile: then the function is called anew, 16 times at
    /// most (RK_ERR_WATCHED). Returns the replies to the appended commands. If the function throws, nothing is
    /// executed, and this throws the same.
    ///
    ///     keep.transaction("balance", [](redkeep::transaction &tx) {
    ///         auto balance = tx.read("GET", "balance").as<int>();
    ///         tx.append("DECRBY", "balance", balance / 2);
    ///     });
    template <class F> returns<reply> transaction(const strings &keys, F &&function)
    {
        using lent = detail::lent<std::remove_reference_t<F>>;
        auto cb = [](rk_transaction *c, void *userdata, rk_error **err) {
            lent &it = lent::at(userdata);
            redkeep::transaction tx(c);
            it.thrown.clear();
            return detail::guarded(err, RK_ERR_ARGUMENT, &it.thrown,
                                   [&] { return detail::settle(err, it.function, tx); });
        };
        lent it{function, {}};
        detail::output<reply> out;
        detail::attempt call(rk_transaction_run, raw(), keys.data(), keys.size(),
                             static_cast<std::int32_t (*)(rk_transaction *, void *, rk_error **)>(cb),
                             static_cast<void *>(&it), out.to());
        it.thrown.go_on(call.status());
        return call.then<reply>([&] { return out.made(call.status()); });
    }

    /// Takes a connection to a node out of its pool. Waits for the property "command_timeout" by default.
    returns<connection> lease(std::string_view url = {}, timespan timeout = by_default)
    {
        return detail::call<connection>(rk_connection_lease, raw(), detail::text(url, "url"), timeout);
    }

    /* -- Locks -- */

    /// A lock of this name, with a lease: for how long the server keeps it when nothing more is heard of its holder.
    returns<redkeep::lock> lock(std::string_view name, timespan lease = std::chrono::seconds(10))
    {
        return detail::call<redkeep::lock>(rk_lock_new, raw(), detail::text(name, "name"), lease);
    }

    /// The reading side of a read and write lock: any number of readers hold it at once, and no writer meanwhile.
    returns<redkeep::lock> read_lock(std::string_view name, timespan lease = std::chrono::seconds(10))
    {
        return detail::call<redkeep::lock>(rk_lock_new_read, raw(), detail::text(name, "name"), lease);
    }

    /// The writing side: one writer holds it, and no reader meanwhile.
    returns<redkeep::lock> write_lock(std::string_view name, timespan lease = std::chrono::seconds(10))
    {
        return detail::call<redkeep::lock>(rk_lock_new_write, raw(), detail::text(name, "name"), lease);
    }

    /// A semaphore: up to most hold it at once.
    returns<redkeep::lock> semaphore(std::string_view name, std::uint32_t most,
                                     timespan lease = std::chrono::seconds(10))
    {
        return detail::call<redkeep::lock>(rk_lock_new_semaphore, raw(), detail::text(name, "name"), most, lease);
    }

    /// A lock over several independent servers, an odd number of at least 3:
    /// redkeep::manager::redlock({&one, &two, &three}, "report", 30s).
    static returns<redkeep::lock> redlock(const std::vector<manager *> &managers, std::string_view name, timespan lease)
    {
        std::vector<rk_manager *> all;
        for (const manager *one : managers)
            all.push_back(one ? one->raw() : nullptr);
        rk_manager *const *first = all.data();
        return detail::call<redkeep::lock>(rk_lock_new_redlock, first, all.size(), detail::text(name, "name"), lease);
    }

    /* -- Rate limits, sessions, caches -- */

    /// At most so many requests within any window of time, for each id.
    returns<redkeep::limiter> limiter(std::int64_t max_requests, timespan window)
    {
        return detail::call<redkeep::limiter>(rk_limiter_new, raw(), max_requests, window);
    }

    /// Sessions that live for this long after they were created or last touched.
    returns<redkeep::sessions> sessions(std::chrono::seconds ttl = std::chrono::hours(24))
    {
        return detail::call<redkeep::sessions>(rk_sessions_new, raw(), static_cast<std::int64_t>(ttl.count()));
    }

    /// A cache of functions' results in this namespace: any text without braces.
    returns<redkeep::cache> cache(std::string_view ns)
    {
        return detail::call<redkeep::cache>(rk_cache_new, raw(), detail::text(ns, "ns"));
    }

    /// A near cache that takes about so many bytes at most; 0: the property "near_cache_bytes".
    returns<redkeep::near_cache> near_cache(std::size_t max_bytes = 0)
    {
        return detail::call<redkeep::near_cache>(rk_near_new, raw(), max_bytes);
    }

    /* -- Publish and subscribe, streams -- */

    /// Sends a message to whoever subscribes to the channel now, and returns how many those were.
    returns<std::int64_t> publish(std::string_view channel, const argument &data)
    {
        return detail::call<std::int64_t>(rk_publish, raw(), detail::text(channel, "channel"), data.data(),
                                          data.size());
    }

    /// As publish(), with a JSON text, after checking that it is JSON (RK_ERR_JSON).
    returns<std::int64_t> publish_json(std::string_view channel, std::string_view json)
    {
        return detail::call<std::int64_t>(rk_publish_json, raw(), detail::text(channel, "channel"),
                                          detail::text(json, "json"));
    }

    /// As publish(), to a sharded channel, which belongs to the slot of its name.
    returns<std::int64_t> publish_sharded(std::string_view channel, const argument &data)
    {
        return detail::call<std::int64_t>(rk_publish_sharded, raw(), detail::text(channel, "channel"), data.data(),
                                          data.size());
    }

    /// A subscriber that listens to nothing yet.
    returns<redkeep::subscriber> subscriber() { return detail::call<redkeep::subscriber>(rk_subscriber_new, raw()); }

    /// A sender without channels.
    returns<redkeep::sender> sender() { return detail::call<redkeep::sender>(rk_sender_new, raw()); }

    /// A consumer without channels, in the name of a listener.
    returns<redkeep::consumer> consumer(std::string_view listener)
    {
        return detail::call<redkeep::consumer>(rk_consumer_new, raw(), detail::text(listener, "listener"));
    }

  private:
    template <class Open, class From> static returns<manager> checked(Open open, const From &from)
    {
        return detail::call<manager>(
            [open](auto c, rk_manager **out, rk_error **err) {
                const rk_status status = detail::check_version(rk_version_number(), err);
                return status == RK_OK ? open(c, out, err) : status;
            },
            from);
    }
};

} // namespace REDKEEP_FORM
} // namespace redkeep

#undef REDKEEP_CAN_THROW
#undef REDKEEP_FORM

#endif /* REDKEEP_HPP */
