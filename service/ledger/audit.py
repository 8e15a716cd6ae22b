"""Audit of disk and store: read both, compare them, and report what is wrong."""

from dataclasses import dataclass
from pathlib import Path

from service.ledger.checksums import check_files
from service.ledger.consistency import Finding, compare
from service.ledger.ledger_reader import read_folders
from service.store.full_scan import FullScan, scan_all
from service.store.store import Store

LOOKS = 3
"""Number of checks: only what all of them find is reported, since jobs run meanwhile."""


@dataclass(frozen=True, slots=True)
class AuditResult:
    """Number of jobs and datasets checked, with the findings."""

    jobs: int
    datasets: int
    findings: tuple[Finding, ...]


def audit(store: Store, data_dir: Path, *, deep: bool = False) -> AuditResult:
    """Check everything. Raises StoreUnavailable, OSError.

    While jobs run, disk and store change between two reads: only what every check finds counts.
    """
    scan = scan_all(store.client)
    findings = _look(data_dir, scan, deep=deep)
    for _ in range(LOOKS - 1):
        if not findings:
            break
        scan = scan_all(store.client)
        again = _look(data_dir, scan, deep=deep)
        findings = [finding for finding in findings if finding in again]
    return AuditResult(len(scan.jobs), len(scan.datasets), tuple(findings))


def _look(data_dir: Path, scan: FullScan, *, deep: bool) -> list[Finding]:
    jobs, datasets = (list(read_folders(data_dir, kind)) for kind in ("jobs", "datasets"))
    return [*compare(jobs, datasets, scan), *check_files(data_dir, scan, deep=deep)]
