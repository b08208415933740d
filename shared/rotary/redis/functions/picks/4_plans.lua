-- Part of the library rotary_picks_1: making and mending plans.

-- FCALL plan_read_1 1 {b17}7:picks offset group version
-- What an engine needs to make or mend a plan: {now, generation, complete or '', newest, version, SAME (the version
-- is the one given), NONE or GIVEN, the definition's document, newest flags, the plan or {}}. A plan is {build,
-- digest, version, flags, generation, first quarter, {class, ...}, 1 or 0: whether the next is all, {caller, flags
-- document or '', ...} that changed since}.
local function plan_read(keys, args)
  local c, group = open(keys[1], tonumber(args[1])), args[2]
  local stored = redis.call('HMGET', c.tag .. 'definitions', 'complete', 'newest')
  local version = redis.call('HGET', c.p .. 'customer', 'version') or ''
  local document = version ~= args[3] and redis.call('GET', c.p .. 'group:' .. group)
  local found = version == args[3] and 'SAME' or document and 'GIVEN' or 'NONE'
  local newest = redis.call('ZREVRANGE', c.facts .. 'flagged', 0, 0, 'WITHSCORES')[2] or '0'
  local g, plan = plan_of(c, group), {}
  if g then
    local is_all, changed, classes = 0, {}, {}
    local callers = redis.call('ZRANGEBYSCORE', c.facts .. 'flagged', '(' .. g.flags, '+inf', 'LIMIT', 0, PATCHED_AT_ONCE + 1)
    if #callers <= PATCHED_AT_ONCE and tonumber(g.flags) <= tonumber(newest) and g.generation == c.generation then
      is_all = 1
      for _, caller in ipairs(callers) do
        changed[#changed + 1] = caller
        changed[#changed + 1] = redis.call('GET', c.facts .. 'flags:' .. caller) or ''
      end
    end
    local flat = g.has_classes and redis.call('HGETALL', g.p .. 'classes') or {}
    for at = 1, #flat, 2 do
      if flat[at + 1] == '1' then classes[#classes + 1] = flat[at] end
    end
    plan = {g.build, g.digest, g.version, g.flags, g.generation, g.first, classes, is_all, changed}
  end
  return {
    c.now, c.generation, stored[1] or '', stored[2] or '', version, found, document or '', newest, plan,
  }
end

-- FCALL plan_begin_1 1 {b17}7:picks offset group build field value ...
-- Begins a plan beside the current one; BUSY while another engine is making one.
local function plan_begin(keys, args)
  local c, group, build = open(keys[1], tonumber(args[1])), args[2], args[3]
  local name = c.p .. 'plan:' .. group .. ':building'
  local other = redis.call('GET', name)
  local g = other and other ~= redis.call('GET', c.p .. 'plan:' .. group) and plan_of(c, group, other)
  if g and math.abs(c.real - g.touched) < BUSY_MS then return redis.status_reply('BUSY') end
  redis.call('SET', name, build, 'EX', BUILD_TTL_S)
  local key = c.p .. 'plan:' .. group .. ':' .. build
  redis.call('HSET', key, 'touched', text(c.real), 'classes', '', unpack(args, 4))
  redis.call('EXPIRE', key, BUILD_TTL_S)
  return redis.status_reply('OK')
end

-- Notes that these callers are in the group.
local function note_group(c, group, callers)
  local key, changed = c.p .. 'in', {}
  for at, groups in ipairs(redis.call('HMGET', key, unpack(callers))) do
    groups = groups or ''
    if not string.find(' ' .. groups, ' ' .. group .. ' ', 1, true) then
      changed[#changed + 1] = callers[at]
      changed[#changed + 1] = groups .. group .. ' '
    end
  end
  if #changed > 0 then redis.call('HSET', key, unpack(changed)) end
  redis.call('EXPIRE', key, PLAN_TTL_S)
end

-- FCALL plan_put_1 1 {b17}7:picks offset group build msgpack{{caller, member}, ...}
-- LOST when another engine has begun anew meanwhile. As `settle` for each, in fewer steps: none of them is anywhere
-- yet.
local function plan_put(keys, args)
  local c, group, build = open(keys[1], tonumber(args[1])), args[2], args[3]
  local g = redis.call('GET', c.p .. 'plan:' .. group .. ':building') == build and plan_of(c, group, build)
  if not g then return redis.status_reply('LOST') end
  local members, callers, records, queued = cmsgpack.unpack(args[4]), {}, {}, {}
  for at, one in ipairs(members) do
    callers[at] = one[1]
    records[2 * at - 1], records[2 * at] = one[1], cmsgpack.pack(one[2])
  end
  redis.call('HSET', g.p .. 'members', unpack(records))
  note_group(c, group, callers)
  for _, one in ipairs(members) do
    local reason, wake, used = evaluate(c, g, one[1], one[2])
    if reason then
      redis.call('ZADD', g.p .. reason, wake, one[1])
    else
      if g.strategy == 'weighted' then catch_up(g, one[1], one[2]) end
      local score, tie = place(g, one[1], one[2], used)
      queued[#queued + 1] = score
      queued[#queued + 1] = named(tie, one[1])
    end
  end
  if #queued > 0 then redis.call('ZADD', g.p .. 'queue', unpack(queued)) end
  redis.call('HSET', g.key, 'touched', text(c.real))
  for _, name in ipairs({'members', 'queue', unpack(BLOCKED)}) do redis.call('EXPIRE', g.p .. name, BUILD_TTL_S) end
  return redis.status_reply('OK')
end

local function remove_classes(g)
  local names, flat = {g.p .. 'classes'}, redis.call('HGETALL', g.p .. 'classes')
  for at = 1, #flat, 2 do names[#names + 1] = g.p .. 'queue:' .. flat[at] end
  redis.call('UNLINK', unpack(names))
end

local function remove_plan(g)
  local names = {g.key, g.p .. 'members', g.p .. 'queue'}
  for _, reason in ipairs(BLOCKED) do names[#names + 1] = g.p .. reason end
  redis.call('UNLINK', unpack(names))
  if g.has_classes then remove_classes(g) end
end

-- FCALL plan_commit_1 1 {b17}7:picks group build members
-- Puts a finished plan in place of the current one; LOST when not all of it is there.
local function plan_commit(keys, args)
  local c, group, build = open(keys[1], 0), args[1], args[2]
  local current, building = c.p .. 'plan:' .. group, c.p .. 'plan:' .. group .. ':building'
  local g, old = plan_of(c, group, build), plan_of(c, group)
  if redis.call('GET', building) ~= build or not g or redis.call('HLEN', g.p .. 'members') ~= tonumber(args[3]) then
    return redis.status_reply('LOST')
  end
  if old then remove_plan(old) end
  redis.call('DEL', building)
  for _, name in ipairs({g.key, c.p .. 'turns:' .. group, c.p .. 'rounds:' .. group}) do
    redis.call('EXPIRE', name, PLAN_TTL_S)
  end
  for _, name in ipairs({'members', 'queue', unpack(BLOCKED)}) do redis.call('EXPIRE', g.p .. name, PLAN_TTL_S) end
  redis.call('SET', current, build, 'EX', PLAN_TTL_S)
  return redis.status_reply('OK')
end

-- FCALL plan_class_1 1 {b17}7:picks group build class is-first is-last offset caller...
-- Fills the queue of a class. From the first call on, whoever becomes eligible is put in it; after the last it is
-- used.
local function plan_class(keys, args)
  local c, group, build, class = open(keys[1], tonumber(args[6])), args[1], args[2], args[3]
  local g = redis.call('GET', c.p .. 'plan:' .. group) == build and plan_of(c, group, build)
  if not g then return redis.status_reply('LOST') end
  local key = g.p .. 'classes'
  if args[4] == '1' and redis.call('HLEN', key) >= MAX_CLASSES then remove_classes(g) end
  local state = redis.call('HGET', key, class)
  if args[4] == '0' and not state then return redis.status_reply('LOST') end
  redis.call('HSET', key, class, state or '0')
  redis.call('HSET', g.key, 'classes', '1')
  g.has_classes = true
  local queued, callers = {}, {unpack(args, 7)}
  read_ahead(c, g, callers)
  for _, caller in ipairs(callers) do
    local record = record_of(g, caller)
    local reason, wake, used = 'gone', nil, nil
    if record then reason, wake, used = evaluate(c, g, caller, record) end
    if not reason then
      local score, tie = place(g, caller, record, used)
      queued[#queued + 1] = score
      queued[#queued + 1] = named(tie, caller)
    elseif record then
      block(g, caller, reason, wake)  -- and not only left out: whoever is in no queue waits for something
    end
  end
  if #queued > 0 then redis.call('ZADD', g.p .. 'queue:' .. class, unpack(queued)) end
  if args[5] == '1' then redis.call('HSET', key, class, '1') end
  for _, name in ipairs({key, g.p .. 'queue:' .. class}) do redis.call('EXPIRE', name, PLAN_TTL_S) end
  return redis.status_reply('OK')
end

-- FCALL plan_patch_1 1 {b17}7:picks offset group build version to-version flags to-flags msgpack{{caller, until},
-- ...}
-- Brings a plan from the versions that it has to newer ones; LOST when it has others by now.
local function plan_patch(keys, args)
  local c, group, build = open(keys[1], tonumber(args[1])), args[2], args[3]
  local g = redis.call('GET', c.p .. 'plan:' .. group) == build and plan_of(c, group, build)
  if not g or g.version ~= args[4] or g.flags ~= args[6] then return redis.status_reply('LOST') end
  redis.call('HSET', g.key, 'version', args[5], 'flags', args[7])
  for _, one in ipairs(cmsgpack.unpack(args[8])) do
    local record = record_of(g, one[1])
    if record then
      record[5] = one[2]
      redis.call('HSET', g.p .. 'members', one[1], cmsgpack.pack(record))
      settle(c, g, one[1])
    end
  end
  return redis.status_reply('OK')
end

redis.register_function('plan_read_1', plan_read)
redis.register_function('plan_begin_1', plan_begin)
redis.register_function('plan_put_1', plan_put)
redis.register_function('plan_commit_1', plan_commit)
redis.register_function('plan_class_1', plan_class)
redis.register_function('plan_patch_1', plan_patch)
