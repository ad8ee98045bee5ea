"""Errors of the store; the first line of a class's docstring is its default message.

StoreError
├── NotFound
├── WrongStatus
├── InUse
├── Overtaken
├── LostLease
├── NameTaken
├── LastAdmin
├── LimitReached
├── LoginRefused
├── LoginTaken
├── Reserved
├── PriorityRefused
├── ProjectRefused
├── TooManyTokens
├── OutlivesParent
├── BadSecret
├── DatasetUnavailable
├── MixedDevices
├── BadCursor
├── BadQuery
├── StorageRefused
└── KeyReused
"""


class StoreError(Exception):
    """The store refused the request."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n", 1)[0])


class NotFound(StoreError):
    """The row does not exist."""


class WrongStatus(StoreError):
    """The job's status does not allow this."""


class InUse(StoreError):
    """Something else still needs this."""


class Overtaken(StoreError):
    """Another request changed this at the same time; nothing was changed, try again."""


class LostLease(StoreError):
    """The attempt no longer holds the job, so its writes are rejected."""

    def __init__(self, job_id: int, attempt: int) -> None:
        super().__init__(f"attempt {attempt} no longer holds job {job_id}")
        self.job_id = job_id
        self.attempt = attempt


class NameTaken(StoreError):
    """The name is already in use."""


class LastAdmin(StoreError):
    """The change would leave the service without an admin who can sign in, or a private project without one."""


class LimitReached(StoreError):
    """A limit of this person is reached."""


class LoginRefused(StoreError):
    """Who has logged in at the identity provider has no account here."""


class LoginTaken(StoreError):
    """The login at the identity provider opens somebody else's account."""


class Reserved(StoreError):
    """The device is reserved already."""


class PriorityRefused(StoreError):
    """This person may not ask for such a high priority."""


class ProjectRefused(StoreError):
    """This person may not submit to the project, or make it private."""


class TooManyTokens(StoreError):
    """The user already has the maximum number of valid tokens."""


class OutlivesParent(StoreError):
    """A token cannot be valid for longer than the token that it is made with."""


class BadSecret(StoreError):
    """The secret cannot be used as an admin's token."""


class DatasetUnavailable(StoreError):
    """The dataset is not registered, or its registration failed."""


class MixedDevices(StoreError):
    """A study's jobs must be able to run on one kind of device, but some ask for cpu and some for cuda."""


class BadCursor(StoreError):
    """The cursor is invalid: pass the `next_cursor` of the previous page of the same list."""


class BadQuery(StoreError):
    """The query is invalid; `position` is the 0-based index of the offending character."""

    def __init__(self, detail: str, position: int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.position = position


class StorageRefused(StoreError):
    """The folder is not the storage of this database, or cannot be used."""


class KeyReused(StoreError):
    """The idempotency key was already used for a different request."""
