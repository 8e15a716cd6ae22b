-- Gangs: a job of several nodes runs once as many workers have a seat in it.
--
-- A worker takes a seat by a claim, and keeps it by the same claim again until the gang is whole. The
-- job stays in its line meanwhile. One gang forms per pool at a time. One that does not become whole
-- in time gives its seats back and rests, so that its workers may help a gang of another pool: two
-- that wait for each other's workers would do so for ever. Its time doubles with each try, and the
-- rests of two jobs differ, so that one of them becomes whole.

local FORM_TICKS, FORM_DOUBLINGS_MAX, REST_TICKS = 60, 10, 15

-- The one that forms in this pool; nil without one.
local function forming_in(pool)
  local id = R('GET', K.forming .. pool)
  return id and load(id)
end

local function sits_in(j, worker_id)
  for _, seat in ipairs(seats_of(j)) do
    if seat.worker_id == worker_id then return true end
  end
end

local function is_resting(j) return tonumber(R('HGET', K.job .. j.id, 'rest_until') or '0') > now_tick() end

local function disband(j)
  R('DEL', K.gang .. j.id, K.seats .. j.id)
  R('ZREM', K.gangs, j.id)
  if R('GET', K.forming .. j.pool) == j.id then R('DEL', K.forming .. j.pool) end
end

local function give_seat_back(j, nonce)
  R('HDEL', K.gang .. j.id, nonce)
  R('ZREM', K.seats .. j.id, nonce)
  if R('EXISTS', K.gang .. j.id) == 0 then disband(j) end
end

local function keep_seat(j, nonce, ttl)
  R('ZADD', K.seats .. j.id, now_tick() + ttl, nonce)
  R('SET', K.nonce .. nonce, j.id, 'EX', DAY_S)
  return { 'SEATED', j.id, R('HLEN', K.gang .. j.id), j.nodes, j.slots }
end

local function take_seat(j, who)
  if not R('ZSCORE', K.gangs, j.id) then
    local tries = math.min(tonumber(R('HGET', K.job .. j.id, 'gang_tries') or '0'), FORM_DOUBLINGS_MAX)
    R('ZADD', K.gangs, now_tick() + FORM_TICKS * 2 ^ tries, j.id)
    R('SET', K.forming .. j.pool, j.id)
  end
  R('HSET', K.gang .. j.id, who.nonce,
    cjson.encode({ worker_id = who.worker_id, endpoint = who.endpoint, order = R('INCR', K.seq) }))
  return keep_seat(j, who.nonce, who.ttl)
end

-- Once a tick: seats whose worker did not ask again are free, and so are all of a gang that took too long.
local function end_forming(j, this)
  for _, nonce in ipairs(R('ZRANGE', K.seats .. j.id, '-inf', this, 'BYSCORE')) do give_seat_back(j, nonce) end
  local over = R('ZSCORE', K.gangs, j.id)
  if not over or tonumber(over) > this then return end
  disband(j)
  local tries = R('HINCRBY', K.job .. j.id, 'gang_tries', 1)
  local part = tonumber(string.sub(redis.sha1hex(j.id .. tries), 1, 4), 16) % 4
  R('HSET', K.job .. j.id, 'rest_until', this + REST_TICKS * (1 + part))
end
