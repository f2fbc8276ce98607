-- What wrk sends and what it tells at its end, after a head that sets `asked`: header, value or salt and count, upload_bytes, status.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init()
  wrong, turn = 0, 0
  if asked.upload_bytes > 0 then
    wrk.method, wrk.body = "POST", string.rep("x", asked.upload_bytes)
  end
  if asked.salt then
    function request()
      turn = turn % asked.count + 1
      wrk.headers[asked.header] = string.format("%s%032d", asked.salt, turn)
      return wrk.format()
    end
  else
    wrk.headers[asked.header] = asked.value
    local always = wrk.format()
    function request() return always end
  end
end

-- wrk itself counts what is 400 or above; to look at each answer here costs it much.
if asked.status >= 400 then
  function response(status)
    if status ~= asked.status then wrong = wrong + 1 end
  end
end

function done(summary)
  local errors = summary.errors
  local faults = errors.connect + errors.read + errors.write + errors.timeout
  if asked.status >= 400 then
    for _, thread in ipairs(threads) do faults = faults + thread:get("wrong") end
  else
    faults = faults + errors.status
  end
  io.write(string.format("told %d %d %d\n", summary.requests, summary.duration, faults))
end
