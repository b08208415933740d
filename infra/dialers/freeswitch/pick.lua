-- Picks the caller ID of an outbound call in FreeSWITCH, and gives it back if the call was not placed. Needs mod_curl.
--
--   <action application="lua" data="pick.lua 3 L-991"/>            group and lead
--   <action application="bridge" data="sofia/gateway/trunk/$1"/>
--
-- rotary_engine_url and rotary_token are global variables: vars.xml. Sets effective_caller_id_number, rotary_caller_id,
-- rotary_pick_id and rotary_trunk, or hangs up with NO_CIRCUIT when no number is eligible. Publish call-placed with
-- pick_id when the call goes out: the pick then becomes the call. It expires by itself after 30 seconds.

local api = freeswitch.API()
local group, lead = argv[1], argv[2] or ""
local base = api:execute("global_getvar", "rotary_engine_url")
local token = api:execute("global_getvar", "rotary_token")

-- Values come from leads: only plain characters reach the request.
local function plain(text) return (string.gsub(text, "[^%w ._:+@/-]", "")) end

local function field(json, name)
  return string.match(json, '"' .. name .. '":"([^"]*)"') or string.match(json, '"' .. name .. '":(%d+)') or ""
end

if not string.match(group or "", "^[1-9]%d*$") then
  freeswitch.consoleLog("ERR", "pick.lua: the first argument must be the id of a group\n")
  return session:hangup("NORMAL_TEMPORARY_FAILURE")
end

local answer = api:execute("curl", base .. "/api/caller-id-groups/" .. group .. "/picks"
  .. " connect-timeout 2 timeout 3 content-type application/json"
  .. " append_headers Authorization:Bearer%20" .. token
  .. " append_headers Idempotency-Key:freeswitch-" .. session:get_uuid()
  .. ' post {"lead_id":"' .. string.gsub(plain(lead), " ", "%%20") .. '"}')

local number = field(answer, "number")
if number == "" then
  freeswitch.consoleLog("WARNING", "pick.lua: no number: " .. answer .. "\n")
  return session:hangup("NO_CIRCUIT_AVAILABLE")
end
session:setVariable("effective_caller_id_number", number)
session:setVariable("rotary_caller_id", field(answer, "caller_id_id"))
session:setVariable("rotary_pick_id", field(answer, "id"))
session:setVariable("rotary_trunk", field(answer, "trunk_name"))
