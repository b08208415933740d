#!lua name=rotary_definitions_1
-- Writes definitions. Each has the version of its Postgres snapshot. Versions compare as strings. An older version never
-- replaces a newer one.
--
-- Definitions are divided into parts: one for each bucket of customers, and one for the tokens. A part's hash has fields:
--   complete  1 if it has every definition; otherwise readers answer 503
--   version   the version up to which it is complete
--   newest    the newest version of any write; it never decreases, unless Redis lost writes
--   schema    the schema of its documents
--   as_of     Redis' time in ms when a projector last found nothing newer in Postgres
--   resync    the id of the current round of writes
--   writes    the number of writes of that round
-- A write has its round and its number in the round, so the next write notices if Redis lost one.
--
-- Ids have 64 bits, and numbers in Lua are doubles, so ids are passed as strings.

local KEPT_S, EXPIRED_KEPT_S, SLICE = 40 * 86400, 3600, 1000

-- Calls a command on a key with items of a list, in slices that fit Lua's stack.
local function in_slices(command, key, items, first, last)
  for start = first, last, SLICE do
    redis.call(command, key, unpack(items, start, math.min(start + SLICE - 1, last)))
  end
end

local function unlink(names)
  for start = 1, #names, SLICE do
    redis.call('UNLINK', unpack(names, start, math.min(start + SLICE - 1, #names)))
  end
end

local function now_ms()
  local time = redis.call('TIME')
  return string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end

-- The reason to refuse a write: LOST if Redis lost part of the round, OLDER if the part is newer, else nil.
local function refusal(part, round, number, version)
  local stored = redis.call('HMGET', part, 'resync', 'writes', 'version')
  if round ~= '' and (stored[1] ~= round or tonumber(stored[2]) ~= number - 1) then return 'LOST' end
  if stored[3] and version < stored[3] then return 'OLDER' end
end

-- Counts the write and updates `newest`.
local function count(part, round, number, version)
  local newest = redis.call('HGET', part, 'newest')
  if not newest or newest < version then redis.call('HSET', part, 'newest', version) end
  if round ~= '' then redis.call('HSET', part, 'writes', number) end
  return redis.status_reply('OK')
end

local function publish(...)
  redis.call('PUBLISH', 'rotary:changes', cmsgpack.pack({...}))
end

-- A double can't hold an id above 2^53. Readers can't decode a string in its place, and drop all they have cached.
local function announced(id)
  local number = tonumber(id)
  return number <= 9007199254740992 and number or id
end

-- Writes the set of caller IDs. `mode` says what the ids are: `none`, a `difference` (added, then removed), or the whole
-- set. The whole set may come in slices: they are collected in another key, and the last one replaces the set.
local function write_callers(prefix, mode, args, first, added, removed)
  if mode == 'none' then return end
  local callers, aside = prefix .. 'callers', prefix .. 'callers:next'
  if mode == 'difference' then
    in_slices('SADD', callers, args, first, first + added - 1)
    in_slices('SREM', callers, args, first + added, first + added + removed - 1)
    return
  end
  if mode == 'first' or mode == 'whole' then redis.call('UNLINK', aside) end
  in_slices('SADD', aside, args, first, first + added - 1)
  if mode ~= 'last' and mode ~= 'whole' then return end
  redis.call('UNLINK', callers)  -- in the background, unlike a RENAME over a large set
  if redis.call('EXISTS', aside) == 1 then redis.call('RENAME', aside, callers) end
end

-- Replaces the list of groups, and removes the documents of groups that are not in it.
local function write_list(prefix, document, args, first, last, touched)
  local ids, keep, gone, names = prefix .. 'group-ids', {}, {}, {}
  for at = first, last do keep[args[at]] = true end
  for _, id in ipairs(redis.call('SMEMBERS', ids)) do
    if not keep[id] then
      gone[#gone + 1] = id
      names[#names + 1] = prefix .. 'group:' .. id
      touched[#touched + 1] = announced(id)
    end
  end
  unlink(names)
  in_slices('SREM', ids, gone, 1, #gone)
  redis.call('SET', prefix .. 'groups', document)
end

-- FCALL put_customer_1 3 {b17}7:customer {b17}definitions {b17}customers
--   round number version allowance list-document
--   kept-groups id ...   documents id document ...   callers-mode added removed id ...
-- `kept-groups` are the ids of all groups. With an empty list document, the list stays and no group is removed.
local function put_customer(keys, args)
  local customer, part, index = keys[1], keys[2], keys[3]
  local round, number, version, list = args[1], tonumber(args[2]), args[3], args[5]
  local refused = refusal(part, round, number, version)
  local stored = redis.call('HGET', customer, 'version')
  if refused or (stored and version < stored) then return redis.status_reply(refused or 'OLDER') end
  local prefix, touched, at = string.sub(customer, 1, -9), {}, 6
  local kept = tonumber(args[at])
  if list ~= '' then write_list(prefix, list, args, at + 1, at + kept, touched) end
  at = at + kept + 1
  local documents = tonumber(args[at])
  for entry = 1, documents do
    local id = args[at + 2 * entry - 1]
    redis.call('SET', prefix .. 'group:' .. id, args[at + 2 * entry])
    redis.call('SADD', prefix .. 'group-ids', id)
    touched[#touched + 1] = announced(id)
  end
  at = at + 2 * documents + 1
  write_callers(prefix, args[at], args, at + 3, tonumber(args[at + 1]), tonumber(args[at + 2]))
  redis.call('HSET', customer, 'version', version, 'allowance', args[4])
  redis.call('PERSIST', customer)
  local name = string.match(prefix, '(%d+):$')
  redis.call('SADD', index, name)
  if list ~= '' or documents > 0 then publish('groups', name, touched) end
  return count(part, round, number, version)
end

-- FCALL remove_customer_1 3 {b17}7:customer {b17}definitions {b17}customers round number version
-- The version is kept for 40 days, so that a late write does not restore the customer.
local function remove_customer(keys, args)
  local customer, part, index = keys[1], keys[2], keys[3]
  local round, number, version = args[1], tonumber(args[2]), args[3]
  local refused = refusal(part, round, number, version)
  local stored = redis.call('HGET', customer, 'version')
  if refused or (stored and version < stored) then return redis.status_reply(refused or 'OLDER') end
  local prefix, touched = string.sub(customer, 1, -9), {}
  local names = {prefix .. 'groups', prefix .. 'group-ids', prefix .. 'callers', prefix .. 'callers:next'}
  for _, id in ipairs(redis.call('SMEMBERS', prefix .. 'group-ids')) do
    names[#names + 1] = prefix .. 'group:' .. id
    touched[#touched + 1] = announced(id)
  end
  unlink(names)
  redis.call('HDEL', customer, 'allowance')
  redis.call('HSET', customer, 'version', version)
  redis.call('EXPIRE', customer, KEPT_S)
  local name = string.match(prefix, '(%d+):$')
  redis.call('SREM', index, name)
  publish('groups', name, touched)
  return count(part, round, number, version)
end

-- The version in a token's document, {schema, version, body}. It has this form in every schema. It is read by hand:
-- cmsgpack can't unpack a time, which the body of a token that expires ends with.
local function token_version(document)
  local array, _, kind, length = string.byte(document, 1, 4)
  if array ~= 0x93 or not length then return '' end
  if kind == 0xd9 then return string.sub(document, 5, 4 + length) end
  return kind >= 0xa0 and kind <= 0xbf and string.sub(document, 4, 3 + kind - 0xa0) or ''
end

-- When the token of a document expires, in seconds; nil for never. Times have 4 bytes, or 8 with nanoseconds.
local function expiry(document)
  local at = string.sub(document, -10, -9) == '\215\255' and -5 or string.sub(document, -6, -5) == '\214\255' and -4
  if not at then return nil end
  local high = at == -5 and string.byte(document, -5) % 4 or 0
  local a, b, c, d = string.byte(document, -4, -1)
  return (((high * 256 + a) * 256 + b) * 256 + c) * 256 + d
end

-- For how long a tombstone is kept. A late write could restore the token until it expires, and no longer: sessions use
-- up many tokens an hour, and the memory for their tombstones would grow for weeks.
local function kept_s(old)
  local expires_s = old and expiry(old)
  if not expires_s then return KEPT_S end
  return math.min(KEPT_S, math.max(0, math.ceil(expires_s - redis.call('TIME')[1])) + EXPIRED_KEPT_S)
end

-- FCALL put_tokens_1 2 {token}definitions {token}index round number version tombstone
--   written sha256 document ... removed sha256 ...
-- It leaves newer tokens as they are.
local function put_tokens(keys, args)
  local part, index = keys[1], keys[2]
  local round, number, version, tombstone = args[1], tonumber(args[2]), args[3], args[4]
  local refused = refusal(part, round, number, version)
  if refused then return redis.status_reply(refused) end
  local touched, written = {}, tonumber(args[5])
  local function write(sha256, document, lives)
    local name = '{token}' .. sha256
    local old = redis.call('GET', name)
    if old and version < token_version(old) then return end
    if lives then
      redis.call('SET', name, document)
    else
      -- One that has an end keeps it: a second tombstone prolongs nothing.
      redis.call('SET', name, document, 'KEEPTTL')
      redis.call('EXPIRE', name, kept_s(old), 'NX')
    end
    redis.call(lives and 'SADD' or 'SREM', index, sha256)
    touched[#touched + 1] = sha256
  end
  for entry = 1, written do write(args[4 + 2 * entry], args[5 + 2 * entry], true) end
  for at = 6 + 2 * written, #args do write(args[at], tombstone, false) end
  if #touched > 0 then publish('tokens', touched) end
  return count(part, round, number, version)
end

-- FCALL begin_1 1 <part> round
-- Begins a round. It keeps `complete`, so readers continue during an ordinary resync.
local function begin(keys, args)
  redis.call('HSET', keys[1], 'resync', args[1], 'writes', 0)
  return redis.status_reply('OK')
end

-- FCALL finish_1 2 <part> <its index> round writes version schema base size
-- Finishes a round. For changes, `base` is the version before them. For a resync, `base` is empty and `size` is the
-- number of customers or tokens: a greater number means that a late write restored one.
local function finish(keys, args)
  local part = keys[1]
  local round, writes, version, schema, base, size = unpack(args)
  local stored = redis.call('HMGET', part, 'resync', 'writes', 'version', 'complete')
  if stored[1] ~= round or stored[2] ~= writes then return redis.status_reply('LOST') end
  if stored[3] and version < stored[3] then return redis.status_reply('OLDER') end
  if base ~= '' and not (stored[4] and stored[3] == base) then return redis.status_reply('LOST') end
  if base == '' and redis.call('SCARD', keys[2]) ~= tonumber(size) then return redis.status_reply('LOST') end
  redis.call('HSET', part, 'complete', 1, 'version', version, 'schema', schema, 'as_of', now_ms())
  redis.call('HDEL', part, 'resync')
  return count(part, '', 0, version)
end

-- FCALL touch_1 1 <part> version schema
-- Marks the part as current if it is complete at exactly this version. Otherwise returns LOST, and closes an older part.
local function touch(keys, args)
  local stored = redis.call('HMGET', keys[1], 'complete', 'version', 'schema', 'newest')
  if stored[1] and stored[2] == args[1] and stored[3] == args[2] then
    redis.call('HSET', keys[1], 'as_of', now_ms())
    return redis.status_reply('OK')
  end
  if (stored[4] or '') < args[1] then redis.call('HDEL', keys[1], 'complete') end
  return redis.status_reply('LOST')
end

-- FCALL close_older_1 1 <part> seen
-- Closes a part that is older than `seen`. Returns its newest version, or an empty string.
local function close_older(keys, args)
  local newest = redis.call('HGET', keys[1], 'newest') or ''
  if newest < args[1] then redis.call('HDEL', keys[1], 'complete') end
  return newest
end

redis.register_function('put_customer_1', put_customer)
redis.register_function('remove_customer_1', remove_customer)
redis.register_function('put_tokens_1', put_tokens)
redis.register_function('begin_1', begin)
redis.register_function('finish_1', finish)
redis.register_function('touch_1', touch)
redis.register_function('close_older_1', close_older)
