"""Takes the receipts that vendors post: `/v3/offline_push_report/<vendor>`.

The path is Tencent's, so that only the host name changes in a vendor's console
(trtc.io/document/72701, read 2026-11). Each vendor gets the answer that it expects, never the
envelope. A receipt that cannot be booked now is answered 503, and the vendor posts it again.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from tocsin.api.http import JSON_TYPE, receive_body, route
from tocsin.errors import CallError, StoreError
from tocsin.log import get_logger
from tocsin.pipeline.receipts import Receiving

PATH = "/v3/offline_push_report/{vendor}"
BODY_MAX_BYTES = 1 << 20
"""A thousand receipts of a quarter kilobyte, four times over."""


class ReceiptPages:
    """One page for all vendors that post receipts."""

    def __init__(self, receiving: Receiving) -> None:
        self._receiving = receiving
        self._log = get_logger(__name__)

    def routes(self) -> list[BaseRoute]:
        """The routes of the pages."""
        return [route(PATH, self._take_receipts, "POST")]

    async def _take_receipts(self, request: Request) -> Response:
        try:
            body = await receive_body(request.receive, BODY_MAX_BYTES)
        except CallError:
            return Response(status_code=413)
        vendor = request.path_params["vendor"]
        try:
            answer = await self._receiving.take(vendor, dict(request.headers), body)
        except StoreError as fault:
            self._log.warning("receipts put off", channel=vendor, fault=str(fault))
            return Response(status_code=503)
        if answer is None:
            return Response(status_code=404)
        return Response(answer.body, answer.status, media_type=JSON_TYPE)
