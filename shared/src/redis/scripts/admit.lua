-- Decides what a credential may do now, in this order: generation, state, time left by Redis' own
-- clock, networks, scope, device. Three modes, one decision: `look` changes nothing; `take` admits
-- a request, takes or refreshes the lease and, while the token is ready, notes the claim; `renew`
-- is for requests that are open: it refreshes their lease, and takes it back after a flush.
--
-- While the snapshot is not whole nothing that stands here is worth an answer; only what lives in
-- Redis alone, the lease, is renewed.
--
-- A lease reads `session|started_at|pending|device`: how many admissions are not known to have
-- reached the upstream yet, or `u` once one has.
--
-- KEYS: token, lease, snapshot. ARGV: credential_gen, mode, scopes that open the path (`,full,` or
-- `*`), device (empty with `look`), session id (proposed, or the one that is renewed), lease_ms,
-- claim's nonce (or empty), claim_ms, started_at of a renewed session, faults a minute, or 0 for no
-- limit, the cut generation that the renewed session was admitted with, 1 if a request of that
-- session is known to have reached the upstream, with `take` the networks that the client's address
-- was judged by: where the token has others they are told instead, and nothing is taken, so that
-- a client that they block does not hold it, and the build that what led here was read of (or
-- empty): of another one nothing is told. Replies as replies::Lookup::parse reads.
local mode, device, session = ARGV[2], ARGV[4], ARGV[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local token = redis.call('HMGET', KEYS[1], 'state', 'credential_gen', 'user_id', 'scope', 'duration_ms', 'activated_at', 'expires_at',
  'cut_gen', 'cut_code', 'cut_device', 'released', 'faults', 'faults_since', 'networks')
local lease = mode ~= 'look' and redis.call('GET', KEYS[2]) or ''
local holds, started, pending, holder = string.match(lease, '^([^|]*)|([^|]*)|([^|]*)|(.*)$')

-- A session that was cut, or that let the token go, does not take it back.
local missed_cuts = tonumber(token[8] or '0') - (tonumber(ARGV[11]) or 0)
local is_cut = token[11] == session
  or missed_cuts > 1 or (missed_cuts == 1 and (token[10] == '' or token[10] == device))
local function renew()
  if is_cut or (holds and holds ~= session) then return end
  local reached = ARGV[12] == '1' and 'u' or pending or '1'
  redis.call('SET', KEYS[2], session .. '|' .. (started or ARGV[9]) .. '|' .. reached .. '|' .. device, 'PX', ARGV[6])
end

local snapshot = redis.call('HMGET', KEYS[3], 'run_id', 'build')
local is_whole = snapshot[1] == string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if not is_whole or (ARGV[14] or '') ~= '' and ARGV[14] ~= snapshot[2] then
  if mode == 'renew' then renew() end
  return {'partial'}
end
if not token[1] then return {'unknown'} end
if token[2] ~= ARGV[1] then return {'revoked'} end
if token[1] == 'suspended' then return {'suspended'} end
if token[1] ~= 'live' then return {'revoked'} end
local left = tonumber(token[5])
if token[7] then
  left = tonumber(token[7]) - now
  if left <= 0 then return {'expired'} end
end
local networks = token[14] or ''
if mode == 'take' and networks ~= (ARGV[13] or '') then return {'guarded', networks} end
if ARGV[3] ~= '*' and not string.find(ARGV[3], ',' .. token[4] .. ',', 1, true) then return {'outside', token[4]} end

local at, tentative = '', '0'
if mode == 'renew' then
  if holds and holds ~= session then return {'conflict', holder, started} end
  renew()
  at = started or ARGV[9]
elseif mode == 'take' then
  if holder and holder ~= device then return {'conflict', holder, started} end
  local limit = tonumber(ARGV[10])
  if not token[6] and limit > 0 and tonumber(token[12] or '0') >= limit then
    local since = tonumber(token[13])
    if now - since < 60000 then return {'throttled', string.format('%.0f', since + 60000 - now)} end
  end
  if holder then session = holds else started, pending = string.format('%.0f', now), '0' end
  if pending ~= 'u' then
    pending, tentative = string.format('%.0f', tonumber(pending) + 1), '1'
  end
  at = started
  redis.call('SET', KEYS[2], session .. '|' .. started .. '|' .. pending .. '|' .. device, 'PX', ARGV[6])
end
if not token[6] and ARGV[7] ~= '' then
  redis.call('HSET', KEYS[1], 'claim:' .. ARGV[7], string.format('%.0f', now + tonumber(ARGV[8])))
end
return {'live', token[3], token[4], token[5], token[6] or '', string.format('%.0f', left), networks,
  token[8] or '0', token[9] or '', token[10] or '', token[11] or '', mode ~= 'look' and session or '', at, tentative}
