-- What wrk looks at and what it tells at its end, behind a script that says what it sends, and a
-- line that sets `expected`: the status of every answer.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

-- wrk itself counts what is 400 or above; to look at each answer here costs it much.
local counts_by_itself = expected < 400

if not counts_by_itself then
  wrong = 0
  function response(status)
    if status ~= expected then wrong = wrong + 1 end
  end
end

function done(summary)
  local errors = summary.errors
  local faults = errors.connect + errors.read + errors.write + errors.timeout
  if counts_by_itself then
    faults = faults + errors.status
  else
    for _, thread in ipairs(threads) do faults = faults + thread:get("wrong") end
  end
  io.write(string.format("told %d %d %d\n", summary.requests, summary.duration, faults))
end
