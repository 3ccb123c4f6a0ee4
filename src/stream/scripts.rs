//! What must happen in the server in one step.

use std::time::Duration;

use redis::ToRedisArgs;

use crate::client::{Client, Script};
use crate::dispatch::Class;
use crate::error::Result;
use crate::transport::Reply;

/// Takes messages of one's own again, those that are still one's own. Those that were trimmed meanwhile come without
/// fields and are acknowledged. Arguments: group, consumer, whether this counts as a delivery, ids.
const TAKE: &str = "
local out = {}
for i = 4, #ARGV do
  local id = ARGV[i]
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1, ARGV[2])
  if p[1] then
    local n = p[1][4] + tonumber(ARGV[3])
    local e = redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'RETRYCOUNT', n)
    if e[1] and e[1][2] then
      out[#out + 1] = {id, e[1][2], n}
    else
      redis.call('XACK', KEYS[1], ARGV[1], id)
      out[#out + 1] = {id, false, n}
    end
  end
end
return out";

/// Takes over what other consumers have not looked after for a while. Arguments: group, consumer, milliseconds, where
/// to go on, how many. Returns where to go on, the messages, and the ids of those that had been trimmed.
const RECLAIM: &str = "
local r = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5])
local out = {}
for _, e in ipairs(r[2]) do
  if e then
    local p = redis.call('XPENDING', KEYS[1], ARGV[1], e[1], e[1], 1)
    out[#out + 1] = {e[1], e[2], p[1] and p[1][4] or 1}
  end
end
return {r[1], out, r[3] or {}}";

/// Gives signs of life for the messages that are still one's own. Arguments: group, consumer, ids. Returns how many.
const BEAT: &str = "
local n = 0
for i = 3, #ARGV do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])
  if p[1] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'JUSTID')
    n = n + 1
  end
end
return n";

/// Gives messages back whose handling was not begun: that was no delivery, and others may take them at once.
/// Arguments: group, consumer, how idle they are to look, ids.
const GIVE_BACK: &str = "
for i = 4, #ARGV do
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2])
  if p[1] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[i], 'IDLE', ARGV[3],
      'RETRYCOUNT', math.max(p[1][4] - 1, 0), 'JUSTID')
  end
end
return #ARGV - 3";

/// Copies a message to the dead-letter stream, with why, and acknowledges it, unless it is no longer one's own.
/// Arguments: group, consumer, id, whether it is pending, reason, error, count. Returns 0 for one that is no longer
/// one's own, 1, or 2 for one that had been trimmed.
const DEAD: &str = "
if ARGV[4] == '1' then
  local p = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])
  if not p[1] then return 0 end
end
local e = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])
if e[1] then
  local f = e[1][2]
  for i, name in ipairs({'reason', 'error', 'id', 'group', 'count'}) do
    f[#f + 1] = name
    f[#f + 1] = ({ARGV[5], ARGV[6], ARGV[3], ARGV[1], ARGV[7]})[i]
  end
  redis.call('XADD', KEYS[2], '*', unpack(f))
end
redis.call('XACK', KEYS[1], ARGV[1], ARGV[3])
return e[1] and 1 or 2";

/// Enters an id in the ledger; 0 if it stands there. Arguments: id, milliseconds after which entries are forgotten.
const LEDGER: &str = "
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[2]))
return redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', now), ARGV[1])";

/// Deletes entries that every group has read and acknowledged, looking at so many at most. Arguments: how many, where
/// to begin, groups that must be there. Returns how many were deleted (-1: a group is missing), and where to go on.
const CLEAN: &str = "
local function less(a, b)
  local am, as = string.match(a, '^(%d+)-(%d+)$')
  local bm, bs = string.match(b, '^(%d+)-(%d+)$')
  if #am ~= #bm then return #am < #bm end
  if am ~= bm then return am < bm end
  if #as ~= #bs then return #as < #bs end
  return as < bs
end
local read, pending, first, known = nil, {}, nil, {}
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local g = {}
  for i = 1, #flat, 2 do g[flat[i]] = flat[i + 1] end
  known[g['name']] = true
  local last = g['last-delivered-id']
  if not read or less(last, read) then read = last end
  if g['pending'] > 0 then
    pending[#pending + 1] = g['name']
    local p = redis.call('XPENDING', KEYS[1], g['name'])
    if not first or less(p[2], first) then first = p[2] end
  end
end
for i = 3, #ARGV do
  if not known[ARGV[i]] then return {-1, '-'} end
end
if not read then return {-1, '-'} end
local entries = redis.call('XRANGE', KEYS[1], ARGV[2], read, 'COUNT', ARGV[1])
local done, last = {}, nil
for _, e in ipairs(entries) do
  last = e[1]
  local free = true
  if first and not less(last, first) then
    for _, group in ipairs(pending) do
      if redis.call('XPENDING', KEYS[1], group, last, last, 1)[1] then
        free = false
        break
      end
    end
  end
  if free then done[#done + 1] = last end
end
if #done > 0 then redis.call('XDEL', KEYS[1], unpack(done)) end
if #entries < tonumber(ARGV[1]) then return {#done, '-'} end
return {#done, '(' .. last}";

/// Removes consumers that have nothing pending and were not heard of for a while. Arguments: group, one that stays,
/// milliseconds. Returns how many.
const DISMISS: &str = "
local n = 0
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local c = {}
  for i = 1, #flat, 2 do c[flat[i]] = flat[i + 1] end
  if c['pending'] == 0 and c['idle'] > tonumber(ARGV[3]) and c['name'] ~= ARGV[2] then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c['name'])
    n = n + 1
  end
end
return n";

/// Sends dead messages again, without what was added when they died, and takes them out. Arguments: how many. Returns
/// how many it moved.
const REDRIVE: &str = "
local moved = 0
for _, e in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', ARGV[1])) do
  local f = e[2]
  if #f < 12 or f[#f - 9] ~= 'reason' then return moved end
  for i = 1, 10 do f[#f] = nil end
  redis.call('XADD', KEYS[2], '*', unpack(f))
  redis.call('XDEL', KEYS[1], e[1])
  moved = moved + 1
end
return moved";

/// All of them, each with its digest.
pub(super) struct Scripts {
    take: Script,
    reclaim: Script,
    beat: Script,
    give_back: Script,
    dead: Script,
    ledger: Script,
    clean: Script,
    dismiss: Script,
}

impl Default for Scripts {
    fn default() -> Scripts {
        Scripts {
            take: Script::new(TAKE),
            reclaim: Script::new(RECLAIM),
            beat: Script::new(BEAT),
            give_back: Script::new(GIVE_BACK),
            dead: Script::new(DEAD),
            ledger: Script::new(LEDGER),
            clean: Script::new(CLEAN),
            dismiss: Script::new(DISMISS),
        }
    }
}

/// What became of a message that was to be put away.
pub(super) enum PutAway {
    Dead,
    Trimmed,
    NotOurs,
}

/// A group on a stream, and who we are in it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) stream: &'a str,
    pub(super) group: &'a str,
    pub(super) consumer: &'a str,
}

impl Scripts {
    pub(super) fn take(
        &self,
        client: &Client,
        at: Place<'_>,
        counts: bool,
        ids: &[&str],
    ) -> Result<Reply> {
        let args = (at.group, at.consumer, i32::from(counts), ids);
        // Should it have been executed without an answer, its messages are found among the pending ones.
        whole(client, Class::Script, &self.take, at.stream, &args)
    }

    pub(super) fn reclaim(
        &self,
        client: &Client,
        at: Place<'_>,
        idle: Duration,
        from: &str,
        count: usize,
    ) -> Result<Reply> {
        let args = (at.group, at.consumer, ms(idle), from, count);
        whole(client, Class::Script, &self.reclaim, at.stream, &args)
    }

    pub(super) fn beat(&self, client: &Client, at: Place<'_>, ids: &[&str]) -> Result<i64> {
        let args = (at.group, at.consumer, ids);
        number(client, &self.beat, &at.stream, &args)
    }

    pub(super) fn give_back(
        &self,
        client: &Client,
        at: Place<'_>,
        idle: Duration,
        ids: &[&str],
    ) -> Result<i64> {
        let args = (at.group, at.consumer, ms(idle), ids);
        // Not repeated: each time takes one off the number of deliveries.
        client.eval_as(Class::Script, &self.give_back, &at.stream, &args, integer)
    }

    /// `pending`: it must still be one's own.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn dead(
        &self,
        client: &Client,
        at: Place<'_>,
        dead: &str,
        id: &str,
        pending: bool,
        why: (&str, &str),
        deliveries: i64,
    ) -> Result<PutAway> {
        let args = (
            at.group,
            at.consumer,
            id,
            i32::from(pending),
            why.0,
            why.1,
            deliveries,
        );
        let keys = &[at.stream, dead];
        // A pending one is acknowledged in the same step, so that the second time finds nothing to do.
        let class = match pending {
            true => Class::Repeatable,
            false => Class::Script,
        };
        let became = client.eval_as(class, &self.dead, &keys, &args, integer)?;
        Ok(match became {
            1 => PutAway::Dead,
            2 => PutAway::Trimmed,
            _ => PutAway::NotOurs,
        })
    }

    /// True if the id was entered now.
    pub(super) fn enter(
        &self,
        client: &Client,
        ledger: &str,
        id: &str,
        window: Duration,
    ) -> Result<bool> {
        let args = (id, ms(window));
        client.eval_as(Class::Script, &self.ledger, &ledger, &args, |reply| {
            Ok(integer(reply)? == 1)
        })
    }

    /// How many were deleted, and where to go on; none if a group is missing.
    pub(super) fn clean(
        &self,
        client: &Client,
        stream: &str,
        from: &str,
        groups: &[String],
    ) -> Result<Option<(u64, String)>> {
        let args = (CLEAN_AT_ONCE, from, groups);
        let (deleted, next): (i64, String) = client.eval(&self.clean, stream, args)?;
        Ok(u64::try_from(deleted).ok().map(|deleted| (deleted, next)))
    }

    pub(super) fn dismiss(&self, client: &Client, at: Place<'_>, idle: Duration) -> Result<i64> {
        let args = (at.group, at.consumer, ms(idle));
        number(client, &self.dismiss, &at.stream, &args)
    }
}

/// How many entries one step of the clean-up looks at: some hundred microseconds of the server's time.
const CLEAN_AT_ONCE: usize = 100;

pub(super) fn redrive(client: &Client, dead: &str, stream: &str, count: u64) -> Result<u64> {
    let moved: i64 = client.eval(&Script::new(REDRIVE), &[dead, stream], count)?;
    Ok(moved.unsigned_abs())
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn whole(
    client: &Client,
    class: Class,
    script: &Script,
    stream: &str,
    args: &impl ToRedisArgs,
) -> Result<Reply> {
    client.eval_as(class, script, &stream, args, |reply| {
        Ok(std::mem::take(reply))
    })
}

/// For what may be done twice.
fn number(
    client: &Client,
    script: &Script,
    keys: &impl ToRedisArgs,
    args: &impl ToRedisArgs,
) -> Result<i64> {
    client.eval_as(Class::Repeatable, script, keys, args, integer)
}

fn integer(reply: &mut Reply) -> Result<i64> {
    Ok(reply.integer().unwrap_or_default())
}
