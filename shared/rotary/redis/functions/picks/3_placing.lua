-- Part of the library rotary_picks_1: putting members where they belong, and telling a plan that can't be picked from.

-- Puts a member where it belongs now. Returns whether it can be picked.
local function settle(c, g, caller)
  local record = record_of(g, caller)
  if not record then return false end
  local reason, wake, used = evaluate(c, g, caller, record)
  block(g, caller, reason, wake)
  if reason then return false end
  if g.strategy == 'weighted' then
    local _, before = place(g, caller, record, used)
    catch_up(g, caller, record)
    local _, after = place(g, caller, record, used)
    if before ~= after then dequeue(g, caller, record, {before}) end
  end
  enqueue(g, caller, record, used)
  return true
end

-- The plans of a group, also one that is being built.
local function plans_of(c, group)
  local known = c.plans_of[group]
  if known then return known end
  known = {}
  for _, build in ipairs(redis.call('MGET', c.p .. 'plan:' .. group, c.p .. 'plan:' .. group .. ':building')) do
    known[#known + 1] = build and plan_of(c, group, build) or nil
  end
  c.plans_of[group] = known
  return known
end

-- Whether a plan is as it should be when one of its members has fewer reservations: its order does not depend on them,
-- and they keep nobody from being picked.
local function is_unmoved(g)
  if g.strategy == 'least_used' or g.strategy == 'cap_based' or g.strategy == 'sticky_lead' then return false end
  return is_empty(g, 'quota_exceeded') and is_empty(g, 'hourly_cap')
end

-- In every plan that has it: `groups` are theirs. Returns in how many.
local function settle_everywhere(c, caller, groups)
  local kept, count = '', 0
  for group in string.gmatch(groups, '%d+') do
    local plans = plans_of(c, group)
    for _, g in ipairs(plans) do
      if c.quarter >= g.first and c.quarter < g.last and not is_unmoved(g) then
        settle(c, g, caller)
        count = count + 1
      end
    end
    if #plans > 0 then kept = kept .. group .. ' ' end
  end
  if kept == '' then
    redis.call('HDEL', c.p .. 'in', caller)
  elseif kept ~= groups then
    redis.call('HSET', c.p .. 'in', caller, kept)
  end
  return count
end

-- Has `settle_due` look at a caller when the facts are complete up to this second, 0 for now. The callers of a second
-- are spread over ten sets: small sets of numbers take eight bytes a number.
local function look_again(p, second, caller)
  local name = second .. '.' .. string.sub(caller, -1)
  redis.call('SADD', p .. 'due:' .. name, caller)
  if redis.call('ZADD', p .. 'due', second, name) == 1 then redis.call('EXPIRE', p .. 'due:' .. name, 86400) end
end

-- Likewise, at many: {caller → second}.
local function look_again_at(p, callers)
  local names, due = {}, {}
  for caller, second in pairs(callers) do
    local name = second .. '.' .. string.sub(caller, -1)
    local some = names[name]
    if not some then
      some = {}
      names[name] = some
      due[#due + 1] = second
      due[#due + 1] = name
    end
    some[#some + 1] = caller
  end
  for name, some in pairs(names) do redis.call('SADD', p .. 'due:' .. name, unpack(some)) end
  if #due > 0 and redis.call('ZADD', p .. 'due', unpack(due)) > 0 then
    for name in pairs(names) do redis.call('EXPIRE', p .. 'due:' .. name, 86400) end
  end
end

-- Ends the reservations that have expired. One does when the facts are complete up to its end: a call that was
-- published before has been counted by then. A call looks at more than a call can reserve and at no more than takes some
-- milliseconds; the next goes on.
local function settle_due(c)
  local due, left = c.p .. 'due', SETTLED_AT_ONCE
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', c.complete / 1000)) do
    local callers
    repeat
      if left <= 0 then
        c.is_behind = true
        return
      end
      callers = redis.call('SPOP', due .. ':' .. name, POPPED_AT_ONCE)
      local groups = #callers > 0 and redis.call('HMGET', c.p .. 'in', unpack(callers))
      for at, caller in ipairs(callers) do
        expire(c, caller)
        left = left - math.max(1, settle_everywhere(c, caller, groups[at] or ''))
      end
    until #callers < POPPED_AT_ONCE
    redis.call('ZREM', due, name)
  end
end

-- What waits for nothing but time: until as many can be picked as a call picks, or nobody is left.
local function settle_woken(c, g)
  local found, left = 0, WOKEN_AT_ONCE
  for _, reason in ipairs({'cooldown', 'hourly_cap', 'min_gap'}) do
    local woken
    repeat
      woken = redis.call('ZRANGEBYSCORE', g.p .. reason, '-inf', c.now, 'LIMIT', 0, POPPED_AT_ONCE)
      for _, caller in ipairs(woken) do
        if settle(c, g, caller) then found = found + 1 end
      end
      left = left - #woken
    until #woken < POPPED_AT_ONCE or found >= POPPED_AT_ONCE or left <= 0
  end
end

-- Whether flags have changed of which the plan does not know. Those of other groups' callers do not concern it.
local function is_flagged(c, g)
  local newest = redis.call('ZREVRANGE', c.facts .. 'flagged', 0, 0, 'WITHSCORES')[2] or '0'
  if newest == g.flags then return false end
  if tonumber(newest) < tonumber(g.flags) then return true end
  local changed = redis.call('ZRANGEBYSCORE', c.facts .. 'flagged', '(' .. g.flags, '+inf', 'LIMIT', 0, FLAGS_LOOKED_AT + 1)
  if #changed > FLAGS_LOOKED_AT then return true end
  for _, known in ipairs(redis.call('HMGET', g.p .. 'members', unpack(changed))) do
    if known then return true end
  end
  redis.call('HSET', g.key, 'flags', newest)
  g.flags = newest
  return false
end

-- Why the plan can't be picked from, or nil.
local function staleness(c, g, version)
  if not g then return 'plan' end
  if redis.call('HGET', c.p .. 'customer', 'version') ~= g.version then return 'definition' end
  if version ~= g.digest then return 'engine' end
  if g.generation ~= c.generation then return 'generation' end
  if c.quarter < g.first or c.quarter >= g.last then return 'day' end
  if is_flagged(c, g) then return 'flags' end
end

-- Whether the queue of one of these classes is not there yet.
local function lacks_class(g, names)
  if #names == 0 then return false end
  for _, state in ipairs(redis.call('HMGET', g.p .. 'classes', unpack(names))) do
    if state ~= '1' then return true end
  end
  return false
end
