-- Every change of a job, a dataset or a worker: one function each, so that it happens whole
-- or not at all. The loader puts the header and the table of keys, `K`, in front of this file.
--
-- Rules: no function reads a clock (times are arguments, and for display only; leases count
-- ticks). Whatever a worker says about its job passes `held` first. Each function may be sent
-- twice, because a client whose reply was lost sends it again.
-- The first value of a reply is a verdict: OK, EMPTY, FENCED, NOTFOUND, WRONGSTATE, CONFLICT, TAKEN.

local function R(...) return redis.call(...) end
local EVENTS_MAX, HINTS_MAX, CHECKPOINTS_MAX = '10000', '64', 200
local DAY_S, HOUR_S = '86400', '3600'
local FORGET_WORKERS_AFTER_TICKS = 86400
local ENDS = { succeeded = true, failed = true, cancelled = true }
local FIELDS = { 'kind', 'status', 'pool', 'attempt', 'token', 'desired', 'worker_id', 'dataset_id',
  'max_failures', 'checkpoint', 'checkpoint_step', 'ended_token', 'ended_verb', 'ended_status',
  'appended', 'idem_key', 'slots', 'nodes' }
local CANCELLED = { code = 'cancelled', message = 'Cancelled on request.', hint = 'Resume it to go on.' }
local PAUSED = { code = 'paused', message = 'Paused on request.', hint = 'Resume it to go on.' }

-- Arguments name, value, name, value ... as a table.
local function named(args)
  local a = {}
  for i = 1, #args, 2 do a[args[i]] = args[i + 1] end
  return a
end

local function now_tick() return tonumber(R('GET', K.tick) or '0') end

local function load(id)
  local values, j = R('HMGET', K.job .. id, unpack(FIELDS)), { id = id }
  if not values[2] then return nil end
  for i, field in ipairs(FIELDS) do j[field] = values[i] or '' end
  j.slots, j.nodes = tonumber(j.slots) or 1, tonumber(j.nodes) or 1  -- older records tell neither
  return j
end

-- The guard: is this token the one that may write about the job now?
local function held(j, token)
  return j and (j.status == 'running' or j.status == 'stopping') and j.token == token
end

-- Whether this very call ended the lease before, so that its reply was lost.
local function repeated(j, token, verb)
  return j and token ~= '' and j.ended_token == token and j.ended_verb == verb
end

local function count(j, name, by)
  R('HINCRBY', K.counters, (j.kind == 'train' and '' or j.kind .. ':') .. name, by or 1)
end

local function touch(id) R('HINCRBY', K.job .. id, 'version', 1) end

local function emit(id, json) R('XADD', K.ev .. id, 'MAXLEN', '~', EVENTS_MAX, '*', 'e', json) end

-- A dataset follows the job that ingests it, unless another ingest took its place.
local function owns_dataset(j)
  return j.kind == 'ingest' and j.dataset_id ~= '' and R('HGET', K.ds .. j.dataset_id, 'job_id') == j.id
end

local function dataset_follows(j, to, why)
  if to == 'succeeded' or not owns_dataset(j) then return end
  if ENDS[to] then
    R('HSET', K.ds .. j.dataset_id, 'status', 'failed', 'code', why.code, 'message', why.message, 'hint', why.hint)
  else
    R('HSET', K.ds .. j.dataset_id, 'status', 'preparing', 'code', '', 'message', '', 'hint', '')
  end
end

-- The one place where a status changes: index, record, event, counter, dataset.
local function move(j, to, now, reason)
  local why = { code = '', message = '', hint = '' }
  for k, v in pairs(reason or {}) do why[k] = v end
  R('ZREM', K.jobs .. j.kind .. ':' .. j.status, j.id)
  R('ZADD', K.jobs .. j.kind .. ':' .. to, 0, j.id)
  R('HSET', K.job .. j.id, 'status', to, 'code', why.code, 'message', why.message, 'hint', why.hint)
  if ENDS[to] then
    R('HSET', K.job .. j.id, 'finished_at_s', now)
    count(j, 'finished:' .. to)
  end
  j.status = to
  touch(j.id)
  emit(j.id, cjson.encode({ type = 'status', status = to, attempt = tonumber(j.attempt), code = why.code,
    message = why.message, hint = why.hint, worker_id = j.worker_id ~= '' and j.worker_id or cjson.null }))
  dataset_follows(j, to, why)
end

-- A pool has one line for each shape of its jobs: slots per node x nodes. They share one order, so
-- that the first job of some shapes is found without a look at the jobs of the others.
local function line_of(pool, shape) return K.ready .. pool .. (shape == '1x1' and '' or '/' .. shape) end

local function shape_of(j) return string.format('%dx%d', j.slots, j.nodes) end

local function shapes_of(pool)
  local shapes = R('SMEMBERS', K.shapes .. pool)
  shapes[#shapes + 1] = '1x1'
  return shapes
end

-- The first job of the pool among those shapes that `fits` allows, and its order; nil without one.
local function head_of(pool, fits)
  local id, order
  for _, shape in ipairs(shapes_of(pool)) do
    local slots, nodes = string.match(shape, '^(%d+)x(%d+)$')
    local head = fits(tonumber(slots), tonumber(nodes)) and R('ZRANGE', line_of(pool, shape), 0, 0, 'WITHSCORES') or {}
    if head[1] and (not order or tonumber(head[2]) < order) then id, order = head[1], tonumber(head[2]) end
  end
  return id, order
end

local function any_shape() return true end

local function leave_line(j)
  local shape = shape_of(j)
  R('ZREM', line_of(j.pool, shape), j.id)
  if shape ~= '1x1' and R('EXISTS', line_of(j.pool, shape)) == 0 then R('SREM', K.shapes .. j.pool, shape) end
end

-- From 1; 0 unless it waits.
local function position_of(j)
  local order = R('ZSCORE', line_of(j.pool, shape_of(j)), j.id)
  if not order then return 0 end
  local before = 0
  for _, shape in ipairs(shapes_of(j.pool)) do
    before = before + R('ZCOUNT', line_of(j.pool, shape), '-inf', '(' .. order)
  end
  return before + 1
end

local function enqueue(j, now, front)
  local order
  if front then
    local _, first = head_of(j.pool, any_shape)
    order = first and first - 1 or 0
  else
    order = R('INCR', K.seq)
  end
  local shape = shape_of(j)
  R('ZADD', line_of(j.pool, shape), order, j.id)
  if shape ~= '1x1' then R('SADD', K.shapes .. j.pool, shape) end
  R('HSET', K.job .. j.id, 'queued_at_s', now)
  R('LPUSH', K.wake .. j.pool, '1')
  R('LTRIM', K.wake .. j.pool, 0, HINTS_MAX - 1)
end

-- Counts the slots that jobs of a pool hold on a worker. One that held them before this was counted
-- takes nothing off when it ends.
local function hold(worker_id, pool, slots)
  if R('HINCRBY', K.held .. worker_id, pool, slots) <= 0 then R('HDEL', K.held .. worker_id, pool) end
end

-- The seats of a gang, in the order in which they were taken: that of node rank 0 first.
local function seats_of(j)
  local seats, rows = {}, R('HGETALL', K.gang .. j.id)
  for i = 1, #rows, 2 do
    seats[#seats + 1] = cjson.decode(rows[i + 1])
    seats[#seats].nonce = rows[i]
  end
  table.sort(seats, function(a, b) return a.order < b.order end)
  return seats
end

local function end_holds(j)
  if j.nodes == 1 then return hold(j.worker_id, j.pool, -j.slots) end
  for _, seat in ipairs(seats_of(j)) do hold(seat.worker_id, j.pool, -j.slots) end
  R('DEL', K.gang .. j.id, K.seats .. j.id)
end

-- Ends the lease in the records. `verb` is '' when it was taken away.
local function end_lease(j, verb, outcome, now, why)
  local row = R('HGET', K.attempts .. j.id, j.attempt)
  if row then
    row = cjson.decode(row)
    row.ended_at_s, row.outcome, row.code, row.message = now, outcome, why.code or '', why.message or ''
    R('HSET', K.attempts .. j.id, j.attempt, cjson.encode(row))
  end
  R('ZREM', K.leases, j.id)
  end_holds(j)
  R('HSET', K.job .. j.id, 'token', '', 'desired', '', 'worker_id', '',
    'ended_token', verb == '' and '' or j.token, 'ended_verb', verb)
  j.worker_id = ''
end

-- Where an attempt that neither succeeded nor failed for good leaves its job.
local function rest(j, now, why)
  if j.desired == 'cancel' then return move(j, 'cancelled', now, CANCELLED) end
  if j.desired == 'pause' then return move(j, 'paused', now, PAUSED) end
  move(j, 'queued', now, why)
  enqueue(j, now, true)
  count(j, 'retries:' .. why.code)
end

-- An attempt that was lost through our fault: never spends the user's retries, but is bounded.
local function lose(j, now, why, losses_max)
  R('HINCRBY', K.job .. j.id, 'losses', 1)
  local idle = R('HINCRBY', K.job .. j.id, 'idle_losses', 1)
  if j.desired == '' and idle >= tonumber(losses_max) then
    return move(j, 'failed', now, { code = why.code, hint = 'See the logs of the workers, then resume the job.',
      message = idle .. ' attempts in a row ended before a new checkpoint. ' .. why.message })
  end
  rest(j, now, why)
end

-- Removes the record of a job, and whatever answers with it.
local function forget_job(j)
  R('DEL', K.job .. j.id, K.ev .. j.id, K.ckpts .. j.id, K.attempts .. j.id)
  R('ZREM', K.jobs .. j.kind .. ':all', j.id)
  R('ZREM', K.jobs .. j.kind .. ':' .. j.status, j.id)
  if j.idem_key ~= '' and R('HGET', K.idem .. j.idem_key, 'id') == j.id then R('DEL', K.idem .. j.idem_key) end
end

-- The datasets that a job reads, as a set: the one it trains on or prepares, and those of its inputs.
local function datasets_in(dataset_id, inputs)
  local found = {}
  if dataset_id and dataset_id ~= '' then found[dataset_id] = true end
  for _, path in pairs(cjson.decode(inputs or '{}')) do
    local dataset = string.match(path, '^datasets/([^/]+)/')
    if dataset then found[dataset] = true end
  end
  return found
end

local function first_missing(dataset_id, inputs)
  for dataset in pairs(datasets_in(dataset_id, inputs)) do
    if R('EXISTS', K.ds .. dataset) == 0 then return dataset end
  end
end

local function view(id)
  local record = R('HGETALL', K.job .. id)
  if #record == 0 then return { 'NOTFOUND' } end
  local j = load(id)
  if j.nodes > 1 and j.status == 'queued' then
    record[#record + 1] = 'seats'
    record[#record + 1] = tostring(R('HLEN', K.gang .. id))
  end
  return { 'OK', record, position_of(j) }
end

local function page(index, after, limit, record)
  local from = after == '' and '+' or '(' .. after
  local found = {}
  for _, id in ipairs(R('ZRANGE', index, from, '-', 'BYLEX', 'REV', 'LIMIT', 0, limit)) do
    found[#found + 1] = record(id)
  end
  return { 'OK', found }
end
