"""Configuration section ``health``."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class HealthConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Address of the health endpoints, and the age of results from which a run is degraded.

    Attributes:
        port: TCP port of ``/healthz``, ``/readyz``, ``/metrics`` and ``/status``. None opens no port; the Unix socket
            in the run's private folder is always available to this user. 0 lets the system choose a port.
        host: Address to listen on. Responses contain no credentials, but clients are not authenticated either.
        max_age_s: Maximum age of the newest result of a source, s; if it is older, the run is degraded.
    """

    port: Annotated[int, Meta(ge=0, le=65535)] | None = None
    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    max_age_s: Annotated[float, Meta(gt=0, le=3600)] = 5.0
