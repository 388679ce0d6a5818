"""What routes are given: the studio's place, and what is sent to them; a field that nobody knows is refused."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from tunebook.studio.place import Place


def the_place(request: Request) -> Place:
    """The folders of this studio."""
    place: Place = request.app.state.place
    return place


Here = Annotated[Place, Depends(the_place)]


class Given(BaseModel):
    """The body of a change."""

    model_config = ConfigDict(extra="forbid")


class Nothing(Given):
    """A change that needs no words: `{}`."""
