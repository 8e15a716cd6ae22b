"""Datasets: a name, the content as it was received, and the pack once an ingest made it."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.store.decoding import as_dataset
from service.store.records import CreatedDataset, DatasetRecord, NewDataset, Page
from service.store.redis_client import RedisClient
from service.store.store_errors import (
    DatasetInUse,
    IdempotencyConflict,
    NameTaken,
    NotFound,
    WrongState,
)


@dataclass(frozen=True)
class Datasets:
    """The records of datasets. Every method may raise StoreUnavailable."""

    client: RedisClient

    def create(self, new: NewDataset) -> DatasetRecord:
        """Create a dataset without an idempotency key."""
        return self.create_once(new).record

    def create_once(
        self, new: NewDataset, *, idempotency_key: str | None = None, fingerprint: str = ""
    ) -> CreatedDataset:
        """Make a dataset in status `received`. The same id again answers the one there is.

        For 24 hours the same `idempotency_key` with the same `fingerprint` of the body answers
        the dataset made first. The name of a failed dataset may be taken.

        Raises:
            NameTaken: another dataset has the name, and `new` does not replace it.
            IdempotencyConflict: the key was used with another fingerprint.
            NotFound: the dataset that was made first was deleted since.
        """
        size_bytes = "" if new.size_bytes is None else new.size_bytes
        reply = self.client.fcall(
            "ds_create",
            *("id", new.dataset_id, "name", new.name, "format", new.format),
            *("store_as", new.store_as, "options", new.options.model_dump_json()),
            *("source", new.source or ""),
            *("size_bytes", size_bytes, "sha256", new.sha256 or "", "created_at_s", time.time()),
            *("replace", "1" if new.replace else "", "idem_key", idempotency_key or ""),
            *("fingerprint", fingerprint),
        )
        match reply:
            case ["TAKEN", other]:
                raise NameTaken(new.name, other)
            case ["CONFLICT"]:
                raise IdempotencyConflict(idempotency_key or "")
            case ["NOTFOUND", deleted]:
                raise NotFound("dataset", deleted)
        _, row, replayed, displaced = reply
        return CreatedDataset(
            record=as_dataset(row), replayed=bool(replayed), displaced_id=displaced or None
        )

    def rename(self, dataset_id: str, name: str) -> DatasetRecord:
        """Let `name` lead to this dataset, and no longer its old name.

        Raises:
            NotFound, NameTaken: there is no such dataset, or another one has the name.
        """
        reply = self.client.fcall("ds_rename", dataset_id, name, time.time())
        if reply[0] == "NOTFOUND":
            raise NotFound("dataset", dataset_id)
        if reply[0] == "TAKEN":
            raise NameTaken(name, reply[1])
        return as_dataset(reply[1])

    def delete(self, dataset_id: str, *, op: str = "") -> None:
        """Forget a dataset and its ingests. Its files are the caller's to remove.

        Harmless for a day when it is deleted already.

        Raises:
            NotFound: there never was such a dataset.
            DatasetInUse: jobs that have not ended need it.
        """
        raise_refusal(dataset_id, self.client.fcall("ds_delete", dataset_id, op or dataset_id))

    def users(self, dataset_id: str) -> tuple[str, ...]:
        """Return the jobs that have not ended and need the dataset."""
        return tuple(sorted(self.client.fcall("ds_users", dataset_id)[1]))

    def get(self, id_or_name: str) -> DatasetRecord:
        """Return the dataset with this id, or else with this name.

        Raises:
            NotFound: there is neither.
        """
        reply = self.client.fcall("ds_get", id_or_name)
        if reply[0] == "NOTFOUND":
            raise NotFound("dataset", id_or_name)
        return as_dataset(reply[1])

    def find(self, names: Iterable[str]) -> dict[str, DatasetRecord]:
        """Return those of several datasets that exist, with one wait for Redis."""
        unique_names = [*dict.fromkeys(names)]
        replies = self.client.fcalls("ds_get", [[name] for name in unique_names])
        pairs = zip(unique_names, replies, strict=True)
        return {name: as_dataset(reply[1]) for name, reply in pairs if reply[0] != "NOTFOUND"}

    def list(self, *, after: str | None = None, limit: int = 20) -> Page[DatasetRecord]:
        """Return up to `limit` datasets, newest first, older than the id `after`."""
        _, rows = self.client.fcall("ds_list", after or "", limit + 1)
        return Page(tuple(as_dataset(row) for row in rows[:limit]), has_more=len(rows) > limit)

    def set_uploaded(self, dataset_id: str, *, size_bytes: int, sha256: str) -> DatasetRecord:
        """Record that the content is complete on the disk.

        Raises:
            NotFound, WrongState: there is no such dataset, or it has other content already.
        """
        reply = self.client.fcall("ds_uploaded", dataset_id, size_bytes, sha256)
        if reply[0] == "NOTFOUND":
            raise NotFound("dataset", dataset_id)
        if reply[0] == "WRONGSTATE":
            reason = f"The dataset is {reply[1]}; its content cannot be replaced."
            raise WrongState(reply[1], "upload", reason)
        return as_dataset(reply[1])


def raise_refusal(dataset_id: str, reply: Sequence[Any]) -> None:
    """Raise what a delete was refused for."""
    match reply:
        case ["NOTFOUND"]:
            raise NotFound("dataset", dataset_id)
        case ["INUSE", jobs]:
            raise DatasetInUse(dataset_id, sorted(jobs))
