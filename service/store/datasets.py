"""Datasets: a name, the content as it was received, and the pack once an ingest made it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from service.store.errors import NameTaken, NotFound, WrongState
from service.store.link import Link
from service.store.records import as_dataset
from service.store.words import DatasetRecord, NewDataset, Page


@dataclass(frozen=True)
class Datasets:
    """The records of datasets. Every method may raise StoreUnavailable."""

    link: Link

    def create(self, new: NewDataset) -> DatasetRecord:
        """A dataset in status `received`. The same id again answers the one there is.

        Raises:
            NameTaken: another dataset has the name.
        """
        size_bytes = "" if new.size_bytes is None else new.size_bytes
        reply = self.link.fcall(
            "ds_create",
            *("id", new.dataset_id, "name", new.name, "format", new.format),
            *("store_as", new.store_as, "options", new.options.model_dump_json()),
            *("source", new.source or ""),
            *("size_bytes", size_bytes, "sha256", new.sha256 or "", "created_at_s", time.time()),
        )
        if reply[0] == "TAKEN":
            raise NameTaken(new.name, reply[1])
        return as_dataset(reply[1])

    def get(self, id_or_name: str) -> DatasetRecord:
        """The dataset with this id, or else with this name.

        Raises:
            NotFound: there is neither.
        """
        reply = self.link.fcall("ds_get", id_or_name)
        if reply[0] == "NOTFOUND":
            raise NotFound("dataset", id_or_name)
        return as_dataset(reply[1])

    def find(self, names: Iterable[str]) -> dict[str, DatasetRecord]:
        """As `get`, all of them with one wait for Redis. What there is not is left out."""
        asked = [*dict.fromkeys(names)]
        replies = self.link.fcalls("ds_get", [[name] for name in asked])
        found = zip(asked, replies, strict=True)
        return {name: as_dataset(one[1]) for name, one in found if one[0] != "NOTFOUND"}

    def list(self, *, after: str | None = None, limit: int = 20) -> Page[DatasetRecord]:
        """Up to `limit` datasets, newest first, older than the id `after`."""
        _, rows = self.link.fcall("ds_list", after or "", limit + 1)
        return Page(tuple(as_dataset(row) for row in rows[:limit]), has_more=len(rows) > limit)

    def set_uploaded(self, dataset_id: str, *, size_bytes: int, sha256: str) -> DatasetRecord:
        """The content is whole on the disk.

        Raises:
            NotFound, WrongState: there is no such dataset, or it has other content already.
        """
        reply = self.link.fcall("ds_uploaded", dataset_id, size_bytes, sha256)
        if reply[0] == "NOTFOUND":
            raise NotFound("dataset", dataset_id)
        if reply[0] == "WRONGSTATE":
            reason = f"The dataset is {reply[1]}; its content cannot be replaced."
            raise WrongState(reply[1], "upload", reason)
        return as_dataset(reply[1])
