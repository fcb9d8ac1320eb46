"""Credentials for a bucket: variables of the environment, profiles of AWS, and what is missing."""

import os
import re
from typing import Any

from model.errors import check_text
from sweep.store.folder import StoreError

LOOK_UP = re.compile(r"token request|http://(169\.254\.|metadata)")
"""Found in errors of asking the cloud for the credentials of this machine."""


def variable(name: str) -> str | None:
    """A variable of the environment; raises UsageError if it is not text."""
    value = os.environ.get(name)
    if value:
        check_text(name, value)
    return value


def is_look_up(error: Exception) -> bool:
    """Whether a request failed before it was sent, because this machine has no credentials."""
    return LOOK_UP.search(str(error)) is not None


def profile_credentials(profile: str) -> Any:
    """Credentials of a profile in ~/.aws; the client does not read profiles itself."""
    try:
        import boto3
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise StoreError(
            f"AWS_PROFILE must be unset if boto3 is not installed, got {profile!r}; "
            "run uv pip install boto3"
        ) from None
    try:
        return Boto3CredentialProvider(boto3.Session(profile_name=profile))
    except (BotoCoreError, ValueError) as error:
        raise StoreError(f"AWS_PROFILE must have credentials, got {profile!r}: {error}") from None
