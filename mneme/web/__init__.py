"""The HTTP face of mneme: the wire contract on Klein and twisted.web.

A request passes `site` (bytes in, bounded), `front` (who may ask, and how often), `api` (what is asked for) and
`errors` (what is said when it cannot be had).
"""
