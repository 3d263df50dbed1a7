"""The HTTP face of mneme: the wire contract in routes of Klein's, on connections of twisted.web's.

A request passes `site` (bytes in, bounded), `request` (its body and its answer), `front` (who may ask, and how often),
`routes` (by what it is answered), `api` (what is asked for) and `errors` (what is said when it cannot be had).
"""
