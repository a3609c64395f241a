"""How many devices one address may register anew, and how a refusal is told to the operator."""

from __future__ import annotations

from msgspec import Struct

from tocsin.clock import Clock
from tocsin.domain.bounded import BoundedCache, network_of, short_key
from tocsin.domain.quota import Bucket
from tocsin.errors import CallError
from tocsin.log import get_logger
from tocsin.metrics import Metrics

ADDRESSES_MAX = 10_000
"""Addresses of apps that are counted, half a kilobyte each: those that came last."""
APPS_MAX = 10_000
"""Apps whose refusals are counted until they are told."""
TELL_EVERY_S = 60.0
"""The log tells of an app's refusals at most this often."""
ADDRESS_MAX_CHARS = 64
"""Of an address in the log: behind a proxy it is what the proxy says."""


class _Refusals(Struct):
    """An app's refusals, as far as the log has told them."""

    told_at: float
    untold: int = 0


class RegistrationLimit:
    """A bucket for each address of each app; refusals are counted, and told once a minute."""

    def __init__(
        self, per_minute: float, clock: Clock, metrics: Metrics, addresses_max: int = ADDRESSES_MAX
    ) -> None:
        """`per_minute` 0 means no limit."""
        self._per_minute = per_minute
        self._clock = clock
        self._metrics = metrics
        self._addresses_max = addresses_max
        self._buckets: BoundedCache[bytes, Bucket] = BoundedCache(addresses_max)
        self._refusals: BoundedCache[int, _Refusals] = BoundedCache(APPS_MAX)
        self._log = get_logger(__name__)

    def change(self, per_minute: float) -> None:
        """Another limit from now on; whoever was at the former one begins anew."""
        if per_minute != self._per_minute:
            self._per_minute = per_minute
            self._buckets = BoundedCache(self._addresses_max)

    def take(self, app: int, address: str) -> None:
        """Count one; `CallError` 800102 when it is one too many."""
        if not self._per_minute or not address:
            return
        now = self._clock.monotonic()
        network = network_of(address)
        key = short_key(app, network)
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = Bucket(self._per_minute / 60, self._per_minute, now)
            self._buckets.put(key, bucket)
        if not bucket.take(now):
            self._refuse(app, network, now)

    def _refuse(self, app: int, network: str, now: float) -> None:
        self._metrics.count("registrations_refused", app=app)
        refusals = self._refusals.get(app)
        if refusals is None:
            refusals = _Refusals(told_at=now - TELL_EVERY_S)
            self._refusals.put(app, refusals)
        refusals.untold += 1
        if now - refusals.told_at >= TELL_EVERY_S:
            self._log.warning(
                "registrations refused: too many from one address",
                app=app,
                address=network[:ADDRESS_MAX_CHARS],
                refused=refusals.untold,
                per_minute=self._per_minute,
                advice="raise devices.new_per_minute if many devices share this address; if it is "
                "a proxy's, name the proxy in server.trusted_proxies",
            )
            refusals.told_at, refusals.untold = now, 0
        raise CallError(800102)
