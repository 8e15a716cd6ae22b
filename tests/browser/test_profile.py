"""The card of a job that is profiled, beside one that is not."""

from playwright.sync_api import expect

from tests.browser.conftest import Visitor, World


def test_a_profiled_job_has_a_card_with_the_sentence_and_the_phases(
    visitor: Visitor, world: World
) -> None:
    job = world.submit(name="a profiled run", profile=True, epochs=8)
    page = visitor.go(f"/ui/jobs/{job}")
    card = page.get_by_role("region", name="Profile")
    expect(card).to_contain_text("Profile")
    world.stack.wait_for(job, "succeeded", timeout_s=120.0)
    found = world.api.client.get(f"/v1/jobs/{job}").json()["progress"]["profile"]
    page = visitor.go(f"/ui/jobs/{job}")
    expect(card).to_contain_text(found["sentence"].replace("`", ""))
    card.locator("summary").click()
    rows = card.locator("tbody tr")
    expect(rows).to_have_count(len(found["phases"]) + 1)
    expect(rows.filter(has_text="backward")).to_contain_text("ms")
    page.get_by_role("tab", name="Files").click()
    expect(page.get_by_text("profile.json", exact=True)).to_be_visible()


def test_a_job_without_a_profile_has_no_card(visitor: Visitor, world: World) -> None:
    page = visitor.go(f"/ui/jobs/{world.job_id}")
    expect(page.get_by_role("region", name="Profile")).to_have_count(0)
