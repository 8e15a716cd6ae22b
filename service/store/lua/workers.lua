-- Workers: seen by ticks, never by clocks.

-- A worker that started anew under its old name is not drained any more.
local function beat(_, args)
  local a = named(args)
  if R('HGET', K.worker .. a.id, 'started_at_s') ~= a.started_at_s then R('DEL', K.worker .. a.id) end
  R('HSET', K.worker .. a.id, unpack(args))
  R('ZADD', K.workers, now_tick(), a.id)
  local drain = R('HMGET', K.worker .. a.id, 'drain', 'undrains')
  return { 'OK', drain[1] or '0', drain[2] or '0' }
end

local function worker_drain(_, args)
  if R('EXISTS', K.worker .. args[1]) == 0 then return { 'NOTFOUND' } end
  R('HSET', K.worker .. args[1], 'drain', args[2])
  if args[2] == '0' then
    R('HINCRBY', K.worker .. args[1], 'undrains', 1)
    for _, pool in ipairs(cjson.decode(R('HGET', K.worker .. args[1], 'pools') or '[]')) do
      R('LPUSH', K.wake .. pool, '1')
      R('LTRIM', K.wake .. pool, 0, HINTS_MAX - 1)
    end
  end
  return { 'OK' }
end

local function worker_leave(_, args)
  R('DEL', K.worker .. args[1])
  R('ZREM', K.workers, args[1])
  return { 'OK' }
end

local function worker_list()
  local found = {}
  for _, id in ipairs(R('ZRANGE', K.workers, 0, -1)) do
    found[#found + 1] = { R('HGETALL', K.worker .. id), now_tick() - tonumber(R('ZSCORE', K.workers, id)) }
  end
  return { 'OK', found }
end
