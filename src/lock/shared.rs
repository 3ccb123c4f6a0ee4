//! Locks that several hold at once: read and write locks, and semaphores. What differs from a plain lock is the scripts
//! and the key; waiting, renewal and guards are the same.
//!
//! ```text
//! rwlock `x`      rwlock:x             the writer's token
//!                 {rwlock:x}:readers   the readers' tokens, by the ends of their leases
//! semaphore `x`   semaphore:x          the holders' tokens, by the ends of their leases
//! ```

use crate::lock::scripts::{Scripts, TOLD, script};
use crate::lock::{Kind, Lock};
use crate::manager::Manager;

impl Manager {
    /// The reading side of the read and write lock of this name: any number of readers hold it at once, and no writer
    /// meanwhile. Those who come while a writer waits, wait behind it. Its key is `rwlock:{name}`. Everything else is as
    /// with a [`Lock`] that is [`fair`](Lock::fair).
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// let keep = redkeep::Manager::open("embedded://")?;
    /// let (one, two) = (keep.read_lock("map").try_acquire()?, keep.read_lock("map").try_acquire()?);
    /// assert!(one.is_some() && two.is_some());
    /// assert!(keep.write_lock("map").try_acquire()?.is_none());
    /// # Ok(()) }
    /// ```
    pub fn read_lock(&self, name: &str) -> Lock {
        Lock::new(self, name, Kind::Read)
    }

    /// The writing side: one writer holds it, and no reader meanwhile. See [`read_lock`](Manager::read_lock).
    pub fn write_lock(&self, name: &str) -> Lock {
        Lock::new(self, name, Kind::Write)
    }

    /// A lock that up to `most` hold at once, at least 1; all who use it must say the same number. Its key is
    /// `semaphore:{name}`. Everything else is as with a [`Lock`] that is [`fair`](Lock::fair).
    ///
    /// ```
    /// # fn main() -> redkeep::Result<()> {
    /// let keep = redkeep::Manager::open("embedded://")?;
    /// let licence = keep.semaphore("licences", 2);
    /// let (one, two) = (licence.try_acquire()?, licence.try_acquire()?);
    /// assert!(one.is_some() && two.is_some() && licence.try_acquire()?.is_none());
    /// # Ok(()) }
    /// ```
    pub fn semaphore(&self, name: &str, most: u32) -> Lock {
        Lock::new(self, name, Kind::Semaphore(most))
    }
}

/// What these have in common.
const SHARED: &str = "
    local function now()
        local time = redis.call('TIME')
        return time[1] * 1000 + math.floor(time[2] / 1000)
    end
    local function forget_ended(key) redis.call('ZREMRANGEBYSCORE', key, '-inf', now()) end
    local function add(key, token, lease)
        redis.call('ZADD', key, string.format('%.0f', now() + lease), token)
        redis.call('PEXPIRE', key, math.max(redis.call('PTTL', key), lease))
    end
    local function left_until(key, rank)
        local last = redis.call('ZRANGE', key, rank, rank, 'WITHSCORES')[2]
        return last and math.max(tonumber(last) - now(), 0) or 0
    end
    local function alive(token)
        local found = redis.pcall('PUBSUB', 'NUMSUB', 'redkeep:wake:' .. string.sub(token, 4, 19))
        return type(found[2]) == 'number' and found[2] > 0
    end
    -- Whether nobody who is still there stands before this one in the queue.
    local function its_turn(token)
        while true do
            local first = head()
            if not first or first == token then return true end
            if alive(first) then return false end
            redis.call('ZREM', KEYS[3], first)
        end
    end
    local function wake_head()
        while true do
            local first = head()
            if not first then return end
            if tell(first, 'look 0') then break end
            redis.call('ZREM', KEYS[3], first)
        end
        local second = redis.call('ZRANGE', KEYS[3], 1, 1)[1]
        if second then tell(second, 'look @GRACE@') end
    end
    local function taken(others_may)
        if redis.call('ZREM', KEYS[3], ARGV[1]) == 1 and others_may then wake_head() end
        return {1, redis.call('INCR', KEYS[2]), 0}
    end
    local function refused(left)
        if ARGV[3] == 'queue' then wait_in_queue(ARGV[1]) end
        return {0, left, 1}
    end
    local function leaves(freed)
        local was_first = head() == ARGV[1]
        redis.call('ZREM', KEYS[3], ARGV[1])
        if freed or was_first then wake_head() end
        return 1
    end
";

const READ: [&str; 4] = [
    "
    local writer = redis.call('GET', KEYS[1])
    forget_ended(KEYS[4])
    local has = redis.call('ZSCORE', KEYS[4], ARGV[1])
    if not writer and (has or its_turn(ARGV[1])) then
        add(KEYS[4], ARGV[1], tonumber(ARGV[2]))
        return taken(true)
    end
    return refused(writer and redis.call('PTTL', KEYS[1]) or tonumber(ARGV[2]))
    ",
    "
    local removed = redis.call('ZREM', KEYS[4], ARGV[1])
    if removed == 1 and redis.call('ZCARD', KEYS[4]) == 0 then wake_head() end
    return {removed, 0}
    ",
    "
    forget_ended(KEYS[4])
    if not redis.call('ZSCORE', KEYS[4], ARGV[1]) then return 0 end
    add(KEYS[4], ARGV[1], tonumber(ARGV[2]))
    return 1
    ",
    "
    local removed = redis.call('ZREM', KEYS[4], ARGV[1])
    return leaves(removed == 1 and redis.call('ZCARD', KEYS[4]) == 0)
    ",
];

const WRITE: [&str; 4] = [
    "
    local writer = redis.call('GET', KEYS[1])
    forget_ended(KEYS[4])
    local free = not writer and redis.call('ZCARD', KEYS[4]) == 0
    if writer == ARGV[1] or free and its_turn(ARGV[1]) then
        redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
        return taken(false)
    end
    return refused(writer and redis.call('PTTL', KEYS[1]) or left_until(KEYS[4], -1))
    ",
    "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {0, 0} end
    redis.call('DEL', KEYS[1])
    wake_head()
    return {1, 0}
    ",
    "
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
    return redis.call('PEXPIRE', KEYS[1], ARGV[2])
    ",
    "
    local ours = redis.call('GET', KEYS[1]) == ARGV[1]
    if ours then redis.call('DEL', KEYS[1]) end
    return leaves(ours)
    ",
];

const SEMAPHORE: [&str; 4] = [
    "
    forget_ended(KEYS[1])
    local room = tonumber(ARGV[5]) - redis.call('ZCARD', KEYS[1])
    local has = redis.call('ZSCORE', KEYS[1], ARGV[1])
    if has or room > 0 and its_turn(ARGV[1]) then
        add(KEYS[1], ARGV[1], tonumber(ARGV[2]))
        return taken(room > 1)
    end
    return refused(left_until(KEYS[1], 0))
    ",
    "
    local removed = redis.call('ZREM', KEYS[1], ARGV[1])
    if removed == 1 then wake_head() end
    return {removed, 0}
    ",
    "
    forget_ended(KEYS[1])
    if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
    add(KEYS[1], ARGV[1], tonumber(ARGV[2]))
    return 1
    ",
    "
    return leaves(redis.call('ZREM', KEYS[1], ARGV[1]) == 1)
    ",
];

fn scripts([acquire, release, renew, leave]: [&str; 4]) -> Scripts {
    Scripts {
        acquire: script(&[TOLD, SHARED, acquire]),
        release: script(&[TOLD, SHARED, release]),
        renew: script(&[TOLD, SHARED, renew]),
        leave: script(&[TOLD, SHARED, leave]),
    }
}

impl Scripts {
    pub(crate) fn read() -> Scripts {
        scripts(READ)
    }

    pub(crate) fn write() -> Scripts {
        scripts(WRITE)
    }

    pub(crate) fn semaphore() -> Scripts {
        scripts(SEMAPHORE)
    }
}
