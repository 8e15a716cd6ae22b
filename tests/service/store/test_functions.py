"""Rules that the text of the Lua functions keeps."""

import re
from pathlib import Path

from service.store.keys import KEYS, lua_table
from service.store.redis_client import library

FOLDER = Path(__file__).parents[3] / "service" / "store" / "lua"


def code() -> str:
    """The functions without their comments."""
    text = "\n".join(path.read_text() for path in sorted(FOLDER.glob("*.lua")))
    return re.sub(r"--.*", "", text)


def test_no_function_reads_a_clock_or_draws_a_number() -> None:
    assert not re.search(r"'TIME'|os\.(time|clock)|math\.random", code())


def test_functions_and_table_name_the_same_keys() -> None:
    assert set(re.findall(r"\bK\.(\w+)", code())) == set(KEYS)
    assert all(key.startswith("{moco}:") for key in KEYS.values())
    assert len(set(KEYS.values())) == len(KEYS)


def test_every_file_is_part_of_the_library() -> None:
    text = library()
    assert text.startswith("#!lua name=moco\n" + lua_table())
    for path in FOLDER.glob("*.lua"):
        assert path.read_text() in text


def test_only_one_place_changes_a_status() -> None:
    assert len(re.findall(r"K\.job \.\. j\.id, 'status'", code())) == 1
    assert len(re.findall(r"'status', 'queued',", code())) == 1, "the first status of a new job"


def test_every_call_about_a_lease_is_guarded() -> None:
    for name in ("renew", "append", "checkpoint", "complete", "fail", "release"):
        body = code().partition(f"local function {name}(")[2].partition("\nend\n")[0]
        guard = body.index("if not held(j, token) then return { 'FENCED' } end")
        writes = [m.start() for m in re.finditer(r"R\('[HZXDSLIE](?!GET|MGET|EXISTS)", body)]
        assert writes
        assert all(guard < write for write in writes)
