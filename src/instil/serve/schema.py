"""The bodies that the API takes: every field of OpenAI's that is honoured, those that may be ignored without changing an answer, and for
the others a sentence. A field that is not here is refused by name."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_CHOICES, MOST_STOPS, MOST_TOP = 32, 16, 20
Tokens = Annotated[int, Field(ge=0, le=2**31)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, protected_namespaces=())


class StreamOptions(_Body):
    """Whether a stream ends with what it used."""

    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchema(_Body):
    """The schema that an answer must keep to."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] | bool = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Body):
    """Text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("response_format of type json_schema needs a json_schema, and no other type has one")
        return self


class Asked(_Body):
    """What both kinds of completion have. None is as good as leaving a field out, as OpenAI's clients expect."""

    model: str
    temperature: Annotated[float, Field(ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    n: Annotated[int, Field(ge=1, le=MOST_CHOICES)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    # Without effect on an answer:
    user: str | None = None

    @model_validator(mode="after")
    def _honoured(self) -> "Asked":
        for name in ("frequency_penalty", "presence_penalty", "logit_bias"):
            if getattr(self, name):
                raise ValueError(f"{name} is not supported: leave it out")
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options needs stream: true")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


class ChatBody(Asked):
    """POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=2**31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    # Without effect on an answer:
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    modalities: list[Literal["text"]] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "ChatBody":
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if self.tool_choice not in (None, "auto", "none"):
            raise ValueError("tool_choice is auto or none here: a model cannot be made to call a tool that it would not call")
        if self.parallel_tool_calls is False and self.tools:
            raise ValueError("parallel_tool_calls: false is not supported: leave it out")
        if self.tools and self.response_format and self.response_format.type != "text":
            raise ValueError("response_format and tools cannot be combined here: give one of them")
        return self

    @property
    def limit(self) -> int | None:
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens


class CompletionBody(Asked):
    """POST /v1/completions. `prompt`: one or several, as text or as token ids."""

    prompt: str | list[Tokens] | list[str] | list[list[Tokens]]
    max_tokens: Annotated[int, Field(ge=0, le=2**31)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None
    echo: bool | None = None
    best_of: int | None = None
    suffix: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> "CompletionBody":
        if self.suffix:
            raise ValueError("suffix is not supported: this model only continues text")
        if self.best_of not in (None, 1, self.n):
            raise ValueError("best_of is not supported: leave it out, or give the number of n")
        if not self.prompt:
            raise ValueError("prompt is empty")
        if len(self.prompts) * (self.n or 1) > 4 * MOST_CHOICES * MOST_CHOICES:
            raise ValueError(f"{len(self.prompts)} prompts times n are too many for one request")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [one for one in self.prompt if not isinstance(one, int)]
