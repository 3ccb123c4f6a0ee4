-- GCRA, as a bucket: each unit raises its level by one, and it drains at a steady rate, all of the limit in one window.
-- KEYS[1]: the time and the level then, one space between them.
-- ARGV: limit, window in microseconds, cost, 1 to take or 0 to look.
local key = KEYS[1]
local max, window, cost, take = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local clock = redis.call('TIME')
local real = clock[1] * 1000000 + clock[2]
local now, level = real, 0

local state = redis.call('GET', key)
if state then
    local time, before = string.match(state, '^(%d+) (%S+)$')
    time, before = tonumber(time), tonumber(before)
    if not before then return redis.error_reply('WRONGTYPE the text says something else') end
    -- A clock set back by more than a window knows nothing of the past; by less, time stands still for that long.
    if time - now <= window then
        now = math.max(now, time)
        level = math.max(0, before - (now - time) * max / window)
    end
end

-- Half a microsecond, below what the clock tells apart: rounding must not refuse what is due.
local hair = max / window / 2
local allowed = level + cost <= max + hair
local retry = 0
if not allowed then
    retry = math.ceil((level + cost - max) * window / max) + now - real
elseif take then
    level = level + cost
    local life = level * window / max + now - real
    redis.call('SET', key, string.format('%.0f %.17g', now, level), 'PX',
        string.format('%.0f', math.ceil(life / 1000) + 100))
end
local reset = level > 0 and math.ceil(level * window / max) + now - real or 0
return {allowed and 1 or 0, math.max(0, math.floor(max - level + hair)), retry, reset}
