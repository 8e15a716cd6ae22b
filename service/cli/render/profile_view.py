"""Profile of a job as lines of text."""

from mocoserve.models import Phase, Profile

BETWEEN_STEPS = ("evaluation", "checkpoint")


def table(profile: Profile) -> list[str]:
    """Return the phases of a step and the whole step, what comes between steps, and the advice."""
    parts = [phase for phase in profile.phases if phase.name not in BETWEEN_STEPS]
    between = [phase for phase in profile.phases if phase.name in BETWEEN_STEPS]
    speed = f"{profile.rows_per_s:,.0f} images/s"
    return [
        f"time per phase over {profile.steps_measured:,} steps:",
        *(_line(phase) for phase in parts),
        _line(Phase(name="step", mean_s=profile.step_mean_s, share=1.0), f"  {speed}"),
        *(_line(phase, " of the run, per call") for phase in between),
        profile.sentence,
    ]


def _line(phase: Phase, more: str = "") -> str:
    return f"  {phase.name:<12}{time_text(phase.mean_s):>10}{100 * phase.share:>8.1f} %{more}"


def time_text(seconds: float) -> str:
    """Format seconds: `0.00041` -> `0.41 ms`; three digits, in seconds from one on."""
    value, unit = (seconds, "s") if seconds >= 1.0 else (1e3 * seconds, "ms")
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"
