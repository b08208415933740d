#!lua name=rotary_rate_limits_1
-- Each token has one key: {slots, holders}, msgpack. `slots` holds past hits: {last hit in ms, hits} by quarter second.
-- `holders` holds reserved hits: {hits held, held until ms} by replica. Both count against the limit. A hit counts from
-- its reservation until 60 s after it was made, so the replicas together never exceed the limit.
--
-- The name has a version, so that replicas of two releases can share a server.

local WINDOW_MS, HELD_MS, SLOT_MS = 60000, 5000, 250

local function server_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- The slots and holders that still count. A time in the future is from before the server's clock was set back. It becomes
-- the present.
local function counting(state, now)
  local slots, holders = {}, {}
  for slot, entry in pairs(state[1]) do
    if entry[1] > now then entry[1] = now end
    if entry[1] > now - WINDOW_MS then slots[slot] = entry end
  end
  for holder, entry in pairs(state[2]) do
    if entry[2] > now + HELD_MS then entry[2] = now + HELD_MS end
    if entry[2] > now - WINDOW_MS then holders[holder] = entry end
  end
  return slots, holders
end

-- The time of a replica's last hit. It is after the replica's last call, and within the time that the hits were held. The
-- reported age is limited to these bounds, because the replica's clock may have been set meanwhile.
local function last_hit(now, age, holder)
  if not holder then return now - age end
  return math.min(now, holder[2], math.max(now - age, holder[2] - HELD_MS))
end

-- Counts hits, the last of them at `at`, in the slot of that time.
local function count(slots, at, hits)
  local slot = tostring(math.floor(at / SLOT_MS))
  local entry = slots[slot] or {at, 0}
  slots[slot] = {math.max(entry[1], at), entry[2] + hits}
end

-- The number of hits, and the time of the oldest one. A held hit has the time of its reservation.
local function sum(slots, holders, now)
  local hits, oldest = 0, now
  for _, entry in pairs(slots) do
    hits, oldest = hits + entry[2], math.min(oldest, entry[1])
  end
  for _, entry in pairs(holders) do
    hits, oldest = hits + entry[1], math.min(oldest, entry[2] - HELD_MS)
  end
  return hits, oldest
end

-- ARGV: replica, limit, hits made since its last call, ms since the last of them, hits it still holds, hits it wants,
-- and the time in ms (tests; empty means the server's clock).
-- Returns {hits it holds now, hits counted besides these, ms until the oldest counted one stops counting}.
local function reserve(keys, args)
  local replica, limit, made = args[1], tonumber(args[2]), tonumber(args[3])
  local now = tonumber(args[7]) or server_ms()
  local packed = redis.call('GET', keys[1])
  local slots, holders = counting(packed and cmsgpack.unpack(packed) or {{}, {}}, now)
  local at = last_hit(now, tonumber(args[4]), holders[replica])
  if made > 0 and at > now - WINDOW_MS then count(slots, at, made) end
  holders[replica] = nil
  local counted, oldest = sum(slots, holders, now)
  local held = math.max(0, math.min(tonumber(args[5]) + tonumber(args[6]), limit - counted))
  if held > 0 then holders[replica] = {held, now + HELD_MS} end
  if next(slots) or next(holders) then
    redis.call('SET', keys[1], cmsgpack.pack({slots, holders}), 'PX', WINDOW_MS + HELD_MS)
  else
    redis.call('DEL', keys[1])
  end
  return {held, counted, math.max(0, oldest + WINDOW_MS - now)}
end

redis.register_function('rotary_reserve_1', reserve)
