-- The sessions of one machine, request by request: what the stock client sends, one connection, one thread.
-- Arguments: a directory with the parts of the uploads' bodies, the number of machines, the number of projects.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } instant;
  int clock_gettime(int clock, instant *to);
]]
local MONOTONIC = 1
local instant = ffi.new("instant")

local function now()
  ffi.C.clock_gettime(MONOTONIC, instant)
  return tonumber(instant.seconds) + tonumber(instant.nanoseconds) / 1e9
end

local threads = {}

function setup(thread)
  thread:set("machine", #threads)
  table.insert(threads, thread)
end

local function contents(path)
  local file = assert(io.open(path, "rb"))
  local content = file:read("*a")
  file:close()
  return content
end

function init(arguments)
  local directory = arguments[1]
  machines, projects = tonumber(arguments[2]), tonumber(arguments[3])
  head, tail = {}, {}
  names = {"log.jsonl", "summary.json", "remembered.json", "entities.json"}
  for _, name in ipairs(names) do
    head[name] = contents(directory .. "/" .. name .. ".head")
    tail[name] = contents(directory .. "/" .. name .. ".tail")
  end
  host = "Host: " .. wrk.host .. ":" .. wrk.port .. "\r\nConnection: keep-alive\r\n"
  client = "X-Client-Id: machine-" .. string.format("%08x", machine) .. "\r\n"
  step, session, began, took = 0, 0, nil, {}
  salt = tostring(now())
end

local function plain(method, place, more)
  return method .. " " .. place .. " HTTP/1.1\r\n" .. more .. host .. "\r\n"
end

local function upload(place, name)
  local middle = salt .. " " .. machine .. " " .. session
  local length = #head[name] + #middle + #tail[name]
  return table.concat({
    "PUT ", place, "/files/", name, " HTTP/1.1\r\nContent-Type: application/json\r\n", client, host,
    "Transfer-Encoding: chunked\r\n\r\n", string.format("%x\r\n", length),
    head[name], middle, tail[name], "\r\n0\r\n\r\n",
  })
end

function request()
  local at = step
  step = (step + 1) % 14
  if at == 0 then
    local instant = now()
    if began then took[#took + 1] = instant - began end
    began = instant
    session = session + 1
  end
  local place = "/projects/bench-" .. machines .. "-" .. (machine + machines * (session % math.max(1, math.floor(projects / machines))))
  if at == 0 or at == 7 then return plain("GET", "/health", "") end
  if at == 1 then return plain("POST", place .. "/lock", client .. "Content-Length: 0\r\n") end
  if at == 2 or at == 8 then return plain("GET", place .. "/files", "") end
  if at <= 6 then return plain("GET", place .. "/files/" .. names[at - 2], "") end
  if at <= 12 then return upload(place, names[at - 8]) end
  return plain("DELETE", place .. "/lock", client)
end

function done(summary, latency)
  local all = {}
  for _, thread in ipairs(threads) do
    for _, one in ipairs(thread:get("took")) do all[#all + 1] = one end
  end
  table.sort(all)
  local function at(share) return all[math.max(1, math.ceil(#all * share))] or 0 end
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%.6f,"failed":%d,"p50":%.6f,"p99":%.6f,"session_p50":%.6f,"session_p99":%.6f,"sessions":%d}\n',
    summary.requests, summary.duration / 1e6, errors.connect + errors.read + errors.write + errors.status + errors.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6, at(0.5), at(0.99), #all))
end
