"""Failures are explained on the page, with the next step."""

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Visitor, World
from tests.support.service.api import queued_job

pytestmark = pytest.mark.browser
NO_JOB = "job_" + "0" * 26


def test_a_service_that_is_away_is_told_and_its_return_too(visitor: Visitor) -> None:
    visitor.allowed.append("ERR_")
    page = visitor.page
    page.route("**/v1/**", lambda route: route.abort())
    notice = page.locator("[data-notice=away]")
    expect(notice).to_contain_text("Cannot reach the service")
    expect(notice).to_contain_text("moco up")
    page.unroute("**/v1/**")
    expect(notice).to_have_count(0)


def test_a_broken_stream_is_told_and_mended(visitor: Visitor, world: World) -> None:
    visitor.allowed += ["ERR_", "events"]
    job_id = world.submit(name="followed", epochs=3000)
    page = visitor.page
    page.route("**/events?*", lambda route: route.abort())
    visitor.go(f"/ui/jobs/{job_id}")
    expect(page.locator("[data-notice=stream]")).to_contain_text("Live updates lost")
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
    page.get_by_role("tab", name="Neighbors").click()
    page.get_by_role("tab", name="Settings").click()
    panel = page.get_by_role("tabpanel")
    expect(panel).to_contain_text("Recommended settings")
    with page.expect_response("**/probes"):
        held[0].continue_()
    page.wait_for_timeout(300)
    expect(panel).to_contain_text("Recommended settings")


def test_an_ended_session_leads_to_the_sign_in_and_back(visitor: Visitor) -> None:
    visitor.allowed.append("401")
    page = visitor.go("/ui/workers")
    page.context.clear_cookies()
    notice = page.locator("[data-notice=away]")
    expect(notice).to_contain_text("Your session has expired")
    notice.get_by_role("link", name="Sign in").click()
    page.wait_for_url("**/sign-in?next=%2Fui%2Fworkers")


@pytest.mark.parametrize(
    ("path", "title", "way_out"),
    [
        (f"/ui/jobs/{NO_JOB}", "Job not found", "All jobs"),
        ("/ui/jobs/job_half", "Job not found", "All jobs"),
        ("/ui/datasets/nothing", "Dataset not found", "All datasets"),
        ("/ui/datasets/a%20b", "Dataset not found", "All datasets"),
        ("/ui/nothing/at/all", "Page not found", "All jobs"),
    ],
)
def test_what_is_not_there_is_told_with_a_way_out(
    path: str, title: str, way_out: str, visitor: Visitor
) -> None:
    visitor.allowed.append("404")
    page = visitor.go(path)
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    expect(page.locator("body")).not_to_contain_text("/docs")
    page.get_by_role("link", name=way_out).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(way_out.removeprefix("All ").title())


def test_a_job_that_is_deleted_while_it_is_looked_at(visitor: Visitor, world: World) -> None:
    visitor.allowed += ["404", "ERR_", "events"]
    job_id = queued_job(world.api.store)
    page = visitor.go(f"/ui/jobs/{job_id}")
    expect(page.locator(".head [data-state=queued]")).to_be_visible()
    world.api.client.post(f"/v1/jobs/{job_id}/cancel")
    assert world.api.client.delete(f"/v1/jobs/{job_id}").status_code < 300
    expect(page.get_by_role("heading", level=1)).to_have_text("Job not found")
    expect(page.get_by_role("link", name="All jobs")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "then"),
    [
        ("/ui/jobs/{job}", "a real run"),
        ("/ui/datasets/digits", "digits"),
        ("/ui/submit?dataset=digits", "New job"),
        ("/ui/compare?a={job}", "Compare"),
        ("/ui/workers", "Workers and GPUs"),
    ],
)
def test_a_page_that_cannot_begin_tells_why_and_begins_when_it_can(
    path: str, then: str, visitor: Visitor, world: World
) -> None:
    visitor.allowed.append("ERR_")
    page = visitor.page
    world.other_id()
    page.route("**/v1/**", lambda route: route.abort())
    page.goto(visitor.url + path.format(job=world.job_id))
    notice = page.locator("[data-notice=away]")
    expect(notice).to_contain_text("Cannot reach the service")
    expect(notice).to_contain_text("keeps retrying")
    page.unroute("**/v1/**")
    expect(notice).to_have_count(0)
    expect(page.locator("main [aria-busy=true]")).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text(then)


def test_a_job_that_failed_says_what_happened_and_what_to_do(
    visitor: Visitor, world: World
) -> None:
    """Really failed: with such a rate the loss is soon no number."""
    rate = {"name": "sgd", "lr": 1e12}
    job_id = world.submit(name="too fast", epochs=200, optim=rate)
    world.stack.wait_for(job_id, "failed", timeout_s=90.0)
    page = visitor.go("/ui/jobs")
    row = page.locator(f"[data-job={job_id}]")
    expect(row.locator("[data-state=failed]")).to_be_visible()
    expect(row).to_contain_text("The loss is")
    page = visitor.go(f"/ui/jobs/{job_id}")
    health = page.get_by_label("Health")
    expect(health).to_contain_text("Failed")
    expect(health).to_contain_text("The loss is")
    reason = world.api.client.get(f"/v1/jobs/{job_id}").json()["status_reason"]
    expect(health).to_contain_text(reason["hint"].replace("`", ""))
    for name in ("Resume", "Run again", "Delete"):
        expect(page.locator(".head .actions").get_by_text(name, exact=True)).to_be_visible()
    page.get_by_role("tab", name="Files").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("Resume it to")
    page.get_by_role("link", name="Run again").click()
    expect(page.locator("[data-field='optim.lr'] input")).to_have_value("1000000000000")


def test_a_job_that_was_cancelled_says_what_is_kept(visitor: Visitor, world: World) -> None:
    job_id = queued_job(world.api.store)
    page = visitor.go(f"/ui/jobs/{job_id}")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_label("Health")).to_contain_text("No checkpoint was saved")
    expect(page.get_by_label("Health")).to_contain_text("Run again starts a new job")
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    page.get_by_role("tab", name="Files").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("Resume it to start over")


def test_values_that_are_wrong_are_told_at_their_fields(visitor: Visitor) -> None:
    visitor.allowed.append("422")
    page = visitor.go("/ui/submit?dataset=nothing")
    error = page.locator("[data-field=dataset] .error")
    expect(error).to_have_text("There is no dataset 'nothing'.")
    expect(page.locator("aside")).to_contain_text("Fix 1 field")
    expect(page.get_by_role("button", name="Start the job")).to_be_disabled()
    page.get_by_label("Dataset", exact=True).select_option("digits")
    expect(error).to_be_empty()
    for text, part in (("70000", "65536"), ("1", "2"), ("1.5", "integer"), ("many", "integer")):
        page.get_by_label("Batch rows", exact=True).fill(text)
        expect(page.locator("[data-field=batch_rows] .error")).to_contain_text(part)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Batch rows", exact=True)).to_be_focused()
    page.get_by_label("Batch rows", exact=True).fill("")
    expect(page.get_by_role("button", name="Start the job")).to_be_enabled()


def test_the_settings_of_a_job_that_is_not_there(visitor: Visitor) -> None:
    visitor.allowed.append("404")
    page = visitor.go(f"/ui/submit?from={NO_JOB}")
    expect(page.locator("[data-notice=from]")).to_contain_text("Fill in the form")
    expect(page.get_by_role("button", name="Start the job")).to_be_enabled()


def test_pressing_start_again_after_no_answer_makes_one_job(visitor: Visitor, world: World) -> None:
    visitor.allowed.append("ERR_")
    page = visitor.go("/ui/submit?dataset=digits")
    page.get_by_label("Name", exact=True).fill("pressed twice")
    page.get_by_label("Encoder").select_option("small")
    start = page.get_by_role("button", name="Start the job")
    expect(page.locator("aside")).to_contain_text("3 settings changed")

    def lose_the_answer(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route("**/v1/jobs", lose_the_answer)
    start.click()
    notice = page.locator("[data-notice=spec]")
    expect(notice).to_contain_text("Cannot reach the service")
    expect(notice).to_contain_text("a repeated request is safe")
    page.unroute("**/v1/jobs")
    start.click()
    page.wait_for_url("**/ui/jobs/job_*")
    jobs = world.api.client.get("/v1/jobs?limit=100").json()["data"]
    assert [job["name"] for job in jobs].count("pressed twice") == 1


def test_a_change_that_comes_too_late_is_told(visitor: Visitor, world: World) -> None:
    visitor.allowed += ["409", "ERR_", "events"]
    job_id = world.submit(name="late", epochs=3000)
    visitor.page.route("**/events?*", lambda route: route.abort())
    page = visitor.go(f"/ui/jobs/{job_id}")
    page.route(f"**/v1/jobs/{job_id}", hold)
    world.api.client.post(f"/v1/jobs/{job_id}/cancel")
    world.stack.wait_for(job_id, "cancelled")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("[data-notice=problem]")).to_contain_text("Not possible in this state")


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


def test_a_comparison_with_a_job_that_is_not_there(visitor: Visitor, world: World) -> None:
    visitor.allowed.append("404")
    world.other_id()
    page = visitor.go(f"/ui/compare?a={NO_JOB}&b={world.job_id}")
    expect(page.locator("[data-notice=problem]")).to_contain_text(f"There is no job '{NO_JOB}'.")
    page.get_by_label("Job A").select_option(world.other_id())
    page.locator("[data-chart='a:loss'] .main-svg").first.wait_for()
    expect(page.locator("[data-notice=problem]")).to_have_count(0)


def test_a_store_that_is_away_is_told_apart_from_the_service(visitor: Visitor) -> None:
    visitor.allowed.append("503")
    page = visitor.page
    away = {"code": "unavailable", "title": "Job store unavailable", "detail": "",
            "hint": "Try again soon; running jobs are not affected."}  # fmt: skip
    page.route("**/v1/**", lambda route: route.fulfill(status=503, json=away))
    page.goto(visitor.url + "/ui/datasets/digits")
    notice = page.locator("[data-notice=away]")
    expect(notice).to_contain_text("Job store unavailable")
    expect(notice).to_contain_text("running jobs are not affected")
    page.unroute("**/v1/**")
    expect(page.get_by_role("heading", level=1)).to_have_text("digits")
    expect(notice).to_have_count(0)


def test_an_answer_that_is_no_problem_is_told_too(visitor: Visitor) -> None:
    visitor.allowed.append("502")
    page = visitor.page
    page.route("**/v1/datasets*", lambda route: route.fulfill(status=502, body="<h1>Bad</h1>"))
    page.goto(visitor.url + "/ui/datasets")
    expect(page.locator("[data-notice=away]")).to_contain_text("The service returned HTTP 502")
