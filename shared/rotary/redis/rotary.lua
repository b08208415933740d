#!lua name=rotary
-- The fold commits facts and knows no policy. All of a customer's keys are in one slot, so the names built here from
-- the fence's hash tag are on the server that runs this. Out of memory, Redis does not begin a function; an error within
-- one leaves what was written before it, which is why whatever is repeated must change nothing.
--
-- Numbers in Lua are doubles: caller ids and identities are 64 bits wide and therefore travel as strings.

local KEPT_FLAGS, FLAGS_TTL_S, DAY_S, CALLS_TTL_DAYS = 256, 35 * 86400, 86400, 3

-- Counts the identities not seen before; returns {quarter, new count, ...} of what changed, or nil.
-- Both keys expire three days after their UTC day ends: later than any event of that day may still arrive.
local function fold_calls(prefix, caller, day, ids, quarters)
  local seen, calls = prefix .. 'seen:' .. caller .. ':' .. day, prefix .. 'calls:' .. caller .. ':' .. day
  local known = #ids > 1 and redis.call('SMISMEMBER', seen, unpack(ids)) or {0}
  local fresh, added, order = {}, {}, {}
  for i = 1, #ids do
    if known[i] == 0 then
      fresh[#fresh + 1] = ids[i]
      local quarter = quarters[i]
      if not added[quarter] then order[#order + 1] = quarter end
      added[quarter] = (added[quarter] or 0) + 1
    end
  end
  -- SADD counts what was new: of a single call, the most frequent case by far, nothing else needs to ask.
  if #fresh == 0 or redis.call('SADD', seen, unpack(fresh)) == 0 then return nil end
  -- Saturating: a counter that wrapped would show a caller ID far over its cap as fresh.
  local ops = {'BITFIELD', calls, 'OVERFLOW', 'SAT'}
  for _, quarter in ipairs(order) do
    local n = #ops
    ops[n + 1], ops[n + 2], ops[n + 3], ops[n + 4] = 'INCRBY', 'u16', '#' .. quarter, added[quarter]
  end
  local counts, changed, first = redis.call(unpack(ops)), {}, false
  for i, quarter in ipairs(order) do
    changed[2 * i - 1], changed[2 * i] = quarter, counts[i]
    first = first or counts[i] == added[quarter]
  end
  if first then
    local expiry = (tonumber(day) + 1 + CALLS_TTL_DAYS) * DAY_S
    redis.call('EXPIREAT', seen, expiry)
    redis.call('EXPIREAT', calls, expiry)
  end
  return changed
end

-- A flag is {at_ms, identity as 16 hex digits, kind}: in this order they compare as the domain compares them.
local function before(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  if a[2] ~= b[2] then return a[2] < b[2] end
  return a[3] < b[3]
end

-- Merges flags and a clear (0 is none) into the caller's document; returns the new document, or nil if it is the same.
local function fold_flags(prefix, caller, cleared, incoming)
  local key = prefix .. 'flags:' .. caller
  local old = redis.call('GET', key)
  local document = old and cmsgpack.unpack(old) or {0, {}}
  local by_identity, flags = {}, {}
  for _, list in ipairs({document[2], incoming}) do
    for _, flag in ipairs(list) do
      local other = by_identity[flag[2]]
      if not other or before(other, flag) then by_identity[flag[2]] = flag end
    end
  end
  for _, flag in pairs(by_identity) do flags[#flags + 1] = flag end
  table.sort(flags, before)
  local kept = {}
  for i = math.max(1, #flags - KEPT_FLAGS + 1), #flags do kept[#kept + 1] = flags[i] end
  local new = cmsgpack.pack({math.max(document[1], cleared), kept})
  if new == old then return nil end
  redis.call('SET', key, new, 'EX', FLAGS_TTL_S)
  return new
end

-- The fence: a fold must find the generation and the number it saw last, else Redis lost what it had acknowledged.
-- A number ahead of the caller's is well: the fold ran and its reply was lost. Epochs sort by age; the newer one holds.
local function check_fence(fence, epoch, consumer, last)
  local stored = redis.call('HMGET', fence, 'epoch', consumer)
  local known, number = stored[1], tonumber(stored[2] or 0)
  if known and known > epoch then return 'EPOCH' end
  if known ~= epoch then
    if last > 0 then return known and 'LOST' or 'EPOCH' end
    redis.call('DEL', fence)
    number = 0
  end
  if number < last then return 'LOST' end
  redis.call('HSET', fence, 'epoch', epoch, consumer, number + 1)
  return nil, number + 1
end

-- FCALL fold 1 {customer}:fence epoch consumer last-number batch
-- batch: msgpack {{{caller, day, {identity, ...}, {quarter, ...}}, ...}, {{caller, cleared, {flag, ...}}, ...}}
-- Returns the new number, or the status EPOCH or LOST with nothing folded.
local function fold(keys, args)
  local batch = cmsgpack.unpack(args[4])
  local broken, number = check_fence(keys[1], args[1], args[2], tonumber(args[3]))
  if broken then return redis.status_reply(broken) end
  local prefix = string.sub(keys[1], 1, -6)
  local calls, flags = {}, {}
  for _, entry in ipairs(batch[1]) do
    local changed = fold_calls(prefix, entry[1], entry[2], entry[3], entry[4])
    if changed then calls[#calls + 1] = {entry[1], tonumber(entry[2]), changed} end
  end
  for _, entry in ipairs(batch[2]) do
    local document = fold_flags(prefix, entry[1], entry[2], entry[3])
    if document then flags[#flags + 1] = {entry[1], document} end
  end
  if #calls + #flags > 0 then
    local customer = string.match(prefix, '^{(%d+)}')
    redis.call('PUBLISH', 'rotary:changes', cmsgpack.pack({'facts', customer, calls, flags}))
  end
  return number
end

redis.register_function('fold', fold)

-- FCALL beat 2 rotary:consumers rotary:ready consumer ready last new
-- Writes only over what this consumer wrote last and under the marker it knows: a server that went back keeps what it
-- has, which is the moment to replay from.
local function beat(keys, args)
  local stored = redis.call('HGET', keys[1], args[1]) or ''
  if stored ~= args[3] or (redis.call('GET', keys[2]) or '') ~= args[2] then return 0 end
  redis.call('HSET', keys[1], args[1], args[4])
  redis.call('PUBLISH', 'rotary:changes', cmsgpack.pack({'beat', args[4]}))
  return 1
end

local function holds(lock, owner)
  return redis.call('HGET', lock, 'owner') == owner
end

-- FCALL acquire 1 rotary:rebuild owner seconds
local function acquire(keys, args)
  if redis.call('EXISTS', keys[1]) == 1 and not holds(keys[1], args[1]) then return 0 end
  redis.call('HSET', keys[1], 'owner', args[1])
  return redis.call('EXPIRE', keys[1], args[2])
end

-- FCALL report 1 rotary:rebuild owner seconds progress
local function report(keys, args)
  if not holds(keys[1], args[1]) then return 0 end
  redis.call('HSET', keys[1], 'progress', args[3])
  return redis.call('EXPIRE', keys[1], args[2])
end

-- FCALL finish 3 rotary:rebuild rotary:ready rotary:rebuilt owner marker
local function finish(keys, args)
  if not holds(keys[1], args[1]) then return 0 end
  local progress = redis.call('HGET', keys[1], 'progress')
  if progress then redis.call('SET', keys[3], progress) end
  redis.call('SET', keys[2], args[2])
  redis.call('DEL', keys[1])
  redis.call('PUBLISH', 'rotary:changes', cmsgpack.pack({'ready', args[2]}))
  return 1
end

redis.register_function('beat', beat)
redis.register_function('acquire', acquire)
redis.register_function('report', report)
redis.register_function('finish', finish)
