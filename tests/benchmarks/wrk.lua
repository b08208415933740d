-- Asks for the paths of a file in turn, with POST where another file has a body, and tells the outcome as one line of
-- JSON. With a pause, in milliseconds, each request waits for as long on average.
local requests, at = {}, 0

function init(args)
  local body = io.open(args[2]):read("*a")
  local method = body == "" and "GET" or "POST"
  for path in io.lines(args[1]) do requests[#requests + 1] = wrk.format(method, path, nil, body ~= "" and body or nil) end
  local pause = tonumber(args[3])
  -- As wrk looks for it once, before the first request, nobody pays for one that is not wanted.
  if pause > 0 then delay = function() return math.random(0, math.floor(2 * pause)) end end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "bytes": %d, "failed": %d, "p50": %f, "p99": %f}\n',
    summary.requests, summary.duration, summary.bytes,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
