-- Datasets: names are unique, and the status follows the ingest job.

local function ds_create(_, args)
  local a = named(args)
  if R('EXISTS', K.ds .. a.id) == 1 then return { 'OK', R('HGETALL', K.ds .. a.id) } end
  local other = R('HGET', K.dsnames, a.name)
  if other then return { 'TAKEN', other } end
  R('HSET', K.ds .. a.id, 'status', 'received', unpack(args))
  R('HSET', K.dsnames, a.name, a.id)
  R('ZADD', K.datasets, 0, a.id)
  return { 'OK', R('HGETALL', K.ds .. a.id) }
end

local function ds_uploaded(_, args)
  local id, size, sha = args[1], args[2], args[3]
  local known = R('HMGET', K.ds .. id, 'status', 'size_bytes', 'sha256')
  if not known[1] then return { 'NOTFOUND' } end
  local same = known[2] == size and known[3] == sha
  if known[1] ~= 'received' and known[1] ~= 'failed' and not same then return { 'WRONGSTATE', known[1] } end
  R('HSET', K.ds .. id, 'size_bytes', size, 'sha256', sha)
  return { 'OK', R('HGETALL', K.ds .. id) }
end

local function ds_get(_, args)
  local record = R('HGETALL', K.ds .. args[1])
  if #record == 0 then record = R('HGETALL', K.ds .. (R('HGET', K.dsnames, args[1]) or '')) end
  if #record == 0 then return { 'NOTFOUND' } end
  return { 'OK', record }
end

local function ds_list(_, args)
  return page(K.datasets, args[1], args[2], function(id) return R('HGETALL', K.ds .. id) end)
end
