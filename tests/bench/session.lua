-- The machines of a load, for wrk: a thread and a connection each, which sends the requests over and over, in order.
-- Arguments: a directory with a file for each request ("1", "2", ...), their number, the projects of each machine, and
-- the three marks in them, for which come a project, a machine, and what the session has changed.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } instant;
  int clock_gettime(int clock, instant *to);
]]
local REALTIME, MONOTONIC = 0, ffi.os == "OSX" and 6 or 1
local instant = ffi.new("instant")

local function read(clock)
  ffi.C.clock_gettime(clock, instant)
  return tonumber(instant.seconds), tonumber(instant.nanoseconds)
end

local function now()
  local seconds, nanoseconds = read(MONOTONIC)
  return seconds + nanoseconds / 1e9
end

local threads = {}

function setup(thread)
  thread:set("machine", #threads)
  table.insert(threads, thread)
end

-- Lists what lies between the marks, and in `places` where which mark stands.
local function cut(text, marks)
  local pieces, places, at = {}, {}, 1
  while true do
    local first, last, which
    for name, mark in pairs(marks) do
      local from, to = text:find(mark, at, true)
      if from and (not first or from < first) then first, last, which = from, to, name end
    end
    if not first then break end
    pieces[#pieces + 1] = text:sub(at, first - 1)
    pieces[#pieces + 1] = text:sub(first, last)
    places[#pieces] = which
    at = last + 1
  end
  pieces[#pieces + 1] = text:sub(at)
  return { pieces = pieces, places = places }
end

function init(arguments)
  local directory, count = arguments[1], tonumber(arguments[2])
  projects = tonumber(arguments[3])
  local marks = { project = arguments[4], client = arguments[5], change = arguments[6] }
  requests = {}
  for number = 1, count do
    local file = assert(io.open(directory .. "/" .. number, "rb"))
    requests[number] = cut(file:read("*a"), marks)
    file:close()
  end
  values = { client = string.format("machine-%08x", machine) }
  step, session, asked, over = 0, 0, {}, {}
end

local function begin_session(at)
  if session > 0 then over[#over + 1] = at - session_began end
  session_began = at
  values.project = string.format("bench-%07d", machine * projects + session % projects)
  local seconds, nanoseconds = read(REALTIME)
  values.change = string.format("%010d%06d%04d", seconds, math.floor(nanoseconds / 1000), machine)
  session = session + 1
end

local looked_at = false

-- wrk asks for the next request as soon as the last one is answered, so that the time between is what it took.
function request()
  local at = now()
  if machine == 0 and not looked_at then
    -- Before the first thread starts, wrk asks once to look at a request, which is not sent.
    looked_at = true
    return "GET /health HTTP/1.1\r\n\r\n"
  end
  if last then asked[#asked + 1] = at - last else began = at end
  last = at
  if step == 0 then begin_session(at) end
  local wanted = requests[step + 1]
  step = (step + 1) % #requests
  for place, name in pairs(wanted.places) do wanted.pieces[place] = values[name] end
  return table.concat(wanted.pieces)
end

local function list(numbers)
  local texts = {}
  for index, number in ipairs(numbers) do texts[index] = string.format("%.7f", number) end
  return "[" .. table.concat(texts, ",") .. "]"
end

function done(summary)
  local laps = {}
  for index, thread in ipairs(threads) do
    laps[index] = string.format(
      '{"began":%.7f,"ended":%.7f,"failed":0,"requests":%s,"sessions":%s}',
      thread:get("began") or 0, thread:get("last") or 0, list(thread:get("asked")), list(thread:get("over")))
  end
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('{"laps":[%s],"failed":%d,"bytes":%d}\n', table.concat(laps, ","), failed, summary.bytes))
end
