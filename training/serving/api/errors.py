"""What goes wrong with a request, in the form of OpenAI's errors."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse, Response


class ApiError(Exception):
    """What becomes OpenAI's form of an error."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None, wait: int = 0):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.wait = status, message, param, code, wait

    def body(self) -> dict[str, Any]:
        """The JSON object of the reply, or of the last event of a stream."""
        kind = {401: "authentication_error", 429: "rate_limit_error"}.get(self.status, "invalid_request_error")
        if self.status >= 500:
            kind = "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """The reply."""
        headers = {"Retry-After": str(self.wait)} if self.wait else {}
        if self.status in (408, 413, 503):
            # The rest of the body is not read, or nothing more will be.
            headers["Connection"] = "close"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)
