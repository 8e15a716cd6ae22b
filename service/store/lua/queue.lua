-- What workers and reapers say.

local function lease_of(j, seat)
  local rest_of = R('HMGET', K.job .. j.id, 'attempt', 'token', 'resolved_json', 'inputs', 'folder')
  return { 'OK', j.id, j.kind, j.pool, rest_of[1], rest_of[2], rest_of[3], rest_of[4], rest_of[5],
    j.dataset_id, R('ZREVRANGE', K.ckpts .. j.id, 0, -1), j.slots, seat and { seat.rank, j.nodes, seat.endpoint } or {} }
end

-- The job leaves its line, and its lease begins. Who claims must hold the slots.
local function begin(j, who, nonce, row)
  leave_line(j)
  j.attempt, j.worker_id = R('HINCRBY', K.job .. j.id, 'attempt', 1), row.worker_id
  R('HSET', K.job .. j.id, 'token', j.attempt .. ':' .. nonce, 'desired', '', 'worker_id', j.worker_id, 'appended', 0)
  R('HSETNX', K.job .. j.id, 'started_at_s', who.now)
  row.started_at_s = who.now
  R('HSET', K.attempts .. j.id, j.attempt, cjson.encode(row))
  R('ZADD', K.leases, now_tick() + who.ttl, j.id)
  move(j, 'running', who.now)
end

local function take(j, who)
  hold(who.worker_id, j.pool, j.slots)
  R('SET', K.nonce .. who.nonce, j.id, 'EX', DAY_S)
  begin(j, who, who.nonce, { worker_id = who.worker_id })
  return lease_of(j)
end

-- The last seat is taken: all have the token that the first one's claim makes, and a rank each.
local function start_gang(j, who)
  local seats, workers, mine = seats_of(j), {}, nil
  disband(j)
  for i, seat in ipairs(seats) do
    workers[i], seat.rank, seat.endpoint = seat.worker_id, i - 1, seats[1].endpoint
    R('HSET', K.gang .. j.id, seat.nonce, cjson.encode(seat))
    R('ZADD', K.seats .. j.id, now_tick() + who.ttl, seat.rank)
    hold(seat.worker_id, j.pool, j.slots)
    if seat.nonce == who.nonce then mine = seat end
  end
  R('HDEL', K.job .. j.id, 'gang_tries', 'rest_until')
  begin(j, who, seats[1].nonce, { worker_id = workers[1], workers = workers })
  return lease_of(j, mine)
end

local function sit(j, who)
  local reply = take_seat(j, who)
  return R('HLEN', K.gang .. j.id) == j.nodes and start_gang(j, who) or reply
end

-- What this nonce got before, as long as it is alive. A drained worker keeps no seat.
local function claimed_before(j, who, is_drained)
  if not j then return { 'EMPTY' } end
  if j.nodes == 1 then return held(j, j.attempt .. ':' .. who.nonce) and lease_of(j) or { 'EMPTY' } end
  local seat = R('HGET', K.gang .. j.id, who.nonce)
  if not seat then return { 'EMPTY' } end
  if held(j, j.token) then return lease_of(j, cjson.decode(seat)) end
  if is_drained then
    give_seat_back(j, who.nonce)
    return { 'EMPTY' }
  end
  return keep_seat(j, who.nonce, who.ttl)
end

-- The job of `pool` that comes first for this worker, and whether it may have its slots now. A worker
-- that has no endpoint takes part in no gang. One that sits in the gang that forms looks past all gangs.
local function head_for(pool, who)
  local forming = forming_in(pool)
  local sits = forming and sits_in(forming, who.worker_id)
  local function fits(slots, nodes) return slots <= who.total and (nodes == 1 or who.endpoint ~= '' and not sits) end
  local j = load(head_of(pool, fits) or '')
  if j and j.nodes > 1 and forming and forming.slots <= who.total then j = forming end
  local waits_its_turn = j and j.nodes > 1 and (is_resting(j) or forming and forming.id ~= j.id)
  return j, not waits_its_turn, sits and forming.slots or 0
end

-- Pools are looked at in order. The first job of a pool that could ever run on this worker is given
-- to it, or reserves its free slots: nothing behind it in that pool starts on this worker. Jobs of a
-- later pool may, as long as jobs of this pool or an earlier one are in its way. Where only those of
-- later pools are, they are let run out: so whatever fits a worker starts within finite time.
local function claim(_, args)
  local who = { worker_id = args[1], nonce = args[2], ttl = tonumber(args[3]), now = args[4],
    free = tonumber(args[5]), total = tonumber(args[6]), endpoint = args[7] }
  local before, busy = R('GET', K.nonce .. who.nonce), 0
  local is_drained = R('HGET', K.worker .. who.worker_id, 'drain') == '1'
  if before then return claimed_before(load(before), who, is_drained) end
  if is_drained then return { 'EMPTY' } end
  for i = 8, #args do
    local pool = args[i]
    local j, is_its_turn, seat_slots = head_for(pool, who)
    busy = busy + tonumber(R('HGET', K.held .. who.worker_id, pool) or '0') + seat_slots
    if j and is_its_turn then
      if j.slots <= who.free then return (j.nodes > 1 and sit or take)(j, who) end
      if j.slots <= who.total - busy then return { 'EMPTY' } end
    elseif not head_of(pool, any_shape) then
      R('DEL', K.wake .. pool)
    end
  end
  return { 'EMPTY' }
end

-- Gives back the seat that this claim took, if its gang has not become whole.
local function leave_seat(_, args)
  local nonce = args[1]
  local j = load(R('GET', K.nonce .. nonce) or '')
  if j and j.nodes > 1 and j.status == 'queued' then give_seat_back(j, nonce) end
  return { 'OK' }
end

-- The token of a gang, and the node rank that speaks: what `attempt:nonce/rank` says. Without a rank
-- it is 0. So a token with a rank opens only what all ranks may do.
local function token_and_rank(text)
  local token, rank = string.match(text, '^(%d+:[^/]*)/(%d+)$')
  return token or text, rank or '0'
end

-- The lease of a gang is over when that of any of its ranks is.
local function renew(_, args)
  local id, ttl = args[1], tonumber(args[3])
  local token, rank = token_and_rank(args[2])
  local j = load(id)
  if not held(j, token) then return { 'FENCED' } end
  local over = now_tick() + ttl
  if j.nodes > 1 then
    R('ZADD', K.seats .. id, 'XX', over, rank)
    over = R('ZRANGE', K.seats .. id, 0, 0, 'WITHSCORES')[2]
  end
  R('ZADD', K.leases, over, id)
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

-- A preempted attempt costs nothing; any other code is a loss of ours. Any rank of a gang may.
local function release(_, args)
  local id, token, now, losses_max = args[1], token_and_rank(args[2]), args[3], args[6]
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
  for _, id in ipairs(R('ZRANGE', K.gangs, 0, -1)) do end_forming(load(id), this) end
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
