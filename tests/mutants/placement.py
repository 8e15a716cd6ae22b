"""Defects of placement and of the seats of gangs."""

from typing import Final

from tests.mutants.runner import Mutant

LUA = "service/store/lua/"
PLACEMENT = "tests/service/store/test_placement.py::test_"
STARVATION = (
    "tests/service/store/test_starvation.py::"
    "test_a_job_that_fits_starts_while_jobs_of_one_slot_keep_coming"
)
SEATS = "tests/service/store/test_gangs.py::test_"
GANGS = "tests/service/store/test_gang_model.py::test_gangs_live_and_none_waits_for_ever"

PLACEMENTS: Final = (
    Mutant(
        "the head of a pool reserves nothing",
        LUA + "queue.lua",
        "return slots <= who.total and",
        "return slots <= who.free and",
        (STARVATION, PLACEMENT + "the_head_reserves_free_slots_until_it_fits"),
    ),
    Mutant(
        "jobs of later pools never run out",
        LUA + "queue.lua",
        "      if j.slots <= who.total - busy then return { 'EMPTY' } end\n",
        "",
        (STARVATION, PLACEMENT + "other_pools_of_the_worker_start_while_a_head_waits"),
    ),
    Mutant(
        "a gang's lease is that of its newest renewal",
        LUA + "queue.lua",
        "    over = R('ZRANGE', K.seats .. id, 0, 0, 'WITHSCORES')[2]\n",
        "",
        (GANGS, SEATS + "one_silent_member_is_a_lost_lease_for_all"),
    ),
    Mutant(
        "a worker sits twice in a gang",
        LUA + "gangs.lua",
        "    if seat.worker_id == worker_id then return true end\n",
        "",
        (GANGS, SEATS + "a_seat_asked_for_again_is_the_same_and_a_worker_has_one"),
    ),
    Mutant(
        "a gang starts before it is whole",
        LUA + "queue.lua",
        "R('HLEN', K.gang .. j.id) == j.nodes and",
        "R('HLEN', K.gang .. j.id) >= j.nodes - 1 and",
        (GANGS, SEATS + "the_last_seat_starts_the_job_and_all_have_one_token"),
    ),
    Mutant(
        "a gang that does not form keeps its seats",
        LUA + "gangs.lua",
        "  if not over or tonumber(over) > this then return end\n",
        "  if true then return end\n",
        (GANGS, SEATS + "a_gang_that_does_not_form_gives_its_seats_back_and_keeps_its_place"),
    ),
    Mutant(
        "a gang that gave its seats back does not rest",
        LUA + "gangs.lua",
        "this + REST_TICKS * (1 + part)",
        "0",
        (GANGS,),
    ),
    Mutant(
        "two gangs of a pool form at once",
        LUA + "queue.lua",
        "(is_resting(j) or forming and forming.id ~= j.id)",
        "is_resting(j)",
        (SEATS + "one_gang_forms_at_a_time",),
    ),
    Mutant(
        "a silent worker keeps its seat",
        LUA + "gangs.lua",
        "  for _, nonce in ipairs(R('ZRANGE', K.seats .. j.id, '-inf', this, 'BYSCORE')) do "
        "give_seat_back(j, nonce) end\n",
        "",
        (GANGS, SEATS + "a_seat_that_is_not_asked_for_again_is_free"),
    ),
)
