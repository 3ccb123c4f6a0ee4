-- Exact sliding window: what was let through within the last window never comes to more than the limit.
-- KEYS[1]: a list, oldest first, one entry for each check that was allowed: its time, all units so far with its own, its own.
-- ARGV: limit, window in microseconds, cost, 1 to take or 0 to look.
local key = KEYS[1]
local max, window, cost, take = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local clock = redis.call('TIME')
local real = clock[1] * 1000000 + clock[2]
local now = real

local function at(index)
    local time, total, own = string.match(redis.call('LINDEX', key, index) or '', '^(%d+) (%d+) (%d+)$')
    return tonumber(time), tonumber(total), tonumber(own)
end

-- The first entry from `from` on that is as wanted; those behind it are too. Looks near the front first.
local function find(from, to, wanted)
    local step = 1
    while from < to do
        local probe = math.min(from + step, to) - 1
        if wanted(at(probe)) then
            to = probe
            break
        end
        from, step = probe + 1, step * 2
    end
    while from < to do
        local probe = math.floor((from + to) / 2)
        if wanted(at(probe)) then to = probe else from = probe + 1 end
    end
    return from
end

local length = redis.call('LLEN', key)
local last, total = at(-1)
if length > 0 and not last then return redis.error_reply('WRONGTYPE the list holds other things') end
local live = 0
if last and last - now > window then
    -- The server's clock was set back by more than a window: what it says of the past is worth nothing.
    live = length
elseif last then
    -- Set back by less: time stands still until it has caught up.
    now = math.max(now, last)
    live = find(0, length, function(time) return time > now - window end)
end
local used = 0
if live < length then
    local _, so_far, own = at(live)
    used = total - so_far + own
else
    total = 0
end
if take and live > 0 then redis.call('LTRIM', key, live, -1) end

local retry, reset = 0, 0
local allowed = used + cost <= max
if not allowed then
    -- Enough is free again when the entry is over by which this many units had come.
    local enough = total + cost - max
    local from = take and 0 or live
    local to = take and length - live or length
    retry = at(find(from, to, function(_, so_far) return so_far >= enough end)) + window - real
elseif take then
    used = used + cost
    last = now
    redis.call('RPUSH', key, string.format('%.0f %.0f %.0f', now, total + cost, cost))
    redis.call('PEXPIRE', key, string.format('%.0f', math.ceil((now - real + window) / 1000) + 100))
end
if used > 0 then reset = last + window - real end
return {allowed and 1 or 0, math.max(0, max - used), retry, reset}
