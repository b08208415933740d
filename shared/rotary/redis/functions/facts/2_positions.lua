-- The second part of the library: what follows 1_fold.lua: what moves positions, and whole generations, without folding.

local CURRENT_MS = 2000

-- Advances one bucket, wherever it is; returns nil, or 'behind' or 'ahead' as `fold` does.
local function advance_one(key, log, from, to, marker, logs, reads, acknowledged, since)
  local fields = hash(key)
  local position = next_offset(fields[log])
  if from and (not position or position < from) then
    if not is_lost(position, acknowledged or from) then return 'ahead' end
    went_back(key, fields, log, logs, reads)
    return 'behind'
  end
  if not position or position <= tonumber(to) then
    local back = tonumber(fields[log .. '!'])
    if back and tonumber(marker) >= back then
      redis.call('HDEL', key, log .. '!')
      fields[log .. '!'] = nil
    end
    local changed = {[log] = to .. ':' .. marker, [log .. '@'] = marker, logs = union(fields.logs, logs)}
    if not position and since ~= '' then changed[log .. '^'] = since end
    write(key, fields, changed, reads)
  end
  return nil
end

-- What the advances of one call have in common, for `advance_plainly`; nil unless the log is one of `logs`.
local function plan_advance(log, to, marker, logs)
  local ask, is_named = {'HMGET', '', 'logs', 'read', log, log .. '!'}, false
  for name in string.gmatch(logs, '[^,]+') do
    if name == log then is_named = true else ask[#ask + 1] = name .. '@' end
  end
  if not is_named then return nil end
  return {
    ask = ask, log = log, at = log .. '@', to = tonumber(to), marker = marker, reached = to .. ':' .. marker, logs = logs,
  }
end

-- The position in `values`, and the `read` that follows them; nil when it takes more than that.
local function plain_step(plan, values)
  local position, since = next_offset(values[3]), tonumber(values[4] or nil)
  -- The latest ! and # of all logs stay as they are, unless this log has been read again up to here.
  local back_and_gap = string.match(values[2] or '', '^%d+( %d+ %d+)$')
  if values[1] ~= plan.logs or not position or not back_and_gap then return nil end
  local at = tonumber(plan.marker)
  if since and at >= since then return nil end
  for i = 5, #plan.ask - 2 do at = math.min(at, tonumber(values[i] or 0)) end
  return {values, position, string.format('%.0f', at) .. back_and_gap}
end

local function is_same(values, others)
  for i = 1, #values do
    if values[i] ~= others[i] then return false end
  end
  return true
end

-- Most advances find every bucket where it should be, and as the bucket before it, also while other logs are being read
-- again: then a few fields are read and written by name, with none of the detours of `hash` and `write`, for this is done
-- twice a second for each log and each bucket.
local function advance_plainly(key, from, plan)
  plan.ask[2] = key
  local values = redis.call(unpack(plan.ask))
  local step = plan.step
  if not step or not is_same(values, step[1]) then step = plain_step(plan, values) end
  if not step or (from and step[2] < from) or step[2] > plan.to then return nil end
  plan.step = step
  redis.call('HSET', key, plan.log, plan.reached, plan.at, plan.marker, 'read', step[3])
  return step[3]
end

-- FCALL advance_1 n key... log to marker logs from... [acknowledged... [since]]
-- Every bucket given holds everything before `to`, the offset after an arrival marker of the time `marker`. The buckets
-- are of one generation. `acknowledged`, one a bucket: up to where Redis told the caller that it was, as in `fold`; `since`
-- likewise. Returns the numbers (from 1) of the keys that were not advanced because they are behind, negative if replaced,
-- 0 if ahead.
local function advance(keys, args)
  local log, to, marker, logs = args[1], args[2], args[3], args[4]
  local reads, failed, generations, plan = {}, {}, {}, plan_advance(log, to, marker, logs)
  for i, key in ipairs(keys) do generations[i] = parse(key) .. 'generation' end
  local current = redis.call('MGET', unpack(generations))
  for i, key in ipairs(keys) do
    local _, _, generation, bucket = parse(key)
    local newer = generation - tonumber(current[i] or 0)
    if newer < 0 then
      failed[#failed + 1] = -i
    else
      local from = tonumber(args[4 + i])
      local read = plan and advance_plainly(key, from, plan)
      if not read then
        local why = advance_one(key, log, from, to, marker, logs, reads, args[4 + #keys + i], args[5 + 2 * #keys] or '')
        if why then failed[#failed + 1] = why == 'behind' and i or 0 end
      elseif newer == 0 then
        note(reads, read, bucket)
      end
    end
  end
  announce(reads)
  return failed
end

-- FCALL gap_1 n key... log to marker logs until
-- The log can't give what lies before `to`: goes on from there, and closes the buckets until the operator's word, or
-- until what was lost could not matter any more. With '' for `to` the position stays: the gap was found before.
local function gap(keys, args)
  local log, to, reads = args[1], tonumber(args[2]), {}
  for _, key in ipairs(keys) do
    local fields = hash(key)
    if not fields[log .. '#'] or (to and next_offset(fields[log]) ~= to) then
      local changed = {[log .. '#'] = args[5], logs = union(fields.logs, args[4])}
      if to then
        changed[log] = args[2] .. ':' .. args[3]
        changed[log .. '^'] = string.format('%.0f', now_ms())
      end
      write(key, fields, changed, reads)
    end
  end
  announce(reads)
  return redis.status_reply('OK')
end

-- FCALL accept_gap_1 n key... log until
-- Opens the buckets whose gap the operator accepted: those until `until` at the latest. Returns how many, and the latest
-- end of the gaps that are left, 0 if there is none: found since, they are closed until there is a word on them too.
local function accept_gap(keys, args)
  local reads, accepted, left = {}, 0, 0
  for _, key in ipairs(keys) do
    local gap = tonumber(redis.call('HGET', key, args[1] .. '#') or 0)
    if gap > tonumber(args[2]) then
      left = math.max(left, gap)
    elseif gap > 0 then
      redis.call('HDEL', key, args[1] .. '#')
      accepted = accepted + 1
      write(key, hash(key), {}, reads)
    end
  end
  announce(reads)
  return {accepted, left}
end

-- FCALL forget_1 n key... log: the log is gone for good, and nothing in it counts any more.
local function forget(keys, args)
  local reads, log = {}, args[1]
  for _, key in ipairs(keys) do
    local fields, names, named = hash(key), {}, false
    for name in string.gmatch(fields.logs or '', '[^,]+') do
      if name == log then named = true else names[#names + 1] = name end
    end
    if named then
      redis.call('HDEL', key, log, log .. '@', log .. '!', log .. '#', log .. '+', log .. '^')
      for _, mark in ipairs({'', '@', '!', '#'}) do fields[log .. mark] = nil end
      write(key, fields, {logs = table.concat(names, ',')}, reads)
    end
  end
  announce(reads)
  return redis.status_reply('OK')
end

-- FCALL switch_1 1 {b17}generation new exact
-- Readers read the generation `new` from here on, if it is complete: at the end of every log lately and, if `exact`,
-- nowhere behind the one that it replaces.
local function switch(keys, args)
  local tag, new = string.match(keys[1], '^{b%d+}'), args[1]
  local old = redis.call('GET', keys[1]) or '0'
  if tonumber(old) >= tonumber(new) then return 1 end
  local built = hash(tag .. new .. '/position')
  local replaced = hash(tag .. (old == '0' and '' or old .. '/') .. 'position')
  local at, back = string.match(built.read or '0 0 0', '^(%d+) (%d+)')
  if math.abs(now_ms() - tonumber(at)) > CURRENT_MS or tonumber(back) > 0 then return 0 end
  for log in string.gmatch(replaced.logs or '', '[^,]+') do
    local reached = next_offset(built[log])
    if not reached or args[2] == '1' and reached < (next_offset(replaced[log]) or 0) then return 0 end
  end
  redis.call('SET', keys[1], new)
  redis.call('PUBLISH', CHANGES, cmsgpack.pack({'generation', tonumber(string.match(tag, '%d+')), tonumber(new)}))
  return 1
end

-- FCALL remove_1 n key...
-- Removes facts and positions of generations that were replaced, and of none that is read: Redis may have been emptied or
-- restored since the caller looked. Returns how many keys there were.
local function remove(keys)
  local gone = {}
  for _, key in ipairs(keys) do
    local tag, rest = string.match(key, '^({b%d+})(.*)$')
    if is_replaced(tag, tonumber(string.match(rest, '^(%d+)/') or 0)) then gone[#gone + 1] = key end
  end
  return #gone > 0 and redis.call('UNLINK', unpack(gone)) or 0
end

redis.register_function('advance_1', advance)
redis.register_function('gap_1', gap)
redis.register_function('accept_gap_1', accept_gap)
redis.register_function('forget_1', forget)
redis.register_function('switch_1', switch)
redis.register_function('remove_1', remove)
