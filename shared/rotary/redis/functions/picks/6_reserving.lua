-- Part of the library rotary_picks_1: picking and giving back.

-- Moves a member behind what it was picked for. `is_first`: no excluded one was passed by for it.
local function take_turn(c, g, chosen, is_first)
  local caller, record, v = chosen.caller, chosen.record, chosen.view
  if g.strategy == 'random' then return end
  g.moved[caller] = true
  if g.strategy ~= 'round_robin' and (g.has_classes or not v) then
    local left, _, tie = g.left[caller] or {}, place(g, caller, record, chosen.used)
    left[#left + 1] = tie
    g.left[caller] = left
  end
  if g.strategy == 'weighted' then
    local round, k = round_of(g, caller, record)
    if is_first and v and v.queue == g.queue then
      g.passed = text(round) .. ' ' .. text(turn_at(record, k))
    end
    if k + 1 < record[1] then set_round(g, caller, record, round, k + 1) else set_round(g, caller, record, round + 1, 0) end
  else
    g.turn[caller] = c.seq
  end
  if v then put(v, chosen, place(g, caller, record, chosen.used + 1, c.seq)) end
end

-- A reservation ends at a whole second. It is named by its id without the caller ID that ends it.
local function reserve(c, g, chosen, id)
  local caller, reserved = chosen.caller, c.reserved[chosen.caller]
  if not g.second then
    g.second = text(math.ceil((c.now + g.ttl_ms) / 1000))
    g.ends, g.ends_ms = g.second .. '000', tonumber(g.second) * 1000
  end
  if not reserved then
    reserved = {}
    c.reserved[caller] = reserved
  end
  local at = #reserved
  reserved[at + 1], reserved[at + 2] = g.ends, id
  c.live[caller] = (c.live[caller] or live_of(c, caller)) + 1
  c.callers[caller] = g.second
  if chosen.record[4] > 0 then redis.call('SET', c.p .. 'gap:' .. caller, text(c.now), 'PX', chosen.record[4] + 60000) end
end

-- The number that a lead keeps, if it can be picked.
local function bound(c, g, lead, excluded)
  local caller = redis.call('GET', lead)
  if not caller or excluded[caller] then return nil end
  local record = record_of(g, caller)
  if not record then return nil end
  local reason, _, used = judge(c, g, caller, record)
  if not reason then return {caller = caller, record = record, used = used} end
end

-- The earliest time at which a member of these sets could be picked, as far as is known now.
local function next_eligible(c, g, excluded)
  local next_ms
  for _, reason in ipairs(BLOCKED) do
    local heads = redis.call('ZRANGE', g.p .. reason, 0, REFRESHED_AT_ONCE, 'WITHSCORES')
    for at = 1, #heads, 2 do
      local caller, wake = heads[at], tonumber(heads[at + 1])
      if next_ms and wake >= next_ms then break end
      if not excluded[caller] then
        if reason == 'cooldown' then
          local _, later = evaluate(c, g, caller, record_of(g, caller), true)
          wake = math.max(wake, later or 0)
        end
        next_ms = math.min(next_ms or wake, wake)
      end
    end
  end
  return next_ms
end

-- Looks again at those whose reason may have become another, once in a call of the function: within one nobody
-- becomes eligible. Returns whether somebody is.
local function look_at_blocked(c, g, excluded)
  if g.is_looked_at then return false end
  g.is_looked_at = true
  write_views(g)
  local found = false
  for _, reason in ipairs({'quota_exceeded', 'hourly_cap', 'min_gap'}) do
    local heads = redis.call('ZRANGE', g.p .. reason, 0, REFRESHED_AT_ONCE, 'WITHSCORES')
    for at = 1, #heads, 2 do
      if tonumber(heads[at + 1]) >= g.last * QUARTER_MS and reason == 'quota_exceeded' then break end
      found = settle(c, g, heads[at]) and not excluded[heads[at]] or found
    end
  end
  return found
end

-- Why nobody can be picked: {false, {reason, count, ...}, when to ask again}; nil if somebody can be after all.
local function refuse(c, g, excluded, passed)
  if look_at_blocked(c, g, excluded) then return nil end
  local reasons = {}
  local function count(reason, n)
    if n > 0 then
      reasons[#reasons + 1] = reason
      reasons[#reasons + 1] = n
    end
  end
  for _, reason in ipairs(BLOCKED) do count(reason, redis.call('ZCARD', g.p .. reason)) end
  count('disabled', g.disabled)
  count('excluded', passed)
  return {false, reasons, next_eligible(c, g, excluded) or false}
end

-- Who is picked, and why; or nil, and why nobody is. `wishes` are {id, lead or '', {class, ...}, {excluded caller, ...},
-- seed}.
local function pick_one(c, g, id, wishes)
  local excluded, chosen, passed = NOBODY, nil, 0
  if #wishes[4] > 0 then
    excluded = {}
    for _, caller in ipairs(wishes[4]) do excluded[caller] = true end
  elseif g.refusal then
    return nil, g.refusal
  end
  local lead = g.sticky and wishes[2] ~= '' and c.p .. 'lead:' .. g.id .. ':' .. wishes[2]
  if lead then chosen = bound(c, g, lead, excluded) end
  local reason = chosen and 'sticky' or g.reason
  for _ = 1, 2 do
    if chosen then break end
    chosen, passed = choose_by_class(c, g, wishes, excluded)
    local refused = not chosen and refuse(c, g, excluded, passed)
    if refused then
      -- Within a call of the function nobody becomes eligible.
      if excluded == NOBODY then g.refusal = refused end
      return nil, refused
    end
  end
  if not chosen then return nil, {false, {}, c.now} end
  c.seq = c.seq + 1
  take_turn(c, g, chosen, passed == 0)
  reserve(c, g, chosen, id)
  if lead then redis.call('SET', lead, chosen.caller, 'PX', g.sticky_ms) end
  return chosen, reason
end

-- An answer that nothing else is needed for: {caller, id, reason, expires, number, name, carrier, trunk}, or the refusal.
local function answer_in_full(c, g, pick)
  local id, wishes = pick, NO_WISHES
  if type(pick) == 'table' then id, wishes = pick[1], pick end
  local chosen, why = pick_one(c, g, id, wishes)
  if not chosen then return why end
  local record = chosen.record
  return {chosen.caller, id .. '-' .. chosen.caller, why, g.ends_ms, record[7], record[8], record[9], record[10]}
end

-- {{pick, ...}, idempotency key, hash of the body} → {answer in full, ...}, or false when the key belongs to another body.
local function answer_to_key(c, g, request)
  local stored = c.p .. 'idempotent:' .. request[2]
  local known = c.answers[stored] or redis.call('GET', stored)
  if known then
    known = cmsgpack.unpack(known)
    return known[1] == request[3] and known[2]
  end
  local answers = {}
  for at, pick in ipairs(request[1]) do answers[at] = answer_in_full(c, g, pick) end
  c.answers[stored] = cmsgpack.pack({request[3], answers})
  return answers
end

-- A request is the id of a pick, a pick's wishes, or picks under a key. The answer to a pick that nobody remembers is the
-- caller ID alone, with a * if its lead kept it, or the refusal. The engine knows the rest from the definition, whose
-- digest it has named.
local function answer(c, g, request)
  local id, wishes = request, NO_WISHES
  if type(request) == 'table' then
    if type(request[1]) == 'table' then return answer_to_key(c, g, request) end
    id, wishes = request[1], request
  end
  local chosen, why = pick_one(c, g, id, wishes)
  if not chosen then return why end
  return why == 'sticky' and chosen.caller .. '*' or chosen.caller
end

-- Writes what picks have left, a command for many: answers last, so that none is remembered without its reservations.
local function write(c, g)
  write_views(g)
  for caller in pairs(c.callers) do write_reservations(c, caller) end
  for caller, ties in pairs(g.left) do
    local record = record_of(g, caller)
    dequeue(g, caller, record, ties)
    settle(c, g, caller)
  end
  if c.expired > 0 then redis.call('HINCRBY', c.tag .. 'picks', 'expired', c.expired) end
  look_again_at(c.p, c.callers)
  local key, value_of = g.turns, g.turn
  if g.strategy == 'weighted' then key, value_of = g.rounds, g.round end
  local changed = {}
  for caller in pairs(g.moved) do
    local value = value_of[caller]
    changed[#changed + 1] = caller
    changed[#changed + 1] = type(value) == 'number' and text(value) or value
  end
  if g.passed then
    changed[#changed + 1] = 'passed'
    changed[#changed + 1] = g.passed
  end
  if #changed > 0 then redis.call('HSET', key, unpack(changed)) end
  for stored, packed in pairs(c.answers) do redis.call('SET', stored, packed, 'EX', IDEMPOTENT_S) end
end

-- FCALL pick_1 1 {b17}7:picks msgpack{offset, group, digest, max age, seen, newest, {class, ...}, picks, {request, ...}}
-- `digest` names the definition that the engine knows; `seen` is the highest sequence number that it saw of the
-- bucket, `newest` the highest version of the bucket's definitions; `class` and `picks` are all the classes that requests
-- name, and how many picks they are. Returns msgpack {status, now, seq, ...}: OK with {when the new reservations end,
-- {answer, ...}}; STALE with why; CLOSED with {code, milliseconds}; DISABLED. But for OK nothing is picked.
local function pick(keys, args)
  local offset, group, version, max_age, seen, newest, classes, count, requests = unpack(cmsgpack.unpack(args[1]))
  local c = open(keys[1], offset)
  bucket_state(c, seen)
  local function reply(status, what) return cmsgpack.pack({status, c.now, c.seq, what}) end
  local closed = closure(c, max_age)
  if closed then return reply('CLOSED', closed) end
  local stored = redis.call('HMGET', c.tag .. 'definitions', 'complete', 'newest')
  if not stored[1] or not stored[2] or stored[2] < newest then return reply('CLOSED', {'definitions', 1000}) end
  local g = plan_of(c, group)
  local stale = staleness(c, g, version) or lacks_class(g, classes) and 'class'
  if stale then return reply('STALE', stale) end
  if g.status ~= 'active' then return reply('DISABLED', false) end
  settle_due(c)
  settle_woken(c, g)
  local last, answers = c.seq + count, {}
  g.wanted = math.min(count, READ_AT_ONCE)
  -- Written first, because an error leaves what was written before it; numbers that are not used are given back.
  redis.call('HSET', c.tag .. 'picks', 'seq', text(last))
  for at, request in ipairs(requests) do answers[at] = answer(c, g, request) end
  write(c, g)
  if c.seq < last then redis.call('HSET', c.tag .. 'picks', 'seq', text(c.seq)) end
  seen_here[c.id] = c.seq
  return reply('OK', {g.ends_ms or 0, answers})
end

-- FCALL release_1 1 {b17}7:picks caller id: gives a reservation back; whether there was one. The id is the part before
-- the caller ID.
local function release(keys, args)
  local prefix = string.sub(keys[1], 1, -6)
  local gone = redis.call('ZREM', prefix .. 'live:' .. args[1], args[2])
  if gone == 1 then
    look_again(prefix, 0, args[1])
    redis.call('HINCRBY', string.match(prefix, '^{b%d+}') .. 'picks', 'released', 1)
  end
  return gone
end

-- FCALL notice_1 n {b17}7:picks... msgpack{offset, {seen, ...}}: notices a loss of data now. Customers stand for
-- buckets. Returns {{sequence number, reservations confirmed so far, expired, released}, ...}.
local function notice(keys, args)
  local offset, seen = unpack(cmsgpack.unpack(args[1]))
  local numbers = {}
  for at, key in ipairs(keys) do
    local c = open(key, offset)
    bucket_state(c, seen[at])
    local ended = redis.call('HMGET', c.tag .. 'picks', 'confirmed', 'expired', 'released')
    numbers[at] = {c.seq, tonumber(ended[1] or 0), tonumber(ended[2] or 0), tonumber(ended[3] or 0)}
  end
  return cmsgpack.pack(numbers)
end

-- FCALL open_picks_1 n {b17}7:picks...: somebody's word that no reservation is missing in these buckets.
local function open_picks(keys)
  for _, key in ipairs(keys) do
    bucket_state(open(key, 0), 0)
    redis.call('HSET', string.match(key, '^{b%d+}') .. 'picks', 'closed', 0)
  end
  return redis.status_reply('OK')
end

redis.register_function('pick_1', pick)
redis.register_function('release_1', release)
redis.register_function('notice_1', notice)
redis.register_function('open_picks_1', open_picks)
