"""The part of a session that checks who logs in: AUTH exchanges, slow hashing off the loop, back-off on guessing."""

from __future__ import annotations

import secrets
from asyncio import Future

from postroad.auth.sasl import Challenge, Claim, Exchange, Failed, Login, Plain, Proven, Scram, Step, XOAuth2
from postroad.auth.smtpauth import Account, SmtpUsers
from postroad.inject import replies
from postroad.inject.events import Auth, AuthResponse
from postroad.inject.wire import Wire
from postroad.message import Reply


class Doorman(Wire):
    """Answers `Auth` and `AuthResponse`. After a login `account` says whose session it is."""

    __slots__ = ()

    def _on_auth(self, event: Auth) -> None:
        if self._listener.guesses.wait(self.remote, "", self._loop.time()):
            self._machine.answer(replies.AUTH_LATER)
            return
        self._mechanism = event.mechanism
        self._exchange = _exchange(event.mechanism, self._listener.users)
        self._advance(event.initial)

    def _on_auth_response(self, event: AuthResponse) -> None:
        self._advance(event.octets)

    def _advance(self, response: bytes | None) -> None:
        exchange = self._exchange
        assert exchange is not None, "the machine asks nothing of an exchange that has not begun"
        self._take(exchange.step(response))

    def _take(self, step: Step) -> None:
        match step:
            case Challenge(octets):
                self._machine.answer(replies.challenge(octets))
            case Claim():
                self._check(step)
            case Proven(user):
                if self._listener.guesses.wait(self.remote, user, self._loop.time()):
                    self._machine.answer(replies.AUTH_LATER)
                else:
                    self._logged_in(user, self._listener.users.account(user))
            case Failed(user):
                self._logged_in(user, None)

    def _check(self, claim: Claim) -> None:
        if self._listener.guesses.wait(self.remote, claim.user, self._loop.time()):
            self._machine.answer(replies.AUTH_LATER)
            return
        users = self._listener.users
        known = users.quickly(claim.user, claim.secret, self.remote, token=claim.token)
        if known is not None:
            self._logged_in(claim.user, known or None)
            return
        future = self._loop.run_in_executor(None, users.slowly, claim.user, claim.secret)
        self._task = future
        future.add_done_callback(lambda done: self._checked(claim.user, done))

    def _checked(self, user: str, done: Future[Account | None]) -> None:
        self._task = None
        if self._over or done.cancelled():
            return
        if done.exception() is not None:
            self._exchange = None
            self._machine.answer(Reply(454, "4.7.0 Temporary authentication failure"))
        else:
            self._logged_in(user, done.result())
        self._pump()

    def _logged_in(self, user: str, account: Account | None) -> None:
        """The exchange is over. None: this was nobody, or not with that secret."""
        self._may_log_in(user, account)

    def _may_log_in(self, user: str, account: Account | None) -> None:
        """Call `_log_in`, unless policy says otherwise."""
        raise NotImplementedError

    def _log_in(self, user: str, account: Account | None) -> None:
        self._exchange = None
        listener = self._listener
        if account is None:
            listener.auth_failures += 1
            listener.guesses.failed(self.remote, user, self._loop.time())
            self._machine.answer(replies.AUTH_FAILED)
            return
        listener.guesses.passed(self.remote, user)
        self.account = account
        self._machine.answer()
        self._offer_anew()
        self._context = self._told(self._machine.hello)


def _exchange(mechanism: str, users: SmtpUsers) -> Exchange:
    match mechanism:
        case "PLAIN":
            return Plain()
        case "LOGIN":
            return Login()
        case "XOAUTH2":
            return XOAuth2()
        case _:
            return Scram(users.verifier, secrets.token_urlsafe(18))
