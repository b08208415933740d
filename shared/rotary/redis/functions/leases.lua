#!lua name=rotary_leases_1
-- Assigns logs to consumers. A hash holds the expiry of each consumer, `c <name>`, and the consumer of each unit of work,
-- `u <name>`. All times are this server's clock in milliseconds.
--
-- An earlier release has `lease_1` in its library rotary_facts_1. Redis allows a name in one library only, so this one
-- has another name. Both releases load their libraries in any order, and share the units through the same hash.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function hash(key)
  local found, flat = {}, redis.call('HGETALL', key)
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- FCALL share_1 1 rotary:leases consumer ttl-ms unit...
-- Divides the units among the live consumers; their shares differ by at most one. Returns this consumer's units. A ttl of
-- 0 removes the consumer. A lease only saves double work: folding without one does no harm.
local function share(keys, args)
  local key, me, ttl, now = keys[1], args[1], tonumber(args[2]), now_ms()
  local fields, alive, owners, mine, free = hash(key), {}, {}, {}, {}
  if ttl == 0 then fields['c ' .. me] = '0' else fields['c ' .. me] = string.format('%.0f', now + ttl) end
  for name, value in pairs(fields) do
    if string.sub(name, 1, 2) == 'c ' then
      -- A longer lease is from before the clock was set back. For a dead consumer it would last too long.
      local left = tonumber(value) - now
      if left > 0 and (ttl == 0 or left <= ttl) then
        alive[string.sub(name, 3)] = true
      else
        redis.call('HDEL', key, name)
      end
    end
  end
  for name, value in pairs(fields) do
    if string.sub(name, 1, 2) == 'u ' then
      if alive[value] then owners[string.sub(name, 3)] = value else redis.call('HDEL', key, name) end
    end
  end
  if ttl == 0 then return {} end
  local names, units = {}, {unpack(args, 3)}
  for name in pairs(alive) do names[#names + 1] = name end
  table.sort(names)
  for _, unit in ipairs(units) do
    if owners[unit] == me then mine[#mine + 1] = unit elseif not owners[unit] then free[#free + 1] = unit end
  end
  local quota = math.floor(#units / #names)
  for rank, name in ipairs(names) do
    if name == me and rank <= #units % #names then quota = quota + 1 end
  end
  while #mine > quota do redis.call('HDEL', key, 'u ' .. table.remove(mine)) end
  while #mine < quota and #free > 0 do
    local unit = table.remove(free, 1)
    redis.call('HSET', key, 'u ' .. unit, me)
    mine[#mine + 1] = unit
  end
  redis.call('HSET', key, 'c ' .. me, fields['c ' .. me])
  return mine
end

redis.register_function('share_1', share)
