//! What happens in the server: a lock is taken, handed on and given back in one step each.
//!
//! All scripts of a lock are called with the same keys, `lock`, `fence`, `queue`. They look at the lock first: should
//! its key hold another type, nothing was changed yet.

use crate::client::Script;

/// How long one to whom the lock was handed may take to say that it has it, in milliseconds. Who comes next looks
/// after that time, so that one who died on the way holds up nobody beyond it.
pub(crate) const GRACE: u64 = 60;

/// For how long the queue is kept after the last one joined it. Whoever still waits joins it again before that.
const QUEUE_LIFE: u64 = 300_000;

pub(crate) struct Scripts {
    /// Arguments: token, lease, `queue` or nothing, `fair` or nothing, how many may have it. Returns `{1, fence}`; or `{0, milliseconds left
    /// or -1, whether the holder will wake us}`. With a token that has the lock already, it is taken anew: so this may
    /// be repeated when its fate is not known.
    pub(crate) acquire: Script,
    /// Arguments: token, and for the next of the same process (or nothing, nothing) its token and lease; how it may
    /// have the lock: `stay`, or only if nobody else waits; our own lease. Returns `{what, fence}`: 0 it was not ours, 1
    /// it is free or another process has it, 2 the next has it, 3 another process has it and the next is in the queue.
    pub(crate) release: Script,
    /// Arguments: token, lease. Returns whether it was still ours.
    pub(crate) renew: Script,
    /// Arguments: token. One who waited, or who may have the lock without knowing, goes.
    pub(crate) leave: Script,
}

/// The channel on which a process is told what to do: by the id in its tokens.
pub(crate) fn channel(id: &str) -> String {
    format!("redkeep:wake:{id}")
}

/// What is shared by the scripts. A user who may not publish sends no messages; then those who wait poll.
pub(crate) const TOLD: &str = "
    local function tell(token, what)
        local channel = 'redkeep:wake:' .. string.sub(token, 4, 19)
        local heard = redis.pcall('PUBLISH', channel, what .. ' ' .. token)
        return type(heard) == 'number' and heard > 0
    end
    local function wait_in_queue(token)
        local now = redis.call('TIME')
        redis.call('ZADD', KEYS[3], 'NX', now[1] .. string.format('%06d', now[2]), token)
        redis.call('PEXPIRE', KEYS[3], @QUEUE_LIFE@)
    end
    local function head() return redis.call('ZRANGE', KEYS[3], 0, 0)[1] end
";

const PASS_ON: &str = "
    -- Gives the lock to the first in the queue who is still there, and returns its token.
    local function pass_on(me)
        while true do
            local first = redis.call('ZPOPMIN', KEYS[3])[1]
            if not first or first == me then return first end
            redis.call('SET', KEYS[1], first, 'PX', @GRACE@)
            if tell(first, 'grant') then
                local second = head()
                if second then tell(second, 'look @GRACE@') end
                return first
            end
        end
    end
";

const ACQUIRE: &str = "
    local holder = redis.call('GET', KEYS[1])
    if not holder and ARGV[4] == 'fair' then
        holder = pass_on(ARGV[1])
    end
    if not holder or holder == ARGV[1] then
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        -- Whoever took it without having been handed it leaves a new head that knows nothing of this lease.
        if ARGV[3] == 'queue' and redis.call('ZREM', KEYS[3], ARGV[1]) == 1 then
            local first = head()
            if first then tell(first, 'look ' .. ARGV[2]) end
        end
        return {1, redis.call('INCR', KEYS[2]), 0}
    end
    if ARGV[3] == 'queue' then wait_in_queue(ARGV[1]) end
    local ours = string.sub(holder, 1, 3) == 'rk:'
    local left = redis.call('PTTL', KEYS[1])
    -- On its way to somebody: whoever comes next was told so, and the others need not look after that.
    if ours and left <= @GRACE@ and ARGV[3] == 'queue' and head() ~= ARGV[1] then
        left = math.max(left, tonumber(ARGV[2]))
    end
    return {0, left, ours and 1 or 0}
";

const RELEASE: &str = "
    local holder = redis.call('GET', KEYS[1])
    local heir = ARGV[2] ~= '' and ARGV[2]
    if heir and holder == heir then
        return {2, tonumber(redis.call('GET', KEYS[2]))}
    end
    if holder ~= ARGV[1] then return {0, 0} end
    if heir and (ARGV[4] == 'stay' or redis.call('ZCARD', KEYS[3]) == 0) then
        redis.call('SET', KEYS[1], heir, 'PX', ARGV[3])
        if tonumber(ARGV[3]) < tonumber(ARGV[5]) then
            local first = head()
            if first then tell(first, 'look ' .. ARGV[3]) end
        end
        return {2, redis.call('INCR', KEYS[2])}
    end
    if heir then wait_in_queue(heir) end
    if pass_on('') then return {heir and 3 or 1, 0} end
    redis.call('DEL', KEYS[1])
    return {1, 0}
";

const RENEW: &str = "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
";

const LEAVE: &str = "
    local holder = redis.call('GET', KEYS[1])
    local was_first = head() == ARGV[1]
    redis.call('ZREM', KEYS[3], ARGV[1])
    if holder == ARGV[1] then
        if not pass_on('') then redis.call('DEL', KEYS[1]) end
    elseif was_first then
        local first = head()
        if first then tell(first, 'look 0') end
    end
    return 1
";

pub(crate) fn script(parts: &[&str]) -> Script {
    let text = parts.concat();
    let text = text.replace("@GRACE@", &GRACE.to_string());
    Script::new(&text.replace("@QUEUE_LIFE@", &QUEUE_LIFE.to_string()))
}

impl Scripts {
    /// For a lock that one holds at a time.
    pub(crate) fn exclusive() -> Scripts {
        Scripts {
            acquire: script(&[TOLD, PASS_ON, ACQUIRE]),
            release: script(&[TOLD, PASS_ON, RELEASE]),
            renew: script(&[RENEW]),
            leave: script(&[TOLD, PASS_ON, LEAVE]),
        }
    }
}
