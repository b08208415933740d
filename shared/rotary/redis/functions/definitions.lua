#!lua name=rotary_definitions_1
-- Definitions are written with the version of the Postgres snapshot they were read in. Versions compare as texts. An
-- older one never replaces a newer one, however late it arrives.
--
-- Definitions live in parts: each bucket of customers, and the tokens. A part's hash has these fields:
--   complete  1: it holds every definition; without it readers answer 503
--   version   the version up to which it holds everything
--   newest    the newest version that anything in it was written with; it never falls, unless Redis went back
--   schema    the schema of its documents
--   as_of     Redis' time in ms when a projector last found that Postgres has nothing newer
--   resync    the id of the round of writes under way
--   writes    how many writes that round has made
-- A write names its round and its number in it, so that writes which Redis lost in between are noticed by the next.
--
-- Ids are 64 bits wide and numbers in Lua are doubles: ids travel as texts.

local KEPT_S, SLICE = 40 * 86400, 1000

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

-- Whether a write may go ahead: nil, or LOST (Redis lost part of the round) or OLDER (the part is newer already).
local function refusal(part, round, number, version)
  local stored = redis.call('HMGET', part, 'resync', 'writes', 'version')
  if round ~= '' and (stored[1] ~= round or tonumber(stored[2]) ~= number - 1) then return 'LOST' end
  if stored[3] and version < stored[3] then return 'OLDER' end
end

-- Counts the write and says how new the part is.
local function count(part, round, number, version)
  local newest = redis.call('HGET', part, 'newest')
  if not newest or newest < version then redis.call('HSET', part, 'newest', version) end
  if round ~= '' then redis.call('HSET', part, 'writes', number) end
  return redis.status_reply('OK')
end

local function publish(...)
  redis.call('PUBLISH', 'rotary:changes', cmsgpack.pack({...}))
end

-- Beyond 2^53 a double cannot hold an id. As a text it is not what readers expect, so they forget all they have cached.
local function announced(id)
  local number = tonumber(id)
  return number <= 9007199254740992 and number or id
end

-- The set of caller IDs. `mode` says what the ids given are: nothing; a difference (added, then removed); or the whole
-- set, in slices that are collected aside and put in place by the last of them.
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
-- `kept` are the ids of all groups there are. Where the list document is empty, the list stays and no group is removed.
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
-- The version stays for 40 days, so that a late write does not bring the customer back.
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

-- A token's document is {schema, version, body}, whatever the schema.
local function token_version(document)
  local read, found = pcall(cmsgpack.unpack, document)
  return read and type(found) == 'table' and type(found[2]) == 'string' and found[2] or ''
end

-- FCALL put_tokens_1 2 {token}definitions {token}index round number version tombstone
--   written sha256 document ... removed sha256 ...
-- A token that is newer already is left as it is.
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
    redis.call('SET', name, document)
    if not lives then redis.call('EXPIRE', name, KEPT_S) end
    redis.call(lives and 'SADD' or 'SREM', index, sha256)
    touched[#touched + 1] = sha256
  end
  for entry = 1, written do write(args[4 + 2 * entry], args[5 + 2 * entry], true) end
  for at = 6 + 2 * written, #args do write(args[at], tombstone, false) end
  if #touched > 0 then publish('tokens', touched) end
  return count(part, round, number, version)
end

-- FCALL begin_1 1 <part> round
-- `complete` stays: readers go on reading during an ordinary resync.
local function begin(keys, args)
  redis.call('HSET', keys[1], 'resync', args[1], 'writes', 0)
  return redis.status_reply('OK')
end

-- FCALL finish_1 2 <part> <its index> round writes version schema base size
-- After a round of changes `base` is the version that they continue; after a resync it is empty, and `size` says how
-- many customers or tokens there are: one more is what a late write brought back.
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
-- Says that the part is current, if it is complete at just this version; else LOST, and one that went back is closed.
local function touch(keys, args)
  local stored = redis.call('HMGET', keys[1], 'complete', 'version', 'schema', 'newest')
  if stored[1] and stored[2] == args[1] and stored[3] == args[2] then
    redis.call('HSET', keys[1], 'as_of', now_ms())
    return redis.status_reply('OK')
  end
  if (stored[4] or '') < args[1] then redis.call('HDEL', keys[1], 'complete') end
  return redis.status_reply('LOST')
end

-- FCALL doubt_1 1 <part> seen
-- Closes a part that is older than what the caller has seen; returns what is newest in it, empty for nothing.
local function doubt(keys, args)
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
redis.register_function('doubt_1', doubt)
