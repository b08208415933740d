-- Part of the library rotary_picks_1: choosing the best of a queue.

-- A queue as one call of the function sees it. Its head is read in pieces and nothing is written to it before
-- `write_views`: who is moved meanwhile waits in `moved`, in order, and who can't be picked is `gone`. An entry's `name`
-- is what it is stored under.
local function view_of(g, queue)
  local v = g.views[queue]
  if not v then
    v = {queue = queue, head = {}, at = 1, read = 0, moved = {}, first = 1, last = 0, gone = {}, size = g.wanted}
    g.views[queue] = v
  end
  return v
end

local function read_more(c, g, v)
  local stored = redis.call('ZRANGE', v.queue, v.read, v.read + v.size - 1, 'WITHSCORES')
  local callers, head = {}, {}
  v.head, v.at, v.read, v.is_read = head, 1, v.read + #stored / 2, #stored < 2 * v.size
  v.size = math.min(2 * v.size, READ_AT_ONCE)
  for at = 1, #stored / 2 do
    local name, score = stored[2 * at - 1], tonumber(stored[2 * at])
    local caller = string.sub(name, 9)
    callers[at] = caller
    head[at] = {
      name = name, stored = score, score = score, tie = struct.unpack('>I8', name), caller = caller,
      view = v, record = false, used = 0,
    }
  end
  if #callers > READ_AHEAD then read_ahead(c, g, callers) end
end

-- As Redis orders a sorted set's entries. Caller IDs are digits, which Lua compares the same in any locale.
local function is_before(one, other)
  if one.score ~= other.score then return one.score < other.score end
  if one.tie ~= other.tie then return one.tie < other.tie end
  return one.caller < other.caller
end

-- Takes the first entry out of the view.
local function take(c, g, v)
  if v.at > #v.head and not v.is_read then read_more(c, g, v) end
  local head, moved = v.head[v.at], v.moved[v.first]
  if moved and (not head or is_before(moved, head)) then
    v.moved[v.first] = nil
    v.first = v.first + 1
    return moved
  end
  if head then v.at = v.at + 1 end
  return head
end

-- Puts an entry where it belongs now, which is mostly last.
local function put(v, one, score, tie)
  one.score, one.tie = score, tie
  local moved, at = v.moved, v.last + 1
  while at > v.first and is_before(one, moved[at - 1]) do
    moved[at] = moved[at - 1]
    at = at - 1
  end
  moved[at] = one
  v.last = v.last + 1
end

-- Puts back what was taken and passed by, last first: it belongs before all others, and is not compared with each.
local function put_back(v, passed)
  for at = #passed, 1, -1 do
    local one = passed[at]
    if v.first > v.last or is_before(one, v.moved[v.first]) then
      v.first = v.first - 1
      v.moved[v.first] = one
    else
      put(v, one, one.score, one.tie)
    end
  end
end

local function write_view(g, v)
  local gone, added = v.gone, {}
  for at = v.first, v.last do
    local one = v.moved[at]
    local name = named(one.tie, one.caller)
    if name ~= one.name then gone[#gone + 1] = one.name end
    if name ~= one.name or one.score ~= one.stored then
      added[#added + 1] = one.score
      added[#added + 1] = name
    end
  end
  if #gone > 0 then redis.call('ZREM', v.queue, unpack(gone)) end
  if #added > 0 then redis.call('ZADD', v.queue, unpack(added)) end
  g.views[v.queue] = nil
end

local function write_views(g)
  local views = {}
  for _, v in pairs(g.views) do views[#views + 1] = v end
  for _, v in ipairs(views) do write_view(g, v) end
end

-- The best entry of a queue that is not excluded, with its member's record and what it has used, taken out of the view,
-- or nil; and how many excluded ones were passed by.
local function choose_first(c, g, queue, excluded)
  local v, passed, chosen = view_of(g, queue), NOBODY, nil
  while not chosen do
    if v.last - v.first + #v.gone >= KEPT_AT_ONCE then
      -- Redis keeps order better than a list does, and a command takes no more.
      put_back(v, passed)
      write_view(g, v)
      v, passed = view_of(g, queue), NOBODY
    end
    local one = take(c, g, v)
    if not one then break end
    local caller = one.caller
    local record = record_of(g, caller)
    local reason, wake, used = 'gone', nil, nil
    if record then reason, wake, used = judge(c, g, caller, record) end
    if reason then
      v.gone[#v.gone + 1] = one.name
      if record then block(g, caller, reason, wake) end
    else
      local score, tie = place(g, caller, record, used)
      if score ~= one.score or tie ~= one.tie then
        put(v, one, score, tie)
      elseif excluded[caller] then
        if passed == NOBODY then passed = {} end
        passed[#passed + 1] = one
      else
        chosen, one.record, one.used = one, record, used
      end
    end
  end
  put_back(v, passed)
  return chosen, #passed
end

-- The place of a draw among so many.
local function drawn(seed, draws, size)
  local share = tonumber(string.sub(redis.sha1hex(seed .. ':' .. draws), 1, 13), 16) / 4503599627370496
  return math.floor(share * size)
end

-- The entries of a queue without the excluded, whose entries come second.
local function others(queue, excluded)
  local entries, passed = {}, {}
  for _, entry in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
    local some = excluded[string.sub(entry, 9)] and passed or entries
    some[#some + 1] = entry
  end
  return entries, passed
end

-- Whether an entry's member can be picked, as it is chosen; else the entry leaves the queue.
local function draw(c, g, queue, entry)
  local caller = string.sub(entry, 9)
  local record = record_of(g, caller)
  local reason, wake, used = 'gone', nil, nil
  if record then reason, wake, used = judge(c, g, caller, record) end
  if not reason then return {caller = caller, record = record, used = used} end
  redis.call('ZREM', queue, entry)
  if record then block(g, caller, reason, wake) end
end

-- Likewise, anyone with the same probability. The queue itself is drawn from, so it is written to at once. An excluded
-- one is drawn in vain, unless they may be half of the queue: then it is short, and the others are drawn from.
local function choose_at_random(c, g, queue, excluded, wishes)
  local draws, chosen = 0, nil
  while true do
    local size = redis.call('ZCARD', queue)
    if size <= 2 * #wishes[4] then break end
    draws = draws + 1
    local index = drawn(wishes[5], draws, size)
    local entry = redis.call('ZRANGE', queue, index, index)[1]
    chosen = not excluded[string.sub(entry, 9)] and draw(c, g, queue, entry)
    if chosen then return chosen, 0 end
  end
  local entries, passed = others(queue, excluded)
  while #entries > 0 do
    draws = draws + 1
    chosen = draw(c, g, queue, table.remove(entries, drawn(wishes[5], draws, #entries) + 1))
    if chosen then return chosen, 0 end
  end
  local count = 0
  for _, entry in ipairs(passed) do count = count + (draw(c, g, queue, entry) and 1 or 0) end
  return nil, count
end

local function choose(c, g, queue, excluded, wishes)
  if g.strategy == 'random' then return choose_at_random(c, g, queue, excluded, wishes) end
  return choose_first(c, g, queue, excluded)
end

local function choose_by_class(c, g, wishes, excluded)
  local classes = wishes[3]
  for at = 1, #classes do
    local chosen, passed = choose(c, g, g.queue .. ':' .. classes[at], excluded, wishes)
    if chosen then return chosen, passed end
  end
  return choose(c, g, g.queue, excluded, wishes)
end
