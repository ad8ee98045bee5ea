"""What the store refuses, as exceptions.

StoreError
├── NotFound
├── WrongStatus
├── Overtaken
├── LostLease
├── NameTaken
├── LastAdmin
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
    """The store refused."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").split("\n", 1)[0])


class NotFound(StoreError):
    """There is no such row."""


class WrongStatus(StoreError):
    """The job's status does not allow this."""


class Overtaken(StoreError):
    """Somebody else changed this meanwhile; nothing was changed, try again."""


class LostLease(StoreError):
    """The attempt no longer holds the job: nothing it says may be written."""

    def __init__(self, job_id: int, attempt: int) -> None:
        super().__init__(f"attempt {attempt} no longer holds job {job_id}")
        self.job_id = job_id
        self.attempt = attempt


class NameTaken(StoreError):
    """The name is already in use."""


class LastAdmin(StoreError):
    """Nobody could administer the service any more."""


class TooManyTokens(StoreError):
    """The person has as many tokens as one person may have."""


class OutlivesParent(StoreError):
    """A token cannot be valid for longer than the token that it is made with."""


class BadSecret(StoreError):
    """The secret cannot be an administrator's token."""


class DatasetUnavailable(StoreError):
    """The dataset is not registered, or its registration failed."""


class MixedDevices(StoreError):
    """A study's jobs must be able to run on one kind of device, but some ask for cpu and some for cuda."""


class BadCursor(StoreError):
    """The cursor is not one that this service gave out."""


class BadQuery(StoreError):
    """The query cannot be understood; `position` is the 0-based character that shows why."""

    def __init__(self, detail: str, position: int) -> None:
        super().__init__(detail)
        self.detail = detail
        self.position = position


class StorageRefused(StoreError):
    """The folder is not this database's storage, or cannot be used."""


class KeyReused(StoreError):
    """The idempotency key was already used for a different request."""
