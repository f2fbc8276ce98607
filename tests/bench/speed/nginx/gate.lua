-- Lets in who brings a token that Redis knows, by the SHA-256 of its text: what a gateway made of
-- nginx and Lua does at the least.
local ffi = require "ffi"
local redis = require "nginx.redis"

-- Of OpenSSL and of nginx, which has both linked in.
ffi.cdef [[
unsigned char *SHA256(const unsigned char *text, size_t length, unsigned char *digest);
unsigned char *ngx_hex_dump(unsigned char *hex, const unsigned char *bytes, size_t length);
]]

local digest, hex = ffi.new("unsigned char[32]"), ffi.new("unsigned char[64]")

local gate = {}

function gate.key(token)
  ffi.C.SHA256(token, #token, digest)
  ffi.C.ngx_hex_dump(hex, digest, 32)
  return "token:" .. ffi.string(hex, 64)
end

-- Whether Redis on that port knows the key, over a connection that is kept.
function gate.is_known(key, port)
  local store = redis:new()
  store:set_timeout(1000)
  assert(store:connect("127.0.0.1", port))
  local found = assert(store:get(key))
  store:set_keepalive(60000, 256)
  return found ~= ngx.null
end

-- The same, asked once in a second at the most.
function gate.is_known_of_late(key, port)
  local answers = ngx.shared.answers
  local answer = answers:get(key)
  if answer == nil then
    answer = gate.is_known(key, port)
    answers:set(key, answer, 1)
  end
  return answer
end

function gate.refuse_unless(is_known, port)
  local token = ngx.var.http_x_access_token
  if not token or not is_known(gate.key(token), port) then
    return ngx.exit(ngx.HTTP_UNAUTHORIZED)
  end
end

return gate
