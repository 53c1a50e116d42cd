"""The health section of the configuration."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class HealthConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the run answers questions, and when it calls itself degraded.

    Attributes:
        port: TCP port of ``/healthz``, ``/readyz``, ``/metrics`` and ``/status``; none opens no port (a Unix socket
            in the run's private folder always answers this user), 0 lets the system choose.
        host: address to listen on. What is told holds no credentials, but nobody is asked for any either.
        max_age_s: a source whose newest result is older is in trouble.
    """

    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    max_age_s: Annotated[float, Meta(gt=0, le=3600)] = 5.0
