import datetime

from corella.v1 import retriever_pb2 as _retriever_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MemoryState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MEMORY_STATE_UNSPECIFIED: _ClassVar[MemoryState]
    MEMORY_STATE_EMPTY: _ClassVar[MemoryState]
    MEMORY_STATE_RECALLED: _ClassVar[MemoryState]
    MEMORY_STATE_DEGRADED: _ClassVar[MemoryState]
    MEMORY_STATE_REDACTED: _ClassVar[MemoryState]

class RefusalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_REASON_UNSPECIFIED: _ClassVar[RefusalReason]
    REFUSAL_REASON_NO_PASSAGES: _ClassVar[RefusalReason]
    REFUSAL_REASON_WEAK_EVIDENCE: _ClassVar[RefusalReason]
    REFUSAL_REASON_MODEL_DECLINED: _ClassVar[RefusalReason]
    REFUSAL_REASON_UNSUPPORTED: _ClassVar[RefusalReason]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_LENGTH: _ClassVar[FinishReason]
    FINISH_REASON_REFUSED: _ClassVar[FinishReason]

class ChatRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHAT_ROLE_UNSPECIFIED: _ClassVar[ChatRole]
    CHAT_ROLE_SYSTEM: _ClassVar[ChatRole]
    CHAT_ROLE_USER: _ClassVar[ChatRole]
    CHAT_ROLE_ASSISTANT: _ClassVar[ChatRole]

class Rating(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RATING_UNSPECIFIED: _ClassVar[Rating]
    RATING_UP: _ClassVar[Rating]
    RATING_DOWN: _ClassVar[Rating]
MEMORY_STATE_UNSPECIFIED: MemoryState
MEMORY_STATE_EMPTY: MemoryState
MEMORY_STATE_RECALLED: MemoryState
MEMORY_STATE_DEGRADED: MemoryState
MEMORY_STATE_REDACTED: MemoryState
REFUSAL_REASON_UNSPECIFIED: RefusalReason
REFUSAL_REASON_NO_PASSAGES: RefusalReason
REFUSAL_REASON_WEAK_EVIDENCE: RefusalReason
REFUSAL_REASON_MODEL_DECLINED: RefusalReason
REFUSAL_REASON_UNSUPPORTED: RefusalReason
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_LENGTH: FinishReason
FINISH_REASON_REFUSED: FinishReason
CHAT_ROLE_UNSPECIFIED: ChatRole
CHAT_ROLE_SYSTEM: ChatRole
CHAT_ROLE_USER: ChatRole
CHAT_ROLE_ASSISTANT: ChatRole
RATING_UNSPECIFIED: Rating
RATING_UP: Rating
RATING_DOWN: Rating

class AnswerStyle(_message.Message):
    __slots__ = ("style", "tone", "readability", "verbosity", "persona", "instructions")
    STYLE_FIELD_NUMBER: _ClassVar[int]
    TONE_FIELD_NUMBER: _ClassVar[int]
    READABILITY_FIELD_NUMBER: _ClassVar[int]
    VERBOSITY_FIELD_NUMBER: _ClassVar[int]
    PERSONA_FIELD_NUMBER: _ClassVar[int]
    INSTRUCTIONS_FIELD_NUMBER: _ClassVar[int]
    style: str
    tone: str
    readability: str
    verbosity: str
    persona: str
    instructions: str
    def __init__(self, style: _Optional[str] = ..., tone: _Optional[str] = ..., readability: _Optional[str] = ..., verbosity: _Optional[str] = ..., persona: _Optional[str] = ..., instructions: _Optional[str] = ...) -> None: ...

class RetrievalOptions(_message.Message):
    __slots__ = ("mode", "fusion", "filter", "passage_limit", "refusal_threshold")
    MODE_FIELD_NUMBER: _ClassVar[int]
    FUSION_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    mode: _retriever_pb2.SearchMode
    fusion: _retriever_pb2.Fusion
    filter: _containers.RepeatedCompositeFieldContainer[_retriever_pb2.MetadataCondition]
    passage_limit: int
    refusal_threshold: float
    def __init__(self, mode: _Optional[_Union[_retriever_pb2.SearchMode, str]] = ..., fusion: _Optional[_Union[_retriever_pb2.Fusion, str]] = ..., filter: _Optional[_Iterable[_Union[_retriever_pb2.MetadataCondition, _Mapping]]] = ..., passage_limit: _Optional[int] = ..., refusal_threshold: _Optional[float] = ...) -> None: ...

class GenerationOptions(_message.Message):
    __slots__ = ("max_tokens", "temperature", "top_p", "seed")
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    def __init__(self, max_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ...) -> None: ...

class AskRequest(_message.Message):
    __slots__ = ("question", "corpus", "conversation", "summary_token", "retrieval", "style", "generation", "skip_memory", "adapter")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    SKIP_MEMORY_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    question: str
    corpus: str
    conversation: str
    summary_token: bytes
    retrieval: RetrievalOptions
    style: AnswerStyle
    generation: GenerationOptions
    skip_memory: bool
    adapter: str
    def __init__(self, question: _Optional[str] = ..., corpus: _Optional[str] = ..., conversation: _Optional[str] = ..., summary_token: _Optional[bytes] = ..., retrieval: _Optional[_Union[RetrievalOptions, _Mapping]] = ..., style: _Optional[_Union[AnswerStyle, _Mapping]] = ..., generation: _Optional[_Union[GenerationOptions, _Mapping]] = ..., skip_memory: bool = ..., adapter: _Optional[str] = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("started", "passages", "delta", "citations", "completion", "memory")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    started: AnswerStarted
    passages: PassagesFound
    delta: TextDelta
    citations: CitationsResolved
    completion: Completion
    memory: Memory
    def __init__(self, started: _Optional[_Union[AnswerStarted, _Mapping]] = ..., passages: _Optional[_Union[PassagesFound, _Mapping]] = ..., delta: _Optional[_Union[TextDelta, _Mapping]] = ..., citations: _Optional[_Union[CitationsResolved, _Mapping]] = ..., completion: _Optional[_Union[Completion, _Mapping]] = ..., memory: _Optional[_Union[Memory, _Mapping]] = ...) -> None: ...

class AnswerStarted(_message.Message):
    __slots__ = ("answer", "conversation", "standalone_question", "memory_state", "trace_id")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    STANDALONE_QUESTION_FIELD_NUMBER: _ClassVar[int]
    MEMORY_STATE_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    answer: str
    conversation: str
    standalone_question: str
    memory_state: MemoryState
    trace_id: str
    def __init__(self, answer: _Optional[str] = ..., conversation: _Optional[str] = ..., standalone_question: _Optional[str] = ..., memory_state: _Optional[_Union[MemoryState, str]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class PassagesFound(_message.Message):
    __slots__ = ("passages", "answerability", "evidence")
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    ANSWERABILITY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    passages: _containers.RepeatedCompositeFieldContainer[_retriever_pb2.Passage]
    answerability: float
    evidence: _retriever_pb2.SearchEvidence
    def __init__(self, passages: _Optional[_Iterable[_Union[_retriever_pb2.Passage, _Mapping]]] = ..., answerability: _Optional[float] = ..., evidence: _Optional[_Union[_retriever_pb2.SearchEvidence, _Mapping]] = ...) -> None: ...

class TextDelta(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class Answer(_message.Message):
    __slots__ = ("name", "text", "citations", "refused", "refusal_reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    CITATIONS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    citations: _containers.RepeatedCompositeFieldContainer[Citation]
    refused: bool
    refusal_reason: RefusalReason
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ..., citations: _Optional[_Iterable[_Union[Citation, _Mapping]]] = ..., refused: bool = ..., refusal_reason: _Optional[_Union[RefusalReason, str]] = ...) -> None: ...

class Citation(_message.Message):
    __slots__ = ("number", "uri", "title", "heading_path", "quote", "passage", "spans", "from_model", "support")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    HEADING_PATH_FIELD_NUMBER: _ClassVar[int]
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    FROM_MODEL_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    number: int
    uri: str
    title: str
    heading_path: _containers.RepeatedScalarFieldContainer[str]
    quote: str
    passage: str
    spans: _containers.RepeatedCompositeFieldContainer[TextSpan]
    from_model: bool
    support: float
    def __init__(self, number: _Optional[int] = ..., uri: _Optional[str] = ..., title: _Optional[str] = ..., heading_path: _Optional[_Iterable[str]] = ..., quote: _Optional[str] = ..., passage: _Optional[str] = ..., spans: _Optional[_Iterable[_Union[TextSpan, _Mapping]]] = ..., from_model: bool = ..., support: _Optional[float] = ...) -> None: ...

class TextSpan(_message.Message):
    __slots__ = ("start", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: int
    end: int
    def __init__(self, start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class CitationsResolved(_message.Message):
    __slots__ = ("answer", "dropped_citation_count", "dropped_sentence_count")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    DROPPED_CITATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_SENTENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    dropped_citation_count: int
    dropped_sentence_count: int
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ..., dropped_citation_count: _Optional[int] = ..., dropped_sentence_count: _Optional[int] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "recall_duration", "retrieval_duration", "time_to_first_token", "generation_duration", "total_duration")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RECALL_DURATION_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_DURATION_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    GENERATION_DURATION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_DURATION_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    recall_duration: _duration_pb2.Duration
    retrieval_duration: _duration_pb2.Duration
    time_to_first_token: _duration_pb2.Duration
    generation_duration: _duration_pb2.Duration
    total_duration: _duration_pb2.Duration
    def __init__(self, prompt_tokens: _Optional[int] = ..., cached_prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., recall_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., retrieval_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., time_to_first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., generation_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., total_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Completion(_message.Message):
    __slots__ = ("usage", "finish_reason", "model", "adapter")
    USAGE_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    usage: Usage
    finish_reason: FinishReason
    model: str
    adapter: str
    def __init__(self, usage: _Optional[_Union[Usage, _Mapping]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., model: _Optional[str] = ..., adapter: _Optional[str] = ...) -> None: ...

class Memory(_message.Message):
    __slots__ = ("summary_token", "summary_token_expire_time", "state", "topic_changed", "budget")
    SUMMARY_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_TOKEN_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_CHANGED_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    summary_token: bytes
    summary_token_expire_time: _timestamp_pb2.Timestamp
    state: MemoryState
    topic_changed: bool
    budget: ConversationBudget
    def __init__(self, summary_token: _Optional[bytes] = ..., summary_token_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[MemoryState, str]] = ..., topic_changed: bool = ..., budget: _Optional[_Union[ConversationBudget, _Mapping]] = ...) -> None: ...

class ConversationBudget(_message.Message):
    __slots__ = ("turn_count", "max_turns", "summary_tokens", "max_summary_tokens", "exhausted")
    TURN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_TURNS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_SUMMARY_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EXHAUSTED_FIELD_NUMBER: _ClassVar[int]
    turn_count: int
    max_turns: int
    summary_tokens: int
    max_summary_tokens: int
    exhausted: bool
    def __init__(self, turn_count: _Optional[int] = ..., max_turns: _Optional[int] = ..., summary_tokens: _Optional[int] = ..., max_summary_tokens: _Optional[int] = ..., exhausted: bool = ...) -> None: ...

class ChatMessage(_message.Message):
    __slots__ = ("role", "text")
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    role: ChatRole
    text: str
    def __init__(self, role: _Optional[_Union[ChatRole, str]] = ..., text: _Optional[str] = ...) -> None: ...

class CompleteRequest(_message.Message):
    __slots__ = ("messages", "generation", "adapter")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    generation: GenerationOptions
    adapter: str
    def __init__(self, messages: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ..., generation: _Optional[_Union[GenerationOptions, _Mapping]] = ..., adapter: _Optional[str] = ...) -> None: ...

class CompleteResponse(_message.Message):
    __slots__ = ("delta", "completion")
    DELTA_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    delta: TextDelta
    completion: Completion
    def __init__(self, delta: _Optional[_Union[TextDelta, _Mapping]] = ..., completion: _Optional[_Union[Completion, _Mapping]] = ...) -> None: ...

class SummarizeRequest(_message.Message):
    __slots__ = ("previous_summary", "turns", "max_tokens")
    PREVIOUS_SUMMARY_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    previous_summary: str
    turns: _containers.RepeatedCompositeFieldContainer[Turn]
    max_tokens: int
    def __init__(self, previous_summary: _Optional[str] = ..., turns: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class SummarizeResponse(_message.Message):
    __slots__ = ("summary", "usage")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    summary: str
    usage: Usage
    def __init__(self, summary: _Optional[str] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ...) -> None: ...

class Turn(_message.Message):
    __slots__ = ("question", "answer", "standalone_question", "create_time")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    STANDALONE_QUESTION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    question: str
    answer: str
    standalone_question: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, question: _Optional[str] = ..., answer: _Optional[str] = ..., standalone_question: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Conversation(_message.Message):
    __slots__ = ("name", "summary", "turns", "budget", "create_time", "update_time", "expire_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    summary: str
    turns: _containers.RepeatedCompositeFieldContainer[Turn]
    budget: ConversationBudget
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., summary: _Optional[str] = ..., turns: _Optional[_Iterable[_Union[Turn, _Mapping]]] = ..., budget: _Optional[_Union[ConversationBudget, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetConversationRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetConversationResponse(_message.Message):
    __slots__ = ("conversation",)
    CONVERSATION_FIELD_NUMBER: _ClassVar[int]
    conversation: Conversation
    def __init__(self, conversation: _Optional[_Union[Conversation, _Mapping]] = ...) -> None: ...

class ListConversationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListConversationsResponse(_message.Message):
    __slots__ = ("conversations", "next_page_token")
    CONVERSATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    conversations: _containers.RepeatedCompositeFieldContainer[Conversation]
    next_page_token: str
    def __init__(self, conversations: _Optional[_Iterable[_Union[Conversation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DeleteConversationRequest(_message.Message):
    __slots__ = ("name", "allow_missing")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MISSING_FIELD_NUMBER: _ClassVar[int]
    name: str
    allow_missing: bool
    def __init__(self, name: _Optional[str] = ..., allow_missing: bool = ...) -> None: ...

class DeleteConversationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Feedback(_message.Message):
    __slots__ = ("name", "rating", "corrected_text", "comment", "create_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    RATING_FIELD_NUMBER: _ClassVar[int]
    CORRECTED_TEXT_FIELD_NUMBER: _ClassVar[int]
    COMMENT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    rating: Rating
    corrected_text: str
    comment: str
    create_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., rating: _Optional[_Union[Rating, str]] = ..., corrected_text: _Optional[str] = ..., comment: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateFeedbackRequest(_message.Message):
    __slots__ = ("parent", "feedback")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    parent: str
    feedback: Feedback
    def __init__(self, parent: _Optional[str] = ..., feedback: _Optional[_Union[Feedback, _Mapping]] = ...) -> None: ...

class CreateFeedbackResponse(_message.Message):
    __slots__ = ("feedback",)
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    feedback: Feedback
    def __init__(self, feedback: _Optional[_Union[Feedback, _Mapping]] = ...) -> None: ...

class ListFeedbackRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class FeedbackRecord(_message.Message):
    __slots__ = ("feedback", "question", "standalone_question", "answer", "passages", "corpus", "adapter", "trace_id")
    FEEDBACK_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    STANDALONE_QUESTION_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    CORPUS_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    feedback: Feedback
    question: str
    standalone_question: str
    answer: Answer
    passages: _containers.RepeatedScalarFieldContainer[str]
    corpus: str
    adapter: str
    trace_id: str
    def __init__(self, feedback: _Optional[_Union[Feedback, _Mapping]] = ..., question: _Optional[str] = ..., standalone_question: _Optional[str] = ..., answer: _Optional[_Union[Answer, _Mapping]] = ..., passages: _Optional[_Iterable[str]] = ..., corpus: _Optional[str] = ..., adapter: _Optional[str] = ..., trace_id: _Optional[str] = ...) -> None: ...

class ListFeedbackResponse(_message.Message):
    __slots__ = ("records", "next_page_token")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[FeedbackRecord]
    next_page_token: str
    def __init__(self, records: _Optional[_Iterable[_Union[FeedbackRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetGenerationModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetGenerationModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: GenerationModel
    def __init__(self, model: _Optional[_Union[GenerationModel, _Mapping]] = ...) -> None: ...

class GenerationModel(_message.Message):
    __slots__ = ("display_name", "context_tokens", "adapter", "engine", "fingerprint", "max_adapter_rank")
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    MAX_ADAPTER_RANK_FIELD_NUMBER: _ClassVar[int]
    display_name: str
    context_tokens: int
    adapter: str
    engine: str
    fingerprint: str
    max_adapter_rank: int
    def __init__(self, display_name: _Optional[str] = ..., context_tokens: _Optional[int] = ..., adapter: _Optional[str] = ..., engine: _Optional[str] = ..., fingerprint: _Optional[str] = ..., max_adapter_rank: _Optional[int] = ...) -> None: ...

class RenderPromptRequest(_message.Message):
    __slots__ = ("question", "chat")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    CHAT_FIELD_NUMBER: _ClassVar[int]
    question: GroundedQuestion
    chat: Chat
    def __init__(self, question: _Optional[_Union[GroundedQuestion, _Mapping]] = ..., chat: _Optional[_Union[Chat, _Mapping]] = ...) -> None: ...

class GroundedQuestion(_message.Message):
    __slots__ = ("question", "passages", "style")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    STYLE_FIELD_NUMBER: _ClassVar[int]
    question: str
    passages: _containers.RepeatedCompositeFieldContainer[_retriever_pb2.Passage]
    style: AnswerStyle
    def __init__(self, question: _Optional[str] = ..., passages: _Optional[_Iterable[_Union[_retriever_pb2.Passage, _Mapping]]] = ..., style: _Optional[_Union[AnswerStyle, _Mapping]] = ...) -> None: ...

class Chat(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ...) -> None: ...

class RenderPromptResponse(_message.Message):
    __slots__ = ("messages", "token_ids", "passage_count", "answerability", "refusal_threshold")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    PASSAGE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ANSWERABILITY_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    passage_count: int
    answerability: float
    refusal_threshold: float
    def __init__(self, messages: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ..., token_ids: _Optional[_Iterable[int]] = ..., passage_count: _Optional[int] = ..., answerability: _Optional[float] = ..., refusal_threshold: _Optional[float] = ...) -> None: ...

class CiteTextRequest(_message.Message):
    __slots__ = ("question", "passages", "text")
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    PASSAGES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    question: str
    passages: _containers.RepeatedCompositeFieldContainer[_retriever_pb2.Passage]
    text: str
    def __init__(self, question: _Optional[str] = ..., passages: _Optional[_Iterable[_Union[_retriever_pb2.Passage, _Mapping]]] = ..., text: _Optional[str] = ...) -> None: ...

class CiteTextResponse(_message.Message):
    __slots__ = ("answer", "dropped_citation_count", "dropped_sentence_count")
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    DROPPED_CITATION_COUNT_FIELD_NUMBER: _ClassVar[int]
    DROPPED_SENTENCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    answer: Answer
    dropped_citation_count: int
    dropped_sentence_count: int
    def __init__(self, answer: _Optional[_Union[Answer, _Mapping]] = ..., dropped_citation_count: _Optional[int] = ..., dropped_sentence_count: _Optional[int] = ...) -> None: ...

class ScoreTextRequest(_message.Message):
    __slots__ = ("messages", "text", "adapter")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[ChatMessage]
    text: str
    adapter: str
    def __init__(self, messages: _Optional[_Iterable[_Union[ChatMessage, _Mapping]]] = ..., text: _Optional[str] = ..., adapter: _Optional[str] = ...) -> None: ...

class ScoreTextResponse(_message.Message):
    __slots__ = ("token_count", "log_likelihood", "adapter")
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOG_LIKELIHOOD_FIELD_NUMBER: _ClassVar[int]
    ADAPTER_FIELD_NUMBER: _ClassVar[int]
    token_count: int
    log_likelihood: float
    adapter: str
    def __init__(self, token_count: _Optional[int] = ..., log_likelihood: _Optional[float] = ..., adapter: _Optional[str] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("totals", "since")
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    totals: _containers.RepeatedCompositeFieldContainer[UsageTotal]
    since: _timestamp_pb2.Timestamp
    def __init__(self, totals: _Optional[_Iterable[_Union[UsageTotal, _Mapping]]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UsageTotal(_message.Message):
    __slots__ = ("purpose", "adapted", "count", "prompt_tokens", "cached_prompt_tokens", "completion_tokens", "retrieval_seconds", "engine_seconds")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    ADAPTED_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RETRIEVAL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    adapted: bool
    count: int
    prompt_tokens: int
    cached_prompt_tokens: int
    completion_tokens: int
    retrieval_seconds: float
    engine_seconds: float
    def __init__(self, purpose: _Optional[str] = ..., adapted: bool = ..., count: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., cached_prompt_tokens: _Optional[int] = ..., completion_tokens: _Optional[int] = ..., retrieval_seconds: _Optional[float] = ..., engine_seconds: _Optional[float] = ...) -> None: ...

class ForgetDocumentRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ForgetDocumentResponse(_message.Message):
    __slots__ = ("traces",)
    TRACES_FIELD_NUMBER: _ClassVar[int]
    traces: _containers.RepeatedCompositeFieldContainer[_retriever_pb2.Trace]
    def __init__(self, traces: _Optional[_Iterable[_Union[_retriever_pb2.Trace, _Mapping]]] = ...) -> None: ...

class GeneratorServiceAuditDocumentRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GeneratorServiceAuditDocumentResponse(_message.Message):
    __slots__ = ("name", "traces")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TRACES_FIELD_NUMBER: _ClassVar[int]
    name: str
    traces: _containers.RepeatedCompositeFieldContainer[_retriever_pb2.Trace]
    def __init__(self, name: _Optional[str] = ..., traces: _Optional[_Iterable[_Union[_retriever_pb2.Trace, _Mapping]]] = ...) -> None: ...
