#!lua name=rotary_facts_1
-- Facts and positions. A position says up to which offset of a stream a bucket's facts hold everything; it is written
-- in the same step as the facts, so whatever Redis loses, it loses both, and the reader of the stream goes on from what
-- is left. Names end in the version of this library: two releases fold side by side.
--
-- What moves positions without folding is in 2_positions.lua, which is loaded as the end of this library.
--
-- A bucket's position is a hash. Of each log it has
--   <log>   "<next offset>:<time of the last arrival marker>"
--   <log>@  when a reader was last at the log's end
--   <log>!  since when it goes on from an earlier position
--   <log>#  until when events that the log lost would matter
--   <log>+  the piece folded last of a batch in pieces
--   <log>^  since when everything that arrived in the log is in the facts, as far as those are kept; 0 is always
-- and besides
--   logs    the logs that must have a position
--   read    all that a reader needs, "<at> <back> <gap>": the earliest @, the latest ! and #
-- All times are this server's clock in milliseconds.
--
-- Out of memory, Redis does not begin a function; an error within one leaves what was written before it, and the
-- position is written last: what is folded again changes nothing. Numbers in Lua are doubles: ids travel as strings.

-- `seen` and `unknown` are kept for as long as an event may arrive. Counters and flags are kept longer, for history: a
-- roll-up that was down as long as the logs keep calls (3 days) still finds all that it needs. See docs/history.md.
local KEPT_FLAGS_OF_A_KIND, KEPT_CLEARS, DAY_S = 64, 64, 86400
local SEEN_TTL_DAYS, CALLS_TTL_DAYS, FLAGS_TTL_S, FLAGGED_TTL_S = 3, 7, 70 * 86400, 36 * 86400
local DEFAULT_ALLOWANCE = 1000
local CHANGES = 'rotary:changes'

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function hash(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local places, known_places = {}, 0

-- {b17}2/position → {b17}, 2/, 2, 17. Remembered, because it is asked hundreds of times a second.
local function parse(key)
  local place = places[key]
  if not place then
    local tag, part = string.match(key, '^({b%d+})(.-)position$')
    place = {tag, part, part == '' and 0 or tonumber(string.sub(part, 1, -2)), tonumber(string.match(tag, '%d+'))}
    if known_places >= 4096 then places, known_places = {}, 0 end
    places[key], known_places = place, known_places + 1
  end
  return place[1], place[2], place[3], place[4]
end

local function is_replaced(tag, generation)
  return generation < tonumber(redis.call('GET', tag .. 'generation') or 0)
end

local function is_current(tag, generation)
  return generation == tonumber(redis.call('GET', tag .. 'generation') or 0)
end

local function next_offset(value)
  return value and tonumber(string.match(value, '^%d+'))
end

-- The logs of both lists. A log is never forgotten by folding: only `forget` takes one off.
local function union(a, b)
  local known, names = {}, {}
  for name in string.gmatch((a or '') .. ',' .. b, '[^,]+') do
    if not known[name] then
      known[name] = true
      names[#names + 1] = name
    end
  end
  table.sort(names)
  return table.concat(names, ',')
end

-- What readers need, from the position's fields.
local function summary(fields)
  local at, back, gap
  for log in string.gmatch(fields.logs or '', '[^,]+') do
    local reached = fields[log] and tonumber(fields[log .. '@'] or 0) or 0
    at = math.min(at or reached, reached)
    back = math.max(back or 0, tonumber(fields[log .. '!'] or 0))
    gap = math.max(gap or 0, tonumber(fields[log .. '#'] or 0))
  end
  return string.format('%.0f %.0f %.0f', at or 0, back or 0, gap or 0)
end

-- Announces the `read` of buckets: {read → {bucket number, ...}}.
local function announce(reads)
  local groups = {}
  for read, buckets in pairs(reads) do groups[#groups + 1] = {read, buckets} end
  if #groups > 0 then redis.call('PUBLISH', CHANGES, cmsgpack.pack({'positions', now_ms(), groups})) end
end

-- Collects a bucket for `announce`.
local function note(reads, read, bucket)
  local buckets = reads[read] or {}
  buckets[#buckets + 1] = bucket
  reads[read] = buckets
end

-- Writes `changed` fields over `fields`, and `read` with them; collects the bucket for `announce`.
local function write(key, fields, changed, reads)
  for name, value in pairs(changed) do fields[name] = value end
  changed.read = summary(fields)
  local flat = {}
  for name, value in pairs(changed) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', key, unpack(flat))
  local tag, _, generation, bucket = parse(key)
  if is_current(tag, generation) then note(reads, changed.read, bucket) end
end

-- Whether Redis had more than it has: it acknowledged up to an offset that the position is before. What was sent and not
-- acknowledged may never have arrived.
local function is_lost(position, acknowledged)
  acknowledged = tonumber(acknowledged)
  return acknowledged ~= nil and (not position or position < acknowledged)
end

-- A reader continues from a position that this bucket has not reached: it was here before, and Redis went back.
local function went_back(key, fields, log, logs, reads)
  local changed = {logs = union(fields.logs, logs)}
  if not fields[log .. '!'] then changed[log .. '!'] = string.format('%.0f', now_ms()) end
  write(key, fields, changed, reads)
  -- Reservations of picks may be missing too: functions/picks closes the bucket until they have expired.
  redis.call('HSET', parse(key) .. 'picks', 'lost', string.format('%.0f', now_ms()))
end

-- Whether the facts about a caller ID that has none on this day may be begun: its customer has it, or has unknown ones to
-- spare today. While the definitions are not complete nobody is unknown.
local function is_admitted(customer, caller)
  if customer.complete == nil then
    customer.complete = redis.call('HGET', customer.tag .. 'definitions', 'complete') == '1'
  end
  if not customer.complete or redis.call('SISMEMBER', customer.documents .. 'callers', caller) == 1 then return true end
  local unknown = customer.facts .. 'unknown:' .. customer.day
  if redis.call('SISMEMBER', unknown, caller) == 1 then return true end
  local allowance = tonumber(redis.call('HGET', customer.documents .. 'customer', 'allowance') or DEFAULT_ALLOWANCE)
  if redis.call('SCARD', unknown) >= allowance then
    customer.refused[#customer.refused + 1] = caller
    return false
  end
  redis.call('SADD', unknown, caller)
  redis.call('EXPIREAT', unknown, (customer.day + SEEN_TTL_DAYS) * DAY_S)
  customer.admitted = customer.admitted + 1
  return true
end

-- A call turns its pick's reservation into itself: what the caller ID has used stays as it is, unless the call belongs to
-- another time than now. Then functions/picks is told to look again (`due` is its list of whom it must).
local function confirm_picks(customer, caller, day, fresh, picks)
  local now_quarter, confirmed = math.floor(now_ms() / 900000), 0
  for _, id in ipairs(fresh) do
    local pick = picks[id]
    local name = pick and string.match(pick[1], '^(%w+)-' .. caller .. '$')
    if name and redis.call('ZREM', customer.documents .. 'live:' .. caller, name) == 1 then
      confirmed = confirmed + 1
      if day * 96 + pick[2] ~= now_quarter then
        local name = '0.' .. string.sub(caller, -1)
        redis.call('SADD', customer.documents .. 'due:' .. name, caller)
        redis.call('ZADD', customer.documents .. 'due', 0, name)
      end
    end
  end
  if confirmed > 0 then redis.call('HINCRBY', customer.tag .. 'picks', 'confirmed', confirmed) end
end

-- Counts the identities not seen before; returns {quarter, new count, ...} of what changed, or nil.
-- What was seen expires three days after its UTC day ends: later than any event of that day may still arrive. Counters stay
-- longer, for history.
local function fold_calls(customer, caller, day, ids, quarters, picks)
  local suffix = caller .. ':' .. day
  local seen, calls = customer.facts .. 'seen:' .. suffix, customer.facts .. 'calls:' .. suffix
  local fresh, ops, added, order
  -- Folded more than a day after its arrival: what was published twice comes again soon, and must still be known.
  local age = customer.today - day
  local is_late = SEEN_TTL_DAYS < age and age <= CALLS_TTL_DAYS
  if #ids == 1 then
    -- The most frequent case by far, and SADD itself says whether it was new.
    if redis.call('SADD', seen, ids[1]) == 0 then return nil end
    fresh, order, added = ids, quarters, {[quarters[1]] = 1}
  else
    local known = redis.call('SMISMEMBER', seen, unpack(ids))
    fresh, added, order = {}, {}, {}
    local n = 0
    for i, is_known in ipairs(known) do
      if is_known == 0 then
        n = n + 1
        fresh[n] = ids[i]
        local quarter = quarters[i]
        local count = added[quarter]
        if not count then order[#order + 1] = quarter end
        added[quarter] = (count or 0) + 1
      end
    end
    if n == 0 or redis.call('SADD', seen, unpack(fresh)) == 0 then return nil end
  end
  ops = {'BITFIELD', calls}
  for _, quarter in ipairs(order) do
    local n = #ops
    ops[n + 1], ops[n + 2], ops[n + 3], ops[n + 4] = 'INCRBY', 'u32', '#' .. quarter, added[quarter]
  end
  local counts, changed, first = redis.call(unpack(ops)), {}, false
  for i, quarter in ipairs(order) do
    changed[2 * i - 1], changed[2 * i] = quarter, counts[i]
    first = first or counts[i] == added[quarter]
  end
  if first and redis.call('SCARD', seen) == #fresh then
    if not is_admitted(customer, caller) then
      redis.call('DEL', seen, calls)
      return nil
    end
    if not is_late then redis.call('EXPIREAT', seen, (tonumber(day) + 1 + SEEN_TTL_DAYS) * DAY_S) end
    redis.call('EXPIREAT', calls, (tonumber(day) + 1 + CALLS_TTL_DAYS) * DAY_S)
  end
  if is_late then redis.call('EXPIRE', seen, DAY_S) end
  if picks and customer.is_current then confirm_picks(customer, caller, day, fresh, picks) end
  return changed
end

-- A flag is {at_ms, identity as 16 hex digits, kind}: in this order they compare as the domain compares them.
local function before(a, b)
  if a[1] ~= b[1] then return a[1] < b[1] end
  if a[2] ~= b[2] then return a[2] < b[2] end
  return a[3] < b[3]
end

-- The newest of each kind, ascending: no kind pushes out another.
local function newest(flags)
  local count, kept, reversed = {}, {}, {}
  for i = #flags, 1, -1 do
    local kind = flags[i][3]
    count[kind] = (count[kind] or 0) + 1
    if count[kind] <= KEPT_FLAGS_OF_A_KIND then reversed[#reversed + 1] = flags[i] end
  end
  for i = #reversed, 1, -1 do kept[#kept + 1] = reversed[i] end
  return kept
end

-- The flags of both lists, ascending, each identity of a kind once. `stored` ascends and is all that a caller ID has,
-- `incoming` is few: sorting both as one took five times as long, and no reader is answered meanwhile.
local function merged(stored, incoming)
  local fresh, flags = {}, {}
  for _, flag in ipairs(incoming) do
    local of_kind = fresh[flag[3]] or {}
    fresh[flag[3]] = of_kind
    local other = of_kind[flag[2]]
    if not other or before(other, flag) then of_kind[flag[2]] = flag end
  end
  local kept = {}
  for _, flag in ipairs(stored) do
    local of_kind = fresh[flag[3]]
    local other = of_kind and of_kind[flag[2]]
    if other and not before(flag, other) then of_kind[flag[2]] = nil end
    if not other or not before(flag, other) then kept[#kept + 1] = flag end
  end
  local new = {}
  for _, of_kind in pairs(fresh) do
    for _, flag in pairs(of_kind) do new[#new + 1] = flag end
  end
  table.sort(new, before)
  local at = 1
  for _, flag in ipairs(kept) do
    while new[at] and before(new[at], flag) do
      flags[#flags + 1] = new[at]
      at = at + 1
    end
    flags[#flags + 1] = flag
  end
  for i = at, #new do flags[#flags + 1] = new[i] end
  return flags
end

-- The newest of two lists of times, ascending, each once.
local function merged_clears(stored, incoming)
  local known, times, kept = {}, {}, {}
  for _, list in ipairs({stored, incoming}) do
    for _, at in ipairs(list) do
      if not known[at] then
        known[at] = true
        times[#times + 1] = at
      end
    end
  end
  table.sort(times)
  for i = math.max(1, #times - KEPT_CLEARS + 1), #times do kept[#kept + 1] = times[i] end
  return kept
end

-- Merges flags and clears into the caller's document, {last clear or 0, flags, clears}; returns the new document, or nil
-- if it is the same. `cleared` is the last of the incoming clears, 0 for none.
local function fold_flags(customer, caller, cleared, incoming, clears)
  local key = customer.facts .. 'flags:' .. caller
  local old = redis.call('GET', key)
  if not old and not is_admitted(customer, caller) then return nil end
  local document = old and cmsgpack.unpack(old) or {0, {}, {}}
  local stored = document[3] or (document[1] > 0 and {document[1]}) or {}
  local flags = #incoming == 0 and document[2] or newest(merged(document[2], incoming))
  local new = cmsgpack.pack({math.max(document[1], cleared), flags, #clears == 0 and stored or merged_clears(stored, clears)})
  if new == old then return nil end
  redis.call('SET', key, new, 'EX', FLAGS_TTL_S)
  return new
end

-- Says that these callers' flags changed: a version, the time in microseconds, that no other state of the flags ever had,
-- also if Redis goes back. Plans of picks (functions/picks) are of such a version.
local function mark_flagged(customer, flags)
  local key, time = customer.facts .. 'flagged', redis.call('TIME')
  local last = tonumber(redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')[2] or 0)
  local version = math.max(last + 1, time[1] * 1000000 + time[2])
  for _, entry in ipairs(flags) do redis.call('ZADD', key, version, entry[1]) end
  redis.call('ZREMRANGEBYSCORE', key, '-inf', version - FLAGGED_TTL_S * 1000000)
  redis.call('EXPIRE', key, FLAGGED_TTL_S)
end

-- {id, {{caller, day, {identity, ...}, {quarter, ...}[, {identity → {pick, quarter}}]}, ...},
-- {{caller, last clear, {flag, ...}, {clear, ...}}, ...}} of one customer.
local function fold_customer(customer, batch)
  local calls, flags = {}, {}
  for _, entry in ipairs(batch[2]) do
    local changed = fold_calls(customer, entry[1], entry[2], entry[3], entry[4], entry[5])
    if changed then calls[#calls + 1] = {entry[1], tonumber(entry[2]), changed} end
  end
  for _, entry in ipairs(batch[3]) do
    local document = fold_flags(customer, entry[1], entry[2], entry[3], entry[4] or {})
    if document then flags[#flags + 1] = {entry[1], document} end
  end
  if #flags > 0 then mark_flagged(customer, flags) end
  return calls, flags
end

-- FCALL fold_1 1 {b17}position log from to marker logs batch [piece before acknowledged since]
-- `from`: the offset that the caller continues from, '' for the beginning of the log. `to`: the first offset after the
-- batch, '' for a piece that leaves the position where it is because others follow. `marker`: the time of the last arrival
-- marker before `to`. `batch`: msgpack {customer, ...}, see fold_customer. `piece`: what tells this piece of a batch from
-- any other, '' for the last; `before`: the piece that must be the last one folded, '' for the first. One that was refused,
-- or that Redis lost, would else be missing below the position that the last one sets. `acknowledged`: up to where Redis
-- told the caller that it had folded, '' for nowhere; by default `from`. `since`: from when on everything that arrived is
-- in the log, for a bucket that begins with it.
-- Returns the position, or {position, {{customer, caller refused, ...}, ...}, how many unknown callers were admitted}, or
-- the status BEHIND with nothing folded (Redis lost what it had; continue from the stored position), AHEAD with nothing
-- folded (what the caller sent before has not arrived; likewise), or REPLACED (the generation is over).
local function fold(keys, args)
  local key, log, from, to = keys[1], args[1], tonumber(args[2]), tonumber(args[3])
  local tag, part, generation = parse(key)
  if is_replaced(tag, generation) then return redis.status_reply('REPLACED') end
  local stored = redis.call('HMGET', key, log, 'logs')
  local position = next_offset(stored[1])
  if from and (not position or position < from) then
    if not is_lost(position, args[9] or args[2]) then return redis.status_reply('AHEAD') end
    local reads = {}
    went_back(key, hash(key), log, args[5], reads)
    announce(reads)
    return redis.status_reply('BEHIND')
  end
  if (args[8] or '') ~= '' and redis.call('HGET', key, log .. '+') ~= args[8] then
    return redis.status_reply('BEHIND')
  end
  if position and to and position >= to then return position end
  local changes, refused, admitted, today = {}, {}, 0, math.floor(now_ms() / 86400000)
  for _, batch in ipairs(cmsgpack.unpack(args[6])) do
    local id = batch[1]
    local customer = {
      tag = tag, facts = tag .. part .. id .. ':', documents = tag .. id .. ':',
      day = math.floor(tonumber(args[4]) / 86400000), today = today, refused = {id}, admitted = 0,
      is_current = is_current(tag, generation),
    }
    local calls, flags = fold_customer(customer, batch)
    if #calls + #flags > 0 then changes[#changes + 1] = {id, calls, flags} end
    if #customer.refused > 1 then refused[#refused + 1] = customer.refused end
    admitted = admitted + customer.admitted
  end
  if not position and (args[10] or '') ~= '' then redis.call('HSET', key, log .. '^', args[10]) end
  if to then redis.call('HSET', key, log, args[3] .. ':' .. args[4]) end
  if (args[7] or '') ~= '' then
    redis.call('HSET', key, log .. '+', args[7])
  elseif (args[8] or '') ~= '' then
    redis.call('HDEL', key, log .. '+')
  end
  if stored[2] ~= args[5] and union(stored[2], args[5]) ~= stored[2] then
    local reads = {}
    write(key, hash(key), {logs = union(stored[2], args[5])}, reads)
    announce(reads)
  end
  if #changes > 0 and is_current(tag, generation) then
    redis.call('PUBLISH', CHANGES, cmsgpack.pack({'facts', changes}))
  end
  if #refused + admitted > 0 then return {to or 0, refused, admitted} end
  return to or 0
end

redis.register_function('fold_1', fold)
