"""The tree of resources below the admission."""

from twisted.web.resource import IResource, Resource

from mneme.web.answers import Answer
from mneme.web.errors import problem
from mneme.web.request import Request


class Tree(Resource):
    """Resources by the first segment of a path; any other path is the API's."""

    def __init__(self, api: IResource) -> None:
        super().__init__()
        self._api = api

    def getChildWithDefault(self, path: bytes, request: Request) -> IResource:
        """The resource of a path, whose segments the API gets all."""
        child: IResource | None = self.children.get(path)
        if child is not None:
            return child
        if not path and request.postpath:
            return _not_found()
        request.prepath, request.postpath = [], [path, *(request.postpath or [])]
        return self._api


def _not_found() -> Answer:
    """Answer to a path that begins with two slashes: Klein would see one."""
    return problem(404, "Not found")
