"""A client that openapi-python-client makes from the document, at work against a live API."""

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.support.service.api import KEY, Loose, RunningApi, ready_dataset

NAME = "moco_generated"


@pytest.fixture(scope="module")
def generated(
    api: RunningApi, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Loose, str]]:
    """A function that imports a module of the client, and what the generator complained of."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(api.client.get("/openapi.json").text)
    (folder / "config.yml").write_text("post_hooks: []\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
            *("--path", "openapi.json", "--config", "config.yml", "--output-path", NAME),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    sys.path.insert(0, str(folder))

    def load(name: str) -> ModuleType:
        return importlib.import_module(f"{NAME}{name}")

    yield load, done.stdout
    sys.path.remove(str(folder))


@pytest.fixture
def client(api: RunningApi, generated: tuple[Loose, str]) -> Loose:
    load, _ = generated
    made = load("").AuthenticatedClient(base_url=api.url, token=KEY)
    return made.with_headers({"Connection": "close"})


def test_every_operation_and_every_model_is_generated(
    api: RunningApi, generated: tuple[Loose, str]
) -> None:
    load, said = generated
    assert "will not be generated" not in said
    assert "Failure to process" not in said
    document = api.client.get("/openapi.json").json()
    models = set(dir(load(".models")))
    assert set(document["components"]["schemas"]) <= models


def test_it_submits_a_job_and_reads_it_back(
    api: RunningApi, client: Loose, generated: tuple[Loose, str]
) -> None:
    load, _ = generated
    models = load(".models")
    ready_dataset(api.store, "generated")
    spec = models.JobSpec(
        dataset="generated",
        epochs=3,
        optim=models.AdamWSpec(lr=0.002),
        schedule=models.CosineSpec(warmup_epochs=1.0),
        metadata=models.JobSpecMetadata.from_dict({"team": "vision"}),
    )
    made = load(".api.jobs.create_job").sync(client=client, body=spec, idempotency_key="once")
    assert isinstance(made, models.Job)
    stored = json.loads(api.store.jobs.get(made.id).spec_json)
    assert (stored["epochs"], stored["optim"]["name"]) == (3, "adamw")
    assert stored["metadata"] == {"team": "vision"}
    again = load(".api.jobs.get_job").sync(made.id, client=client)
    assert again.to_dict() == api.client.get(f"/v1/jobs/{made.id}").json()
    page = load(".api.jobs.list_jobs").sync(client=client, limit=1)
    assert [job.id for job in page.data] == [made.id]
    cancelled = load(".api.jobs.cancel_job").sync(made.id, client=client)
    assert cancelled.status == "cancelled"
    removed = load(".api.jobs.delete_job").sync_detailed(made.id, client=client)
    assert removed.status_code == 204


def test_it_reads_a_preview_and_a_problem(
    api: RunningApi, client: Loose, generated: tuple[Loose, str]
) -> None:
    load, _ = generated
    models, create = load(".models"), load(".api.jobs.create_job")
    ready_dataset(api.store, "previewed")
    preview = create.sync(client=client, body=models.JobSpec(dataset="previewed"), dry_run=True)
    assert isinstance(preview, models.Preview)
    assert preview.steps > 0
    refused = create.sync(client=client, body=models.JobSpec(dataset="none-of-ours"))
    assert isinstance(refused, models.ProblemBody)
    assert refused.code == "no_dataset"
