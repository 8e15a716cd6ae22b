-- What is removed of jobs that have ended. One that may still run needs its checkpoints and events.

local function forget_checkpoints(_, args)
  local j = load(args[1])
  if not j then return { 'NOTFOUND' } end
  if not ENDS[j.status] then return { 'WRONGSTATE', j.status } end
  R('DEL', K.ckpts .. j.id)
  R('HSET', K.job .. j.id, 'checkpoint', '', 'checkpoint_step', 0)
  touch(j.id)
  return { 'OK', tonumber(j.attempt) }
end

-- The last event tells how the job ended.
local function trim_events(_, args)
  local j = load(args[1])
  if not j then return { 'NOTFOUND' } end
  if not ENDS[j.status] then return { 'WRONGSTATE', j.status } end
  return { 'OK', R('XTRIM', K.ev .. j.id, 'MAXLEN', 1) }
end
