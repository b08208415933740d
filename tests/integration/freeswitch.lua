-- FreeSWITCH as far as rotary.lua uses it: a session that prints what is done to it, and mod_curl's `curl`.
--
--   lua freeswitch.lua SCRIPT ARGUMENT...
--
-- Channel variables that exist before come from the environment as CHANNEL_NAME, global ones as GLOBAL_NAME.
local dkjson = require 'dkjson'

-- switch_separate_string: words separated by spaces, single quotes keep them together; the tenth has all that is left.
local function words_of(text)
  local words, word, quoted = {}, nil, false
  for at = 1, #text do
    local c = text:sub(at, at)
    if c == "'" then
      quoted, word = not quoted, word or ''
    elseif c == ' ' and not quoted and #words < 9 then
      if word then table.insert(words, word) end
      word = nil
    else
      word = (word or '') .. c
    end
  end
  if word then table.insert(words, word) end
  return words
end

local function shell(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function curl(text)
  local words = words_of(text)
  local command, json, at = 'curl -s -i --max-time 5 ' .. shell(words[1]), false, 2
  while at <= #words do
    local word, value = words[at], words[at + 1] or ''
    if word == 'json' then
      json = true
    elseif word == 'append_headers' then
      command, at = command .. ' -H ' .. shell(value), at + 1
    elseif word == 'timeout' then
      at = at + 1
    elseif word == 'post' then
      local decoded = value:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end)
      command, at = command .. ' --data-binary ' .. shell(decoded), at + 1
    elseif word == 'delete' then
      command = command .. ' -X DELETE'
    else
      error('mod_curl does not know ' .. word)
    end
    at = at + 1
  end
  local pipe = io.popen(command)
  local answer = pipe:read('a')
  pipe:close()
  assert(json)
  local head, body = answer:match('^(.-)\r\n\r\n(.*)$')
  local headers = {}
  for name, value in (head or ''):gmatch('\r\n([^:\r\n]+): ([^\r\n]*)') do
    table.insert(headers, { key = name, value = value })
  end
  local status = tonumber((head or ''):match('^HTTP/%S+ (%d+)')) or 0
  return dkjson.encode({ status_code = status, body = body ~= '' and body or nil, headers = headers })
end

freeswitch = {
  API = function()
    return { execute = function(_, name, text) assert(name == 'curl'); return curl(text) end }
  end,
  JSON = function() return { decode = function(_, text) return (dkjson.decode(text)) end } end,
  consoleLog = function(level, text) io.stderr:write(level, ' ', text) end,
  getGlobalVariable = function(name) return os.getenv('GLOBAL_' .. name) end,
  msleep = function() end,
}
local variables = {}
session = {
  getVariable = function(_, name) return variables[name] or os.getenv('CHANNEL_' .. name) end,
  setVariable = function(_, name, value) variables[name] = value; print('set ' .. name .. '=' .. value) end,
  hangup = function(_, cause) print('hangup ' .. cause) end,
  get_uuid = function() return '5e3a8c1e-77f0-4a55-9d2e-0c1b6a1f0001' end,
}
argv = { table.unpack(arg, 2) }
dofile(arg[1])
