-- Part of the library rotary_picks_1: a plan's members, why one can't be picked now, and its place in the strategy's order.

-- A plan as context: nil when there is none. `build` is the current one unless given.
local function plan_of(c, group, build)
  build = build or redis.call('GET', c.p .. 'plan:' .. group)
  if not build then return nil end
  local known = c.plans[group .. ' ' .. build]
  if known then return known end
  local key = c.p .. 'plan:' .. group .. ':' .. build
  local f = redis.call('HMGET', key, 'version', 'flags', 'generation', 'begin', 'end', 'strategy', 'sticky', 'sticky_ms',
    'ttl_ms', 'status', 'disabled', 'classes', 'digest', 'touched')
  if not f[1] then return nil end
  local order = c.orders[group] or {turn = {}, round = {}, moved = {}}
  c.orders[group] = order
  local g = {
    id = group, build = build, key = key, p = key .. ':', queue = key .. ':queue', version = f[1], flags = f[2], generation = f[3],
    first = tonumber(f[4]), last = tonumber(f[5]), strategy = f[6], sticky = f[7] == '1', sticky_ms = f[8],
    ttl_ms = tonumber(f[9]), status = f[10], disabled = tonumber(f[11]), digest = f[13], touched = tonumber(f[14]),
    has_classes = f[12] == '1', classes_of = {},
    reason = f[6] == 'sticky_lead' and 'least_used' or f[6],
    turns = c.p .. 'turns:' .. group, rounds = c.p .. 'rounds:' .. group,
    records = {}, calls = {},  -- what was read in this call of the function, during which neither changes
    views = {}, wanted = 1, empty = {}, judged = {}, left = {},
    turn = order.turn, round = order.round, moved = order.moved,
  }
  c.plans[group .. ' ' .. build] = g
  return g
end

-- A member: weight, cap, hourly cap, gap, resting until, phase, number, name, carrier, trunk; what is not given is 0
-- or false.
local function record_of(g, caller)
  local known = g.records[caller]
  if known ~= nil then return known end
  local packed = redis.call('HGET', g.p .. 'members', caller)
  g.records[caller] = packed and cmsgpack.unpack(packed)
  return g.records[caller]
end

-- The sum of unsigned counters of four bytes, most of which are 0.
local function sum_of(counters)
  local total = 0
  for at, byte in string.gmatch(counters, '()([^%z])') do
    total = total + string.byte(byte) * WORTH[at % 4]
  end
  return total
end

-- Calls in the quarter hours first ≤ q < last.
local function calls_between(c, caller, first, last)
  local total, day = 0, math.floor(first / QUARTERS)
  while day * QUARTERS < last do
    local a, b = math.max(first - day * QUARTERS, 0), math.min(last - day * QUARTERS, QUARTERS)
    total = total + sum_of(redis.call('GETRANGE', c.facts .. 'calls:' .. caller .. ':' .. day, a * 4, b * 4 - 1))
    day = day + 1
  end
  return total
end

-- Ends a caller's reservations that have expired.
local function expire(c, caller)
  c.expired = c.expired + redis.call('ZREMRANGEBYSCORE', c.p .. 'live:' .. caller, '-inf', c.complete)
  c.live[caller] = nil
end

-- While `settle_due` has not looked at all that are due, those that are asked for are looked at here.
local function live_of(c, caller)
  local known = c.live[caller]
  if known then return known end
  if c.is_behind then expire(c, caller) end
  known = redis.call('ZCARD', c.p .. 'live:' .. caller)
  c.live[caller] = known
  return known
end

-- Writes a caller's new reservations. They live for a day after the last one was made.
local function write_reservations(c, caller)
  local reserved = c.reserved[caller]
  if not reserved then return end
  local live = c.p .. 'live:' .. caller
  redis.call('ZADD', live, unpack(reserved))
  redis.call('EXPIRE', live, 86400)
  c.reserved[caller] = nil
end

local function first_expiry(c, caller)
  write_reservations(c, caller)
  return tonumber(redis.call('ZRANGE', c.p .. 'live:' .. caller, 0, 0, 'WITHSCORES')[2])
end

-- An hour reaches into five quarter hours; calls may be dated five minutes ahead. Returns when a call fits again, or
-- nil.
local function hourly_wake(c, caller, cap, live)
  local first, last = c.quarter - 4, c.quarter + 2
  if calls_between(c, caller, first, last) + live < cap then return nil end
  for dropped = 1, 5 do
    if calls_between(c, caller, first + dropped, last) + live < cap then return (c.quarter + dropped) * QUARTER_MS end
  end
  return live > 0 and first_expiry(c, caller) or (c.quarter + 6) * QUARTER_MS
end

-- Why a member can't be picked now and when to look again, or nil, nil, what it has used today.
local function evaluate(c, g, caller, record, is_rested)
  local cap, hourly, gap, until_ms = record[2], record[3], record[4], record[5]
  if until_ms > c.now and not is_rested then return 'cooldown', until_ms end
  local calls = g.calls[caller] or calls_between(c, caller, g.first, g.last)
  local live = live_of(c, caller)
  g.calls[caller] = calls
  if calls + live >= cap then
    return 'quota_exceeded', calls >= cap and g.last * QUARTER_MS or first_expiry(c, caller)
  end
  if hourly > 0 then
    local wake = hourly_wake(c, caller, hourly, live)
    if wake then return 'hourly_cap', wake end
  end
  if gap > 0 then
    local last = tonumber(redis.call('GET', c.p .. 'gap:' .. caller) or 0)
    if last + gap > c.now then return 'min_gap', last + gap end
  end
  return nil, nil, calls + live
end

-- Likewise, computed once for as long as there are the same reservations: all else is the same in a call. Whoever could
-- be picked and has no limit but its cap can be picked for as long as that is not reached.
local function judge(c, g, caller, record)
  local live, known = c.live[caller] or live_of(c, caller), g.judged[caller]
  if not known then
    known = {live = false, is_simple = record[3] == 0 and record[4] == 0, reason = nil, wake = nil, used = nil}
    g.judged[caller] = known
  end
  if known.live ~= live then
    local used = known.used and known.is_simple and g.calls[caller] + live
    if used and used < record[2] then
      known.live, known.used = live, used
    else
      known.live, known.reason, known.wake, known.used = live, evaluate(c, g, caller, record)
    end
  end
  return known.reason, known.wake, known.used
end

-- Stride scheduling. A member's turn k of a round, of `weight` turns, lies at (k + phase) / weight of the round: the
-- order is the same in every round, so as many picks as the weights' sum give each member its weight, wherever one
-- begins.
local function turn_at(record, k)
  return math.min(math.floor((k + record[6] / 4294967296) / record[1] * 4503599627370496), 4503599627370495)
end

local function round_of(g, caller, record)
  local stored = g.round[caller]
  if stored == nil then
    stored = redis.call('HGET', g.rounds, caller)
    g.round[caller] = stored
  end
  if stored then
    local round, k, weight = string.match(stored, '^(%d+) (%d+) (%d+)$')
    if tonumber(weight) == record[1] then return tonumber(round), tonumber(k) end
  end
  return -1, 0
end

local function set_round(g, caller, record, round, k)
  g.round[caller] = text(round) .. ' ' .. text(k) .. ' ' .. text(record[1])
end

-- Reads of several members, with few commands, what `record_of`, `evaluate` and `place` need.
local function read_ahead(c, g, callers)
  local unknown = {}
  for _, caller in ipairs(callers) do
    if g.records[caller] == nil then unknown[#unknown + 1] = caller end
  end
  if #unknown == 0 then return end
  local is_weighted = g.strategy == 'weighted'
  local order = is_weighted and g.round or g.turn
  local records = redis.call('HMGET', g.p .. 'members', unpack(unknown))
  local orders = redis.call('HMGET', is_weighted and g.rounds or g.turns, unpack(unknown))
  local names, days, per = {}, math.floor((g.last - 1) / QUARTERS), 0
  for _, caller in ipairs(unknown) do
    for day = math.floor(g.first / QUARTERS), days do names[#names + 1] = c.facts .. 'calls:' .. caller .. ':' .. day end
  end
  per = #names / #unknown
  local counts = redis.call('MGET', unpack(names))
  for at, caller in ipairs(unknown) do
    g.records[caller] = records[at] and cmsgpack.unpack(records[at])
    if order[caller] == nil then order[caller] = is_weighted and orders[at] or tonumber(orders[at] or 0) end
    local total, day = 0, math.floor(g.first / QUARTERS)
    for one = (at - 1) * per + 1, at * per do
      local a, b = math.max(g.first - day * QUARTERS, 0), math.min(g.last - day * QUARTERS, QUARTERS)
      if counts[one] then total = total + sum_of(string.sub(counts[one], a * 4 + 1, b * 4)) end
      day = day + 1
    end
    g.calls[caller] = total
  end
end

local function write_round(g, caller)
  redis.call('HSET', g.rounds, caller, g.round[caller])
end

-- Who was away has no turns to make up for: it goes on with its first turn that is not before the last pick.
local function catch_up(g, caller, record)
  local round, k = round_of(g, caller, record)
  local passed, at = string.match(g.passed or redis.call('HGET', g.rounds, 'passed') or '0 0', '^(%d+) (%d+)$')
  passed, at = tonumber(passed), tonumber(at)
  if round > passed or round == passed and turn_at(record, k) >= at then return end
  k = math.max(0, math.floor(at / 4503599627370496 * record[1] - record[6] / 4294967296))
  while k < record[1] and turn_at(record, k) < at do k = k + 1 end
  if k < record[1] then set_round(g, caller, record, passed, k) else set_round(g, caller, record, passed + 1, 0) end
  write_round(g, caller)
end

-- Where a member stands in the queue: a score, and a number that decides among equal scores. `turn` is given if known.
local function place(g, caller, record, used, turn)
  if g.strategy == 'random' then return 0, 0 end
  if g.strategy == 'weighted' then
    local round, k = round_of(g, caller, record)
    return round, turn_at(record, k)
  end
  turn = turn or g.turn[caller] or tonumber(redis.call('HGET', g.turns, caller) or 0)
  g.turn[caller] = turn
  if g.strategy == 'round_robin' then return turn, 0 end
  return g.strategy == 'cap_based' and used / record[2] or used, turn
end

-- What a member is stored under in a queue: Redis orders equal scores by their names, so the tie comes first.
local function named(tie, caller) return struct.pack('>I8', tie) .. caller end

-- The queues that a member belongs to: the plan's, and those of its classes that somebody asked for.
local function queues_of(g, caller, record)
  local known = g.classes_of[caller]
  if known then return known end
  known = {g.p .. 'queue'}
  if g.has_classes then
    local names = {}
    for _, carrier in ipairs({'', record[9]}) do
      for length = 0, math.min(#record[7], MAX_PREFIX) do
        names[#names + 1] = carrier .. '|' .. string.sub(record[7], 1, length)
      end
    end
    for at, is_there in ipairs(redis.call('HMGET', g.p .. 'classes', unpack(names))) do
      if is_there then known[#known + 1] = g.p .. 'queue:' .. names[at] end
    end
  end
  g.classes_of[caller] = known
  return known
end

local function enqueue(g, caller, record, used)
  local score, tie = place(g, caller, record, used)
  for _, queue in ipairs(queues_of(g, caller, record)) do redis.call('ZADD', queue, score, named(tie, caller)) end
end

-- Takes entries, by their ties, out of every queue that a member is in: a member whose tie changes would have two.
local function dequeue(g, caller, record, ties)
  local names = {}
  for at, tie in ipairs(ties) do names[at] = named(tie, caller) end
  for _, queue in ipairs(queues_of(g, caller, record)) do redis.call('ZREM', queue, unpack(names)) end
end

-- Whether nobody is kept from being picked for this reason.
local function is_empty(g, reason)
  if g.empty[reason] == nil then g.empty[reason] = redis.call('EXISTS', g.p .. reason) == 0 end
  return g.empty[reason]
end

-- Puts a member among those that can't be picked for this reason, or with none; and nowhere else. Most sets are empty.
local function block(g, caller, reason, wake)
  for _, other in ipairs(BLOCKED) do
    if other == reason then
      redis.call('ZADD', g.p .. reason, wake, caller)
      g.empty[reason] = false
    elseif not is_empty(g, other) then
      redis.call('ZREM', g.p .. other, caller)
    end
  end
end
