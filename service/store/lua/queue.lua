-- What workers and reapers say.

local function lease_of(j)
  local rest_of = R('HMGET', K.job .. j.id, 'attempt', 'token', 'resolved_json', 'inputs', 'folder')
  return { 'OK', j.id, j.kind, j.pool, rest_of[1], rest_of[2], rest_of[3], rest_of[4], rest_of[5],
    j.dataset_id, R('ZREVRANGE', K.ckpts .. j.id, 0, -1), j.slots }
end

local function take(j, worker_id, nonce, ttl, now)
  leave_line(j)
  hold(worker_id, j.pool, j.slots)
  j.attempt, j.worker_id = R('HINCRBY', K.job .. j.id, 'attempt', 1), worker_id
  R('HSET', K.job .. j.id, 'token', j.attempt .. ':' .. nonce, 'desired', '', 'worker_id', worker_id, 'appended', 0)
  R('HSETNX', K.job .. j.id, 'started_at_s', now)
  R('HSET', K.attempts .. j.id, j.attempt, cjson.encode({ worker_id = worker_id, started_at_s = now }))
  R('ZADD', K.leases, now_tick() + ttl, j.id)
  R('SET', K.nonce .. nonce, j.id, 'EX', DAY_S)
  move(j, 'running', now)
  return lease_of(j)
end

-- Pools are looked at in order. The first job of a pool that could ever run on this worker is given
-- to it, or reserves its free slots: nothing behind it in that pool starts on this worker. Jobs of a
-- later pool may, as long as jobs of this pool or an earlier one are in its way. Where only those of
-- later pools are, they are let run out: so whatever fits a worker starts within finite time.
local function claim(_, args)
  local worker_id, nonce, ttl, now = args[1], args[2], tonumber(args[3]), args[4]
  local free, total, busy = tonumber(args[5]), tonumber(args[6]), 0
  local before = R('GET', K.nonce .. nonce)
  if before then
    local j = load(before)
    return j and held(j, j.attempt .. ':' .. nonce) and lease_of(j) or { 'EMPTY' }
  end
  if R('HGET', K.worker .. worker_id, 'drain') == '1' then return { 'EMPTY' } end
  local function fits(slots, nodes) return slots <= total and nodes == 1 end
  for i = 7, #args do
    local pool = args[i]
    busy = busy + tonumber(R('HGET', K.held .. worker_id, pool) or '0')
    local j = load(head_of(pool, fits) or '')
    if j and j.slots <= free then return take(j, worker_id, nonce, ttl, now) end
    if j and j.slots <= total - busy then return { 'EMPTY' } end
    if not head_of(pool, any_shape) then R('DEL', K.wake .. pool) end
  end
  return { 'EMPTY' }
end

local function renew(_, args)
  local id, token, ttl = args[1], args[2], tonumber(args[3])
  local j = load(id)
  if not held(j, token) then return { 'FENCED' } end
  R('ZADD', K.leases, now_tick() + ttl, id)
  return { 'OK', j.desired }
end

-- `first` is the place of the first event among all of this attempt: what is known is skipped.
local function append(_, args)
  local id, token, first, progress = args[1], args[2], tonumber(args[3]), args[4]
  local j = load(id)
  if not held(j, token) then return { 'FENCED' } end
  local known, total = tonumber(j.appended), first + #args - 4
  for place = math.max(known, first), total - 1 do emit(id, args[5 + place - first]) end
  if progress ~= '' then R('HSET', K.job .. id, 'progress', progress) end
  R('HSET', K.job .. id, 'appended', math.max(known, total))
  touch(id)
  return { 'OK', j.desired }
end

-- The pointer never goes back. A step that is saved again replaces its older record.
local function checkpoint(_, args)
  local id, token, step, path, json = args[1], args[2], tonumber(args[3]), args[4], args[5]
  local j = load(id)
  if not held(j, token) then return { 'FENCED' } end
  for _, old in ipairs(R('ZRANGE', K.ckpts .. id, step, step, 'BYSCORE')) do
    if cjson.decode(old).path == path then return { 'OK' } end
    R('ZREM', K.ckpts .. id, old)
  end
  R('ZADD', K.ckpts .. id, step, json)
  R('ZREMRANGEBYRANK', K.ckpts .. id, 0, -CHECKPOINTS_MAX - 1)
  if j.checkpoint == '' or step > tonumber(j.checkpoint_step) then R('HSET', K.job .. id, 'idle_losses', 0) end
  if j.checkpoint == '' or step >= tonumber(j.checkpoint_step) then
    R('HSET', K.job .. id, 'checkpoint', path, 'checkpoint_step', step)
  end
  touch(id)
  return { 'OK' }
end

local function complete(_, args)
  local id, token, now, files, folder, facts = args[1], args[2], args[3], args[4], args[5], args[6]
  local j = load(id)
  if repeated(j, token, 'complete') then return { 'OK' } end
  if not held(j, token) then return { 'FENCED' } end
  end_lease(j, 'complete', 'succeeded', now, {})
  R('HSET', K.job .. id, 'ended_status', 'succeeded', 'artifacts', files, 'artifacts_folder', folder)
  move(j, 'succeeded', now)
  if owns_dataset(j) then
    R('HSET', K.ds .. j.dataset_id, 'status', 'ready', 'code', '', 'message', '', 'hint', '',
      'pack', folder, 'facts', facts)
    local name = R('HMGET', K.ds .. j.dataset_id, 'name', 'replace')
    if name[2] == '1' then
      R('HSET', K.dsnames, name[1], j.dataset_id)
      R('HSET', K.ds .. j.dataset_id, 'named_at_s', now)
    end
    local known = facts ~= '' and cjson.decode(facts) or {}
    R('HINCRBY', K.counters, 'dataset_images:ok', known.rows or 0)
    R('HINCRBY', K.counters, 'dataset_images:corrupt', known.bad_files or 0)
    R('HINCRBY', K.counters, 'dataset_images:skipped', known.duplicates or 0)
    local content_bytes = tonumber(R('HGET', K.ds .. j.dataset_id, 'size_bytes') or '')
    R('HINCRBY', K.counters, 'dataset_bytes', content_bytes or known.size_bytes or 0)
  end
  return { 'OK' }
end

local function fail(_, args)
  local id, token, now, retry = args[1], args[2], args[3], args[7] == '1'
  local why = { code = args[4], message = args[5], hint = args[6] }
  local j = load(id)
  if repeated(j, token, 'fail') then return { 'OK', j.ended_status } end
  if not held(j, token) then return { 'FENCED' } end
  end_lease(j, 'fail', 'failed', now, why)
  local failures = R('HINCRBY', K.job .. id, 'failures', 1)
  if j.desired == 'cancel' or (retry and failures <= tonumber(j.max_failures)) then
    rest(j, now, why)
  else
    move(j, 'failed', now, why)
  end
  R('HSET', K.job .. id, 'ended_status', j.status)
  return { 'OK', j.status }
end

-- A preempted attempt costs nothing; any other code is a loss of ours.
local function release(_, args)
  local id, token, now, losses_max = args[1], args[2], args[3], args[6]
  local why = { code = args[4], message = args[5] }
  local j = load(id)
  if repeated(j, token, 'release') then return { 'OK', j.ended_status } end
  if not held(j, token) then return { 'FENCED' } end
  local asked = j.desired == 'cancel' and CANCELLED or j.desired == 'pause' and PAUSED or nil
  end_lease(j, 'release', 'released', now, asked or why)
  if asked or why.code == 'preempted' then rest(j, now, why) else lose(j, now, why, losses_max) end
  R('HSET', K.job .. id, 'ended_status', j.status)
  return { 'OK', j.status }
end

-- Compare and set: from k to k + 1 only for someone who saw k a tick ago.
local function tick(_, args)
  local seen, now, losses_max = tonumber(args[1]), args[2], args[3]
  if now_tick() ~= seen then return { 'OK', now_tick() } end
  local this = R('INCR', K.tick)
  for _, id in ipairs(R('ZRANGE', K.leases, '-inf', this, 'BYSCORE')) do
    local j, why = load(id), { code = 'worker_lost', message = 'The worker stopped answering.' }
    end_lease(j, '', 'lost', now, why)
    lose(j, now, why, losses_max)
  end
  for _, id in ipairs(R('ZRANGE', K.workers, '-inf', this - FORGET_WORKERS_AFTER_TICKS, 'BYSCORE')) do
    R('DEL', K.worker .. id)
    R('ZREM', K.workers, id)
  end
  return { 'OK', this }
end
