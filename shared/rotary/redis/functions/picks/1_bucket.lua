#!lua name=rotary_picks_1
-- Picks: which caller ID a call shows, reserved in the same step. docs/rotation.md has the keys and the argument. The
-- files of this folder are one library, joined in the order of their names.
--
-- Each group has a plan: what the Python domain says of its members, with the versions it was computed from. A pick
-- from a plan of other versions than those stored now is refused as STALE; an engine then mends the plan. All that
-- depends on calls, reservations and time is evaluated here.
--
-- A plan's members that can be picked are in `queue`, scored by the strategy; the others in one of four sets, scored
-- by when to look again. The queue is lazy: an entry may be too early, never too late. What makes a member's place
-- later (a call, a pick) leaves its entry alone; the minimum is refreshed until it stays the minimum. What makes it
-- earlier (a release, an expiry) is in `due`, and every pick settles that first.
--
-- Numbers in Lua are doubles: ids travel as texts. Times are milliseconds of this server's clock, shifted by
-- `offset`.

local QUARTER_MS, DAY_MS, QUARTERS = 900000, 86400000, 96
local LONGEST_TTL_MS, PLAN_TTL_S, BUILD_TTL_S, IDEMPOTENT_S = 61000, 3 * 86400, 600, 86400
local SETTLED_AT_ONCE, WOKEN_AT_ONCE, POPPED_AT_ONCE, REFRESHED_AT_ONCE, FLAGS_LOOKED_AT = 200, 2000, 64, 64, 64
local BUSY_MS, PATCHED_AT_ONCE = 2000, 500
-- A prefix has 16 characters, so a pick asks for 33 classes at most; 50 that ask for any are in a call.
local MAX_PREFIX, MAX_CLASSES = 16, 2000
local READ_AHEAD, READ_AT_ONCE, KEPT_AT_ONCE = 3, 64, 256
local WORTH = {[1] = 16777216, [2] = 65536, [3] = 256, [0] = 1}  -- of a byte, by its place among four
local BLOCKED = {'cooldown', 'quota_exceeded', 'hourly_cap', 'min_gap'}
local NOBODY = {}
local NO_WISHES = {'', '', NOBODY, NOBODY, ''}  -- of a pick: see `pick_one`

-- This process, and the highest sequence number that it has seen of each bucket: neither goes back with the data.
local run_id
local seen_here = {}

local function this_run()
  run_id = run_id or string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  return run_id
end

local function text(number) return string.format('%.0f', number) end

-- {b17}7:picks → the context of a call for this customer.
local function open(key, offset)
  local tag, prefix = string.match(key, '^({b%d+})(%d+:)picks$')
  local time = redis.call('TIME')
  local real = time[1] * 1000 + math.floor(time[2] / 1000)
  local now = real + offset
  local generation = redis.call('GET', tag .. 'generation') or '0'
  local part = generation == '0' and tag or tag .. generation .. '/'
  return {
    tag = tag, p = tag .. prefix, facts = part .. prefix, position = part .. 'position', generation = generation,
    micros = time[1] * 1000000 + time[2], real = real, now = now, offset = offset, quarter = math.floor(now / QUARTER_MS),
    plans = {}, plans_of = {},
    orders = {},  -- group → whose turn it is, as far as it was read, of all its plans; `moved` has who was picked
    live = {},  -- caller → reservations, as far as they were counted in this call
    expired = 0,
    reserved = {}, callers = {}, answers = {},  -- what `write` has yet to write
  }
end

-- What the bucket says of itself. Data that went back, or that another process holds, may lack reservations: closes
-- the bucket until they have expired. Another generation of the facts may lack what is on its way to it.
local function bucket_state(c, seen)
  local key = c.tag .. 'picks'
  local run, seq, id, generation, closed, lost = unpack(
    redis.call('HMGET', key, 'run', 'seq', 'id', 'generation', 'closed', 'lost'))
  seq, closed = tonumber(seq or 0), tonumber(closed or 0)
  local known = math.max(seen, id and seen_here[id] or 0)
  if run ~= this_run() or seq < known then
    id, seq, closed = id or text(c.micros), math.max(seq, known) + 1, c.now + LONGEST_TTL_MS
    redis.call('HSET', key, 'run', run_id, 'id', id, 'seq', text(seq), 'closed', text(closed))
  end
  if lost then
    closed = math.max(closed, tonumber(lost) + c.offset + LONGEST_TTL_MS)
    redis.call('HDEL', key, 'lost')
    redis.call('HSET', key, 'closed', text(closed))
  end
  if generation ~= c.generation then
    closed = math.max(closed, generation and c.now or 0)
    redis.call('HSET', key, 'generation', c.generation, 'closed', text(closed))
  end
  seen_here[id] = math.max(seq, seen_here[id] or 0)
  c.seq, c.id, c.closed = seq, id, closed
end

-- Why nothing may be picked: {code, milliseconds until asking again is right}; nil when the facts can be believed.
local function closure(c, max_age)
  local at, back, gap = string.match(redis.call('HGET', c.position, 'read') or '0 0 0', '^(%d+) (%d+) (%d+)$')
  at = tonumber(at)
  c.complete = math.min(at + c.offset, c.now)
  if tonumber(gap) > c.real then return {'gap', tonumber(gap) - c.real} end
  if at == 0 or tonumber(back) > 0 or math.abs(c.real - at) > max_age then return {'position', 1000} end
  if c.complete < c.closed then return {'loss', c.closed - c.complete} end
end
