"""What can go wrong for a person is said in words, with the next step."""

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visitor, World

pytestmark = pytest.mark.browser
NO_JOB = "job_" + "0" * 26


def test_a_service_that_is_away_is_told_and_its_return_too(visitor: Visitor) -> None:
    visitor.allowed.append("ERR_")
    page = visitor.page
    page.route("**/v1/**", lambda route: route.abort())
    notice = page.locator("[data-notice=away]")
    expect(notice).to_contain_text("The service does not answer")
    expect(notice).to_contain_text("moco up")
    page.unroute("**/v1/**")
    expect(notice).to_have_count(0)


def test_a_broken_stream_is_told_and_mended(visitor: Visitor, world: World) -> None:
    visitor.allowed += ["ERR_", "events"]
    job_id = world.submit(name="followed", epochs=3000)
    page = visitor.page
    page.route("**/events?*", lambda route: route.abort())
    visitor.go(f"/ui/jobs/{job_id}")
    expect(page.locator("[data-notice=stream]")).to_contain_text("The live connection broke")
    page.unroute("**/events?*")
    expect(page.locator("[data-notice=stream]")).to_have_count(0)
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".head [data-state=cancelled]")).to_be_visible()


def test_a_tab_that_was_left_does_not_come_back_over_the_one_that_is_open(
    visitor: Visitor, world: World
) -> None:
    held: list[Route] = []
    visitor.page.route("**/probes", lambda route: held.append(route))  # noqa: PLW0108  # a builtin has no signature to call it by
    page = visitor.go(f"/ui/jobs/{world.job_id}")
    page.get_by_role("tab", name="Neighbours").click()
    page.get_by_role("tab", name="Settings").click()
    panel = page.get_by_role("tabpanel")
    expect(panel).to_contain_text("What was suggested, and why")
    with page.expect_response("**/probes"):
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(panel).to_contain_text("What was suggested, and why")


def test_an_ended_session_leads_to_the_sign_in_and_back(visitor: Visitor) -> None:
    visitor.allowed.append("401")
    page = visitor.go("/ui/workers")
    page.context.clear_cookies()
    notice = page.locator("[data-notice=away]")
    expect(notice).to_contain_text("Your session has ended")
    notice.get_by_role("link", name="Sign in").click()
    page.wait_for_url("**/sign-in?next=%2Fui%2Fworkers")


def test_a_job_and_a_dataset_that_are_not_there(visitor: Visitor) -> None:
    visitor.allowed.append("404")
    page = visitor.go(f"/ui/jobs/{NO_JOB}")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such job")
    page = visitor.go("/ui/datasets/nothing")
    expect(page.get_by_role("heading", level=1)).to_have_text("There is no such dataset")


def test_a_change_that_comes_too_late_is_told(visitor: Visitor, world: World) -> None:
    visitor.allowed += ["409", "ERR_", "events"]
    job_id = world.submit(name="late", epochs=3000)
    visitor.page.route("**/events?*", lambda route: route.abort())
    page = visitor.go(f"/ui/jobs/{job_id}")
    page.route(f"**/v1/jobs/{job_id}", hold)
    world.api.client.post(f"/v1/jobs/{job_id}/cancel")
    world.stack.wait_for(job_id, "cancelled")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-notice=problem]")).to_contain_text("Not in this state")


def hold(route: Route) -> None:
    """The page does not hear that the job was cancelled meanwhile."""
    route.abort() if route.request.method == "GET" else route.continue_()


def test_what_a_name_holds_is_shown_and_never_run(visitor: Visitor, world: World) -> None:
    name = '<img src=x onerror=alert(1)> & "friends"'
    job_id = world.submit(name=name, epochs=1)
    page = visitor.go("/ui/jobs")
    expect(page.locator(f"#open-{job_id}")).to_have_text(name)
    page = visitor.go(f"/ui/jobs/{job_id}")
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert page.locator("img[src=x]").count() == 0


def test_an_answer_that_is_no_problem_is_told_too(visitor: Visitor) -> None:
    visitor.allowed.append("502")
    page = visitor.page
    page.route("**/v1/datasets*", lambda route: route.fulfill(status=502, body="<h1>Bad</h1>"))
    page.goto(visitor.url + "/ui/datasets")
    expect(page.locator("[data-notice=away]")).to_contain_text("The service answered 502")
