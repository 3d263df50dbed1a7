"""The policy of the server: who may ask, from where, and how often."""

from collections.abc import Sequence

from msgspec import Struct, field

from mneme.web.auth import Keys
from mneme.web.limits import RateLimit
from mneme.web.proxies import TrustedProxies


class Policy(Struct, frozen=True):
    """Rules of admission; `origins` are those of web pages, `*` for any.

    `helps_stock_push` is whether a list tells the stock client to upload what it has: see `Store.stock_heads`.

    `proxies` are believed on whose behalf they ask.

    `only_local` is for a server that is open to all who reach it because only this machine does: it answers to no name
    that a web page could have made up for it (DNS rebinding).
    """

    keys: Keys = field(default_factory=lambda: Keys(()))
    rate_limit: RateLimit = field(default_factory=lambda: RateLimit(0))
    origins: Sequence[str] = ()
    only_local: bool = False
    helps_stock_push: bool = True
    proxies: TrustedProxies = field(default_factory=TrustedProxies)
