"""Why a login at the identity provider fails; the messages are for the person who logs in."""


class ProviderAway(Exception):
    """The identity provider can't be asked."""


class NotAdmitted(Exception):
    """The login was not begun here, or the provider, or what it says of the person, opens no account."""
