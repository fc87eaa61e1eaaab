"""Signed sessions: a few values for each visitor, kept in a cookie that only we can write.

    app = server(Shop, middleware=[Sessions(os.environ["SESSION_SECRET"])])

    session = session_of(request)
    session["user"] = "ann"

The cookie is signed with itsdangerous, and not encrypted: visitors can read it, and not change it. One
whose signature is wrong or too old, or that is too large, counts as none, as if the visitor were new. What
a response that comes in parts changes after its head is lost.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from itsdangerous import BadData, TimestampSigner, URLSafeTimedSerializer

from extra.errors import LimitExceeded, LocalProtocolError
from extra.http.cookies import SameSite
from extra.http.request import Request
from extra.http.response import Response
from extra.http.router import Handler
from extra.payloads import JSONValue

__all__ = ["Session", "Sessions", "session_of"]

COOKIE_LIMIT_BYTES: Final = 4000
"""What browsers keep of one cookie, its name and attributes left out."""

SECRET_BYTES: Final = 16
"""The least that a secret has; `python -c 'import secrets; print(secrets.token_urlsafe())'` makes one."""

DAY_S: Final = 86_400

Session = dict[str, JSONValue]
"""What is kept for a visitor: anything that JSON can say. Empty for a new one; `clear()` forgets them."""

STATE: Final = "extra.session"


class Sessions:
    """A middleware that keeps a session for each visitor."""

    def __init__(
        self,
        secret: str | Sequence[str],
        *,
        cookie: str = "session",
        max_age_s: int = 14 * DAY_S,
        path: str = "/",
        domain: str = "",
        secure: bool | None = None,
        same_site: SameSite = "lax",
        cookie_limit_bytes: int = COOKIE_LIMIT_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Sign with `secret`, of 16 bytes or more; of several the last signs, and all are good to read.

        A session ends `max_age_s` after it was changed last. A `secure` cookie goes over HTTPS alone; None is
        as the request has come. `clock` gives Unix time.

        Raises:
            ValueError: a secret is too short, or there is none.
        """
        secrets = [secret] if isinstance(secret, str) else list(secret)
        if not secrets or any(len(each.encode()) < SECRET_BYTES for each in secrets):
            raise ValueError(f"a session's secret has {SECRET_BYTES} bytes or more")

        class Signer(TimestampSigner):
            def get_timestamp(self) -> int:
                return int(clock())

        self._signed = URLSafeTimedSerializer(
            secrets,
            salt=f"extra.sessions.{cookie}",
            signer=Signer,
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._cookie = cookie
        self._max_age_s = max_age_s
        self._path = path
        self._domain = domain
        self._secure = secure
        self._same_site: SameSite = same_site
        self._limit_bytes = cookie_limit_bytes

    async def __call__(self, request: Request, following: Handler) -> Response:
        """Let `following` answer, and keep what it has changed.

        Raises:
            LimitExceeded: the session has become too large for a cookie.
        """
        visit = _Visit(request.cookies.get(self._cookie, ""), self._read)
        request.state[STATE] = visit
        response = await following(request)
        if visit.session is not None:
            response.add_header("Vary", "Cookie")
            if msgspec.json.encode(visit.session) != visit.before:
                self._keep(request, response, visit.session)
        return response

    def _read(self, cookie: str) -> Session:
        if not cookie or len(cookie) > self._limit_bytes:
            return {}
        try:
            session: Any = self._signed.loads(cookie, max_age=self._max_age_s)
        except BadData:
            return {}
        return session if isinstance(session, dict) else {}

    def _keep(self, request: Request, response: Response, session: Session) -> None:
        secure = request.scheme == "https" if self._secure is None else self._secure
        if not session:
            response.delete_cookie(self._cookie, path=self._path, domain=self._domain, secure=secure)
            return
        text = self._signed.dumps(session)
        if len(text) > self._limit_bytes:
            raise LimitExceeded(f"session larger than cookie_limit_bytes={self._limit_bytes}")
        response.set_cookie(
            self._cookie,
            text,
            max_age_s=self._max_age_s,
            path=self._path,
            domain=self._domain,
            secure=secure,
            same_site=self._same_site,
        )


def session_of(request: Request) -> Session:
    """Return the session of who makes the request; what is changed in it is kept.

    Raises:
        LocalProtocolError: there is no `Sessions` among the middleware.
    """
    visit = request.state.get(STATE)
    if not isinstance(visit, _Visit):
        raise LocalProtocolError("no session: the application has no Sessions among its middleware")
    return visit.read()


class _Visit:
    """The session of one request, which is read when somebody asks for it."""

    def __init__(self, cookie: str, read: Callable[[str], Session]) -> None:
        self._cookie = cookie
        self._read = read
        self.session: Session | None = None
        self.before = b""

    def read(self) -> Session:
        if self.session is None:
            self.session = self._read(self._cookie)
            self.before = msgspec.json.encode(self.session)
        return self.session
