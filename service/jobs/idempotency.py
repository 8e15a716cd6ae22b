"""Fingerprints by which an Idempotency-Key is compared."""

import hashlib
import json

from pydantic import BaseModel


def fingerprint(body: BaseModel) -> str:
    """Return a hash that is equal for two bodies exactly when they mean the same."""
    text = json.dumps(body.model_dump(mode="json", exclude_unset=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
