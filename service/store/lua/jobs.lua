-- What the API asks of jobs.

local function record(a)
  R('HSET', K.job .. a.id, 'id', a.id, 'kind', a.kind, 'pool', a.pool, 'name', a.name, 'status', 'queued',
    'spec_json', a.spec_json, 'resolved_json', a.resolved_json, 'reasons_json', a.reasons_json,
    'inputs', a.inputs, 'folder', a.folder, 'dataset_id', a.dataset_id, 'max_failures', a.max_failures,
    'created_at_s', a.now, 'attempt', 0, 'failures', 0, 'losses', 0, 'idle_losses', 0,
    'checkpoint_step', 0, 'version', 0, 'idem_key', a.idem_key, 'slots', a.slots or 1, 'nodes', a.nodes or 1)
  local j = load(a.id)
  R('ZADD', K.jobs .. j.kind .. ':all', 0, j.id)
  R('SADD', K.pools, j.pool)
  count(j, 'submitted')
  return j
end

local function remember(a, seconds)
  R('HSET', K.idem .. a.idem_key, 'fingerprint', a.fingerprint, 'id', a.id)
  R('EXPIRE', K.idem .. a.idem_key, seconds)
end

-- The verdict of `submit`, with the job as it stands: one call less for whoever shows it.
local function made(id, replayed)
  local seen = view(id)
  return { 'OK', id, replayed, seen[2], seen[3] }
end

local function submit_one(a)
  if a.idem_key ~= '' then
    local known = R('HMGET', K.idem .. a.idem_key, 'fingerprint', 'id')
    if known[1] and known[1] ~= a.fingerprint then return { 'CONFLICT' } end
    if known[1] then return made(known[2], known[2] == a.id and 0 or 1) end
  end
  if R('EXISTS', K.job .. a.id) == 1 then return made(a.id, 0) end
  if a.kind == 'ingest' and a.dataset_id ~= '' then
    local status = R('HGET', K.ds .. a.dataset_id, 'status')
    if not status then return { 'NOTFOUND' } end
    if status ~= 'received' and status ~= 'failed' then return { 'WRONGSTATE', status } end
    R('HSET', K.ds .. a.dataset_id, 'job_id', a.id)
  elseif a.kind == 'train' and a.dataset_id ~= '' then
    -- A dataset may have been deleted since the job was planned.
    local gone = first_missing(a.dataset_id, a.inputs)
    if gone then return { 'NOTFOUND', gone } end
  end
  local j = record(a)
  if a.idem_key ~= '' then remember(a, DAY_S) end
  move(j, 'queued', a.now)
  enqueue(j, a.now, false)
  return made(a.id, 0)
end

-- Many in one call, since the server syncs its log once for each call: what a client sends in
-- many, it does in pieces of 16 KiB. The first argument is how many belong to one job.
local function submit(_, args)
  local size, verdicts = tonumber(args[1]), {}
  for first = 2, #args, size do
    verdicts[#verdicts + 1] = submit_one(named({ unpack(args, first, first + size - 1) }))
  end
  return { 'OK', verdicts }
end

local STEPS = {
  cancel = { queued = 'cancelled', paused = 'cancelled', running = 'stopping', stopping = 'stopping', cancelled = 'same' },
  pause = { queued = 'paused', running = 'stopping', stopping = 'stopping', paused = 'same' },
  resume = { paused = 'queued', cancelled = 'queued', failed = 'queued' },
}

local function control(_, args)
  local id, verb, op, now = args[1], args[2], args[3], args[4]
  local j = load(id)
  if not j then return { 'NOTFOUND' } end
  local to = STEPS[verb][j.status]
  if R('EXISTS', K.op .. op) == 1 or to == 'same' or (to == 'stopping' and j.desired == verb) then return view(id) end
  if not to or (verb == 'pause' and j.desired == 'cancel') then return { 'WRONGSTATE', j.status, j.desired } end
  if verb == 'resume' then
    if j.kind == 'ingest' and not owns_dataset(j) then return { 'WRONGSTATE', j.status, 'replaced' } end
    -- Of a paused job the datasets are there: they cannot be deleted.
    if ENDS[j.status] and j.kind == 'train' and j.dataset_id ~= '' and first_missing(j.dataset_id, R('HGET', K.job .. id, 'inputs')) then
      return { 'WRONGSTATE', j.status, 'dataset' }
    end
    R('HSET', K.job .. id, 'failures', 0, 'idle_losses', 0)
    R('HDEL', K.job .. id, 'finished_at_s')
    move(j, 'queued', now)
    enqueue(j, now, false)
  elseif to == 'stopping' then
    R('HSET', K.job .. id, 'desired', verb)
    move(j, to, now, { code = verb .. '_requested', message = 'Asked to ' .. verb .. '; saving a checkpoint first.' })
  else
    leave_line(j)
    disband(j)
    move(j, to, now, to == 'paused' and PAUSED or CANCELLED)
  end
  R('SET', K.op .. op, '1', 'EX', HOUR_S)
  return view(id)
end

local function delete(_, args)
  local id, op = args[1], args[2]
  if R('EXISTS', K.op .. op) == 1 then return { 'OK' } end
  local j = load(id)
  if not j then return { 'NOTFOUND' } end
  if not ENDS[j.status] then return { 'WRONGSTATE', j.status } end
  forget_job(j)
  R('SET', K.op .. op, '1', 'EX', HOUR_S)
  return { 'OK' }
end

local function job_get(_, args) return view(args[1]) end

-- How many jobs of each shape wait in a pool, and since when the first of them does.
local function queue_depth(_, args)
  local pool, found = args[1], {}
  for _, shape in ipairs(shapes_of(pool)) do
    local line = line_of(pool, shape)
    local head = R('ZRANGE', line, 0, 0)[1]
    if head then found[#found + 1] = { shape, R('ZCARD', line), R('HGET', K.job .. head, 'queued_at_s') } end
  end
  return { 'OK', found }
end

local function job_list(_, args)
  return page(K.jobs .. args[1] .. ':' .. args[2], args[3], args[4], function(id)
    local seen = view(id)
    return { seen[2], seen[3] }
  end)
end
