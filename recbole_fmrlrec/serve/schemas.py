"""What requests and answers look like; OpenAPI is made from these."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


def _text(value: Any) -> Any:
    """An id that is a number is taken as its text, as everywhere else."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _whole(text: str) -> str:
    """JSON can name half a character of UTF-16, which no other form of text can hold."""
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("contains half a character (an unpaired surrogate)")
    return text


Text = Annotated[str, AfterValidator(_whole), Field(max_length=1000)]
ItemId = Annotated[Text, BeforeValidator(_text)]
K = Annotated[int, Field(ge=1, description="How many items.")]
_HISTORY = "Item ids, the oldest first; unknown ones are skipped and named in the answer."


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Which(_Request):
    """Which model: the first one at its largest size unless named."""

    model: Text | None = Field(default=None, description="A model's name, see GET /models.")
    size: int | None = Field(
        default=None, ge=1, description="One of its sizes; the largest by default."
    )


class Options(_Request):
    """What may be asked of a list."""

    k: K = 10
    exclude_seen: bool = Field(default=True, description="Leave out the items of the history.")
    candidates: list[ItemId] | None = Field(
        default=None, description="Choose from these items only."
    )
    diversify: float = Field(
        default=0.0, ge=0, le=1, description="0: the best; towards 1: the most varied"
    )
    max_per_group: int | None = Field(
        default=None, ge=1, description="Items that share a value at most."
    )
    group_by: Text | None = Field(
        default=None, description="The column that max_per_group is about."
    )
    explain: bool = Field(
        default=False, description="Say of each item which event added most to it."
    )


class RecommendRequest(Which, Options):
    """A history, or the id of a session, which has its model."""

    history: list[ItemId] | None = Field(default=None, description=_HISTORY)
    session_id: Text | None = None


class BatchRequest(Which, Options):
    """Several histories, asked the same."""

    histories: list[list[ItemId]] = Field(description="Histories, each as in POST /recommend.")


class SessionRequest(Which):
    """A new session; with a history, or one that was exported."""

    history: list[ItemId] = Field(default_factory=list, description=_HISTORY)
    exported: dict[str, Any] | None = Field(
        default=None, description="What GET /sessions/{session_id} gave; it has its model and size."
    )


class EventsRequest(Options):
    """Events of a session, the oldest first; with a k also the list after them."""

    items: list[ItemId] = Field(min_length=1)
    k: int | None = Field(default=None, ge=1, description="Answer with this many items.")  # type: ignore[assignment]


class ExplainRequest(Which):
    """Items to explain after a history or a session."""

    history: list[ItemId] | None = Field(default=None, description=_HISTORY)
    session_id: Text | None = None
    items: list[ItemId] = Field(min_length=1)


class Problem(BaseModel):
    """Why a request was not answered."""

    error: str
    request_id: str


class From(BaseModel):
    """The model that answered."""

    model_config = ConfigDict(protected_namespaces=())
    model: str
    size: int
    version: str


class Event(BaseModel):
    """An event of the history, and what it added to a score."""

    item_id: str
    title: str | None
    contribution: float


class Item(BaseModel):
    """An item of a list; `because` where reasons were asked for, `picture` where there are any."""

    item_id: str
    title: str | None
    score: float
    because: Event | None = None
    picture: bool = False


class List(BaseModel):
    """The best first; `unknown` are items that the model does not know and skipped."""

    items: list[Item]
    unknown: list[str] = []


class Answer(From, List):
    """A list."""


class BatchAnswer(From):
    """A list for each history."""

    results: list[List]


class SessionAnswer(From):
    """A session; `items` where a list was asked for, `replayed` where the model was exchanged."""

    session_id: str
    events: int
    unknown: list[str] = []
    replayed: int = Field(
        default=0, description="Events that a new version of the model read again."
    )
    gone: list[str] = Field(
        default=[], description="Events of items that the new version of the model has not."
    )
    items: list[Item] | None = None


class Explained(BaseModel):
    """What each event added to an item's score: the score less the score without this event."""

    item_id: str
    title: str | None
    score: float
    events: list[Event]


class ExplainAnswer(From):
    """Explanations in the order of the items."""

    explanations: list[Explained]
    unknown: list[str] = []


class Found(BaseModel):
    """An item of the catalogue; `picture` says whether GET /items/{item_id}/picture has one."""

    item_id: str
    title: str | None
    picture: bool


class FoundItems(From):
    """Items whose title holds a text."""

    items: list[Found]


class ModelFacts(From):
    """A model at one size; `quality` holds its test metrics, `search` is null for exact search."""

    bytes: int
    items: int
    dataset: str
    sizes: list[int]
    max_history: int
    table_dtype: str
    search: dict[str, Any] | None
    columns: list[str]
    quality: dict[str, Any]


class ModelList(BaseModel):
    """All models."""

    models: list[ModelFacts]
    limits: dict[str, float]


class FolderOutcome(BaseModel):
    """What became of a folder."""

    folder: str
    outcome: str
    reason: str | None = None


class Reloaded(BaseModel):
    """What became of each folder; with status 409 at least one was refused."""

    folders: list[FolderOutcome]


class State(BaseModel):
    """That the server is there, or ready."""

    status: str
