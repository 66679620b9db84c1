"""What the chat page may ask, field by field: anything else in a request is refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from instil.core.values import Message
from instil.serve.votes import Sampled

Text = Annotated[str, Field(max_length=4_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=1000)]


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Turn(_Asked):
    """One turn of a conversation, as the page keeps it."""

    role: Literal["system", "user", "assistant"]
    content: Text


class _Conversation(_Asked):
    messages: tuple[Turn, ...] = Field(min_length=1, max_length=10_000)

    @property
    def turns(self) -> list[dict[str, str]]:
        """As the API takes them."""
        return [turn.model_dump() for turn in self.messages]

    @property
    def conversation(self) -> tuple[Message, ...]:
        return tuple(Message(role=turn.role, content=turn.content) for turn in self.messages)


class _Sampling(_Conversation):
    temperature: float = Field(0.0, ge=0, le=100)
    top_p: float = Field(1.0, gt=0, le=1)
    max_tokens: int | None = Field(None, ge=1, le=1_000_000)
    seed: int = Field(0, ge=-(2**63), lt=2**63)

    @property
    def sampled(self) -> Sampled:
        return Sampled(self.temperature, self.top_p, self.max_tokens, self.seed)


class AskedTokens(_Conversation):
    """The tokens that the model would be given."""

    model: Name


class AskedProbabilities(_Conversation):
    """How likely the model finds each token of `answer`. `ended`: and that it ends there. `alternatives`: likelier ones to name."""

    model: Name
    answer: Text
    ended: bool = True
    alternatives: int = Field(5, ge=1, le=20)


class AskedBlind(_Sampling):
    """Answers of two models, without their names."""

    models: tuple[Name, Name]


class AskedVote(_Asked):
    """Which side of a pair is better; `skip`: tell who is who, and save nothing."""

    pair: Name
    choice: Literal["A", "B", "both good", "both bad", "skip"]


class AskedThumb(_Sampling):
    """What somebody thinks of one answer; `good` None: nothing any more. `vote`: the page's own name for the answer."""

    model: Name
    vote: Name
    answer: Text
    good: bool | None
