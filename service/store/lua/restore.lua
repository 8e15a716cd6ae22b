-- Making a wiped server anew from what the disk knows. What exists is never touched.

-- The server belongs to the data folder of this identity from now on.
local function identify(_, args)
  local id = R('GET', K.store)
  if id and id ~= args[1] then return { 'CONFLICT', id } end
  R('SET', K.store, args[1])
  R('SET', K.store .. ':' .. args[1], '1')
  return { 'OK' }
end

-- As after a submit and all attempts so far. `status` is that of a job at rest, or queued.
local function restore(_, args)
  local a = cjson.decode(args[1])
  if R('EXISTS', K.job .. a.id) == 1 then return { 'OK', 0 } end
  if a.idem_key ~= '' and tonumber(a.idem_s) > 0 then
    local known = R('HGET', K.idem .. a.idem_key, 'id')
    if known and known ~= a.id then return { 'TAKEN', known } end
  end
  if a.kind == 'ingest' and a.dataset_id ~= '' and not ENDS[a.status] then
    local found = R('HMGET', K.ds .. a.dataset_id, 'status', 'job_id')
    if not found[1] then return { 'NOTFOUND' } end
    if found[2] and found[2] ~= '' and found[2] ~= a.id then return { 'TAKEN', found[2] } end
    R('HSET', K.ds .. a.dataset_id, 'job_id', a.id)
  end
  if a.idem_key ~= '' and tonumber(a.idem_s) > 0 then remember(a, a.idem_s) end
  local j, key = record(a), K.job .. a.id
  R('HSET', key, 'attempt', a.attempt, 'failures', a.failures, 'losses', a.losses, 'progress', a.progress,
    'checkpoint_step', a.checkpoint_step)
  for _, field in ipairs({ 'started_at_s', 'checkpoint', 'artifacts', 'artifacts_folder' }) do
    if a[field] ~= '' then R('HSET', key, field, a[field]) end
  end
  for number, row in pairs(cjson.decode(a.attempts)) do R('HSET', K.attempts .. a.id, number, row) end
  for _, told in ipairs(cjson.decode(a.checkpoints)) do R('ZADD', K.ckpts .. a.id, told[1], told[2]) end
  j = load(a.id)
  local why = { code = a.code, message = a.message, hint = a.hint }
  if a.status == 'cancelled' then why = CANCELLED elseif a.status == 'paused' then why = PAUSED end
  move(j, a.status, a.finished_at_s, why)
  if a.status == 'queued' then enqueue(j, a.now, false) end
  return { 'OK', 1 }
end

-- `job_id` is its newest ingest, which is restored afterwards and sets the status unless ready.
-- `has_name`: of those with this name it is the one that the name leads to. One that was perhaps
-- never accepted (`is_open`) is not restored beside another of its name.
local function ds_restore(_, args)
  local a = cjson.decode(args[1])
  if R('EXISTS', K.ds .. a.id) == 1 then return { 'OK', 0 } end
  local other = R('HGET', K.dsnames, a.name)
  if a.is_open == '1' and (other or a.has_name ~= '1') then return { 'TAKEN', other or '' } end
  for field, value in pairs(a) do
    if field ~= 'has_name' and field ~= 'is_open' and field ~= 'idem_s' then R('HSET', K.ds .. a.id, field, value) end
  end
  if a.has_name == '1' and not other then R('HSET', K.dsnames, a.name, a.id) end
  if (a.idem_key or '') ~= '' and tonumber(a.idem_s) > 0 then remember(a, a.idem_s) end
  R('ZADD', K.datasets, 0, a.id)
  return { 'OK', 1 }
end
