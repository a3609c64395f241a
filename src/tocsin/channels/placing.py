"""Puts a vendor's request where its credential says."""

from __future__ import annotations

import msgspec

from tocsin.conversation import Request
from tocsin.domain.app import Credential


def placed(request: Request, record: Credential, origin: str) -> Request:
    """The request at the address, if any, and under the authorities that the credential names."""
    if not origin and record.ca is None:
        return request
    return msgspec.structs.replace(
        request,
        origin=origin or request.origin,
        ca=record.ca,
        # The operator names the origin of a credential: that is no stranger's word.
        is_guarded=request.is_guarded and not origin,
    )
