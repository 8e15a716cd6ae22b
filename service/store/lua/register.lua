-- Names the functions to the server.
--
-- `READS` write nothing. `ENDING` may run in a server that is out of memory, so that what runs
-- can still end; new work is refused there. While a library loads, Lua has no globals.
local READS, ENDING, GROWING = { 'no-writes' }, { 'allow-oom' }, {}

-- A caller that names the key of the identity it expects is told when the server has lost it.
local function name(function_name, callback, flags)
  local function guarded(keys, args)
    if keys[1] and R('EXISTS', keys[1]) == 0 then return { 'LOST' } end
    return callback(keys, args)
  end
  redis.register_function({ function_name = function_name, callback = guarded, flags = flags })
end

name('moco_submit', submit, GROWING)
name('moco_control', control, ENDING)
name('moco_delete', delete, ENDING)
name('moco_job_get', job_get, READS)
name('moco_job_list', job_list, READS)
name('moco_queue_depth', queue_depth, READS)
name('moco_claim', claim, GROWING)
name('moco_leave_seat', leave_seat, ENDING)
name('moco_renew', renew, ENDING)
name('moco_append', append, GROWING)
name('moco_checkpoint', checkpoint, ENDING)
name('moco_complete', complete, ENDING)
name('moco_fail', fail, ENDING)
name('moco_release', release, ENDING)
name('moco_tick', tick, ENDING)
name('moco_ds_create', ds_create, GROWING)
name('moco_ds_uploaded', ds_uploaded, ENDING)
name('moco_ds_rename', ds_rename, ENDING)
name('moco_ds_delete', ds_delete, ENDING)
name('moco_ds_users', ds_users, READS)
name('moco_ds_get', ds_get, READS)
name('moco_ds_list', ds_list, READS)
name('moco_beat', beat, ENDING)
name('moco_worker_drain', worker_drain, ENDING)
name('moco_worker_leave', worker_leave, ENDING)
name('moco_worker_list', worker_list, READS)
name('moco_forget_checkpoints', forget_checkpoints, ENDING)
name('moco_trim_events', trim_events, ENDING)
name('moco_restore', restore, GROWING)
name('moco_ds_restore', ds_restore, GROWING)
name('moco_identify', identify, ENDING)
