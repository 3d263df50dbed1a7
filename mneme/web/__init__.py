"""HTTP: the wire contract as routes of Klein, on connections of twisted.web.

A request passes `site` and `connection` (bytes in, bounded), `request` (its body), `admission` (who may ask, and how
often), `tree` and `routes` (which handler), and `api` (the handlers). `errors` has the one table of faults.
"""
