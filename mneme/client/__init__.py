"""The client of the server: blocking code, so that a command starts fast.

`connected` gives a `Client`, which has a method for each call of the API. `Sync` keeps the memory of one project on
this machine, a `Folder`, in step with the server. Only `agent` and what it is made of need a reactor.
"""
