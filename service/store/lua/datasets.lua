-- Datasets: the status follows the ingest job, and a name leads to one of them.
--
-- Several datasets may carry a name: a new one that replaces another takes the name once it is
-- ready, and the older one is found by its id. `named_at_s` is when a dataset took its name; when
-- the one that has a name goes, the name leads to the one that took it last before.

local LIVE = { 'queued', 'running', 'stopping', 'paused' }

local function ds_view(id)
  local record = R('HGETALL', K.ds .. id)
  if #record == 0 then return record end
  local name = R('HGET', K.ds .. id, 'name')
  record[#record + 1] = 'current'
  record[#record + 1] = R('HGET', K.dsnames, name) == id and '1' or ''
  return record
end

local function take_name(id, name, now)
  R('HSET', K.dsnames, name, id)
  R('HSET', K.ds .. id, 'name', name, 'named_at_s', now)
end

-- The name leads elsewhere, or nowhere. The record of `id` is gone or has another name by now.
local function free_name(id, name)
  if R('HGET', K.dsnames, name) ~= id then return end
  local heir, latest = nil, -1
  for _, other in ipairs(R('ZRANGE', K.datasets, 0, -1)) do
    local row = R('HMGET', K.ds .. other, 'name', 'named_at_s', 'replace', 'created_at_s')
    local at_s = tonumber(row[2] or not row[3] and row[4] or '')  -- older records tell neither
    if row[1] == name and at_s and at_s > latest then heir, latest = other, at_s end
  end
  if heir then R('HSET', K.dsnames, name, heir) else R('HDEL', K.dsnames, name) end
end

-- A replacement takes its name when it is ready. A name that a failed dataset has may be taken; the
-- reply names that dataset, which is of no use any more.
local function ds_create(_, args)
  local a = named(args)
  if a.idem_key ~= '' then
    local known = R('HMGET', K.idem .. a.idem_key, 'fingerprint', 'id')
    if known[1] and known[1] ~= a.fingerprint then return { 'CONFLICT' } end
    if known[1] then
      if R('EXISTS', K.ds .. known[2]) == 0 then return { 'NOTFOUND', known[2] } end
      return { 'OK', ds_view(known[2]), known[2] ~= a.id and 1 or 0, '' }
    end
  end
  if R('EXISTS', K.ds .. a.id) == 1 then return { 'OK', ds_view(a.id), 0, '' } end
  local other = R('HGET', K.dsnames, a.name)
  local takes = a.replace ~= '1'
  local has_failed = takes and other and R('HGET', K.ds .. other, 'status') == 'failed'
  if takes and other and not has_failed then return { 'TAKEN', other } end
  R('HSET', K.ds .. a.id, 'status', 'received', unpack(args))
  R('ZADD', K.datasets, 0, a.id)
  if has_failed then R('HDEL', K.ds .. other, 'named_at_s') end
  if takes then take_name(a.id, a.name, a.created_at_s) end
  if a.idem_key ~= '' then remember(a, DAY_S) end
  return { 'OK', ds_view(a.id), 0, has_failed and other or '' }
end

local function ds_uploaded(_, args)
  local id, size, sha = args[1], args[2], args[3]
  local known = R('HMGET', K.ds .. id, 'status', 'size_bytes', 'sha256')
  if not known[1] then return { 'NOTFOUND' } end
  local same = known[2] == size and known[3] == sha
  if known[1] ~= 'received' and known[1] ~= 'failed' and not same then return { 'WRONGSTATE', known[1] } end
  R('HSET', K.ds .. id, 'size_bytes', size, 'sha256', sha)
  return { 'OK', ds_view(id) }
end

local function ds_rename(_, args)
  local id, name, now = args[1], args[2], args[3]
  local old = R('HGET', K.ds .. id, 'name')
  if not old then return { 'NOTFOUND' } end
  local other = R('HGET', K.dsnames, name)
  if other and other ~= id then return { 'TAKEN', other } end
  if other ~= id then
    take_name(id, name, now)
    R('HSET', K.ds .. id, 'replace', '')
    free_name(id, old)
  end
  return { 'OK', ds_view(id) }
end

-- The jobs that still need a dataset.
local function users_of(dataset)
  local found = {}
  for _, kind in ipairs({ 'ingest', 'train' }) do
    for _, status in ipairs(LIVE) do
      for _, id in ipairs(R('ZRANGE', K.jobs .. kind .. ':' .. status, 0, -1)) do
        local row = R('HMGET', K.job .. id, 'dataset_id', 'inputs')
        if datasets_in(row[1], row[2])[dataset] then found[#found + 1] = id end
      end
    end
  end
  return found
end

-- With all its ingests. Asked again with the same id, it is done already.
local function ds_delete(_, args)
  local id, op = args[1], args[2]
  local users = users_of(id)
  if #users > 0 then return { 'INUSE', users } end
  for _, ingest in ipairs(R('ZRANGE', K.jobs .. 'ingest:all', 0, -1)) do
    local j = load(ingest)
    if j and j.dataset_id == id then forget_job(j) end
  end
  local row = R('HMGET', K.ds .. id, 'name', 'idem_key')
  if not row[1] then return { R('EXISTS', K.op .. id) == 1 and 'OK' or 'NOTFOUND' } end
  R('DEL', K.ds .. id)
  R('ZREM', K.datasets, id)
  free_name(id, row[1])
  if row[2] and row[2] ~= '' and R('HGET', K.idem .. row[2], 'id') == id then R('DEL', K.idem .. row[2]) end
  R('SET', K.op .. id, op, 'EX', DAY_S)
  return { 'OK' }
end

local function ds_users(_, args) return { 'OK', users_of(args[1]) } end

local function ds_get(_, args)
  local record = ds_view(args[1])
  if #record == 0 then record = ds_view(R('HGET', K.dsnames, args[1]) or '') end
  if #record == 0 then return { 'NOTFOUND' } end
  return { 'OK', record }
end

local function ds_list(_, args)
  return page(K.datasets, args[1], args[2], ds_view)
end
