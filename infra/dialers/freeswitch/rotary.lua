-- Asks the rotation engine which number to show for a call, and publishes the call. Installed as
-- /usr/share/freeswitch/scripts/rotary.lua. Needs mod_lua and mod_curl of FreeSWITCH 1.10.
--
--   <action application="lua" data="rotary.lua pick 3 ${lead_id}"/>
--   <action application="lua" data="rotary.lua placed"/>
--   <action application="bridge" data="sofia/gateway/${rotary_trunk}/$1"/>
--
-- `pick GROUP [LEAD]` reserves one call of a number's cap and sets effective_caller_id_number, rotary_number,
-- rotary_caller, rotary_group, rotary_pick and rotary_trunk. If nothing is eligible or the engine gives no answer it hangs
-- up with NORMAL_CIRCUIT_CONGESTION: any other number may be over its cap or flagged. rotary_status says which (NONE,
-- ERROR), rotary_retry_after when to come again. `placed` writes the call into the spool of `rotary-dialer spool`, which
-- publishes it. `release` gives the pick back instead, if the call is not placed.
--
-- Set in vars.xml, readable by FreeSWITCH alone:
--
--   <X-PRE-PROCESS cmd="set" data="rotary_engine_url=https://engine.example.com"/>
--   <X-PRE-PROCESS cmd="set" data="rotary_engine_token=…"/>
--
-- mod_curl does not check certificates unless curl.conf.xml sets validate-certs to true.

local ATTEMPTS = 3
local json = freeswitch.JSON()

local function log(level, text)
  freeswitch.consoleLog(level, 'rotary.lua: ' .. text .. '\n')
end

-- What is safe on a command line of FreeSWITCH, inside single quotes.
local function plain(text)
  return (tostring(text or ''):gsub("[^%w ._:+@/-]", ''))
end

local function percent(text)
  return (text:gsub('[^%w._~-]', function(c) return ('%%%02X'):format(c:byte()) end))
end

-- A JSON string. Bytes above 127 are UTF-8 and stay.
local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', function(c) return ('\\u%04x'):format(c:byte()) end) .. '"'
end

-- 128 random bits in hex.
local function new_key()
  local file = assert(io.open('/dev/urandom', 'rb'))
  local bytes = file:read(16)
  file:close()
  return (bytes:gsub('.', function(c) return ('%02x'):format(c:byte()) end))
end

-- The status, the decoded body and the headers by lower-case name. Status 0: no answer.
local function once(path, key, method)
  local url = freeswitch.getGlobalVariable('rotary_engine_url'):gsub('/+$', '') .. path
  -- mod_curl reads ten words at most, and decodes the posted one.
  local words = url .. " json append_headers 'Authorization: Bearer "
    .. plain(freeswitch.getGlobalVariable('rotary_engine_token')) .. "'"
  if key then words = words .. " append_headers 'Idempotency-Key: " .. key .. "'" end
  local answer = json:decode(freeswitch.API():execute('curl', words .. ' timeout 2 ' .. method) or '')
  if type(answer) ~= 'table' then return 0, {}, {} end
  local headers = {}
  for _, header in ipairs(answer.headers or {}) do
    headers[tostring(header.key):lower()] = header.value
  end
  local body = answer.body and json:decode(answer.body)
  return tonumber(answer.status_code) or 0, type(body) == 'table' and body or {}, headers
end

-- Asks again with the same idempotency key: the pick is made once, however often the request arrives.
local function ask(path, method, key)
  local status, body, headers
  for attempt = 1, ATTEMPTS do
    if attempt > 1 then freeswitch.msleep(100 * attempt) end
    status, body, headers = once(path, key, method)
    local may_change = status == 0 or status == 408 or status >= 500
    if not may_change then break end
  end
  return status, body, headers
end

local function picks_of(group)
  if not tostring(group):match('^[1-9]%d*$') then error('the group is not a number: ' .. plain(group), 0) end
  return '/api/caller-id-groups/' .. group .. '/picks'
end

local function set(name, value)
  session:setVariable('rotary_' .. name, value)
end

local function pick(group, lead)
  set('status', 'ERROR')
  set('pick', '')
  local wishes = lead and lead ~= '' and '{"lead_id":' .. quoted(lead) .. '}' or '{}'
  local status, body, headers = ask(picks_of(group), 'post ' .. percent(wishes), new_key())
  local picked = body.data
  if status == 201 and type(picked) == 'table' then
    session:setVariable('effective_caller_id_number', plain(picked.number))
    set('number', plain(picked.number))
    set('caller', ('%d'):format(picked.caller_id_id))
    set('group', ('%d'):format(picked.group_id))
    set('lead', plain(lead))
    set('pick', plain(picked.id))
    set('trunk', type(picked.trunk_name) == 'string' and plain(picked.trunk_name) or '')
    return set('status', 'PICKED')
  end
  log('WARNING', status == 0 and 'the engine gave no answer' or status .. ' ' .. plain(body.message))
  if status == 409 then
    set('status', 'NONE')
    set('retry_after', plain(headers['retry-after']))
  end
  session:hangup('NORMAL_CIRCUIT_CONGESTION')
end

local function variable(name)
  return plain(session:getVariable('rotary_' .. name))
end

-- One line of JSON under a name that is also the event's id. Renaming makes it appear complete or not at all.
local function placed()
  local fields = { '"type":"call-placed"', '"caller_id_id":' .. variable('caller'), '"group_id":' .. variable('group') }
  if variable('lead') ~= '' then table.insert(fields, '"lead_id":' .. quoted(variable('lead'))) end
  if variable('pick') ~= '' then table.insert(fields, '"pick_id":' .. quoted(variable('pick'))) end
  local spool = os.getenv('ROTARY_SPOOL') or '/var/spool/rotary'
  local name = 'call-placed-' .. plain(session:get_uuid()) .. '-' .. variable('pick')
  local file = assert(io.open(spool .. '/.' .. name, 'w'))
  file:write('{' .. table.concat(fields, ',') .. '}\n')
  file:close()
  assert(os.rename(spool .. '/.' .. name, spool .. '/' .. name))
end

local function release()
  local status, body = ask(picks_of(variable('group')) .. '/' .. percent(variable('pick')), 'delete')
  if status ~= 204 then log('WARNING', 'not released: ' .. status .. ' ' .. plain(body.message)) end
end

local actions = { pick = pick, placed = placed, release = release }
local done, why = pcall(actions[argv[1]] or error, argv[2], argv[3])
if not done then
  log('ERR', plain(why))
  if argv[1] == 'pick' then session:hangup('NORMAL_CIRCUIT_CONGESTION') end
end
