"""What can go wrong without a mistake here."""


class NotMeasured(Exception):
    """Something could not be measured; the message is all that a person needs to know."""
