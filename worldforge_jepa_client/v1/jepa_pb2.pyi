from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_UINT8: _ClassVar[DataType]
    DATA_TYPE_INT32: _ClassVar[DataType]
    DATA_TYPE_INT64: _ClassVar[DataType]
    DATA_TYPE_BOOL: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_FLOAT64: _ClassVar[DataType]
    DATA_TYPE_BFLOAT16: _ClassVar[DataType]

class Objective(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OBJECTIVE_UNSPECIFIED: _ClassVar[Objective]
    OBJECTIVE_L2: _ClassVar[Objective]
    OBJECTIVE_L1: _ClassVar[Objective]
    OBJECTIVE_COSINE: _ClassVar[Objective]

class PlanMethod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLAN_METHOD_UNSPECIFIED: _ClassVar[PlanMethod]
    PLAN_METHOD_CEM: _ClassVar[PlanMethod]
    PLAN_METHOD_ICEM: _ClassVar[PlanMethod]
    PLAN_METHOD_MPPI: _ClassVar[PlanMethod]
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_UINT8: DataType
DATA_TYPE_INT32: DataType
DATA_TYPE_INT64: DataType
DATA_TYPE_BOOL: DataType
DATA_TYPE_FLOAT16: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_FLOAT64: DataType
DATA_TYPE_BFLOAT16: DataType
OBJECTIVE_UNSPECIFIED: Objective
OBJECTIVE_L2: Objective
OBJECTIVE_L1: Objective
OBJECTIVE_COSINE: Objective
PLAN_METHOD_UNSPECIFIED: PlanMethod
PLAN_METHOD_CEM: PlanMethod
PLAN_METHOD_ICEM: PlanMethod
PLAN_METHOD_MPPI: PlanMethod

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data", "shared")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    dtype: DataType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    shared: SharedMemory
    def __init__(self, dtype: _Optional[_Union[DataType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ..., shared: _Optional[_Union[SharedMemory, _Mapping]] = ...) -> None: ...

class SharedMemory(_message.Message):
    __slots__ = ("name", "offset", "length")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    offset: int
    length: int
    def __init__(self, name: _Optional[str] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class Observation(_message.Message):
    __slots__ = ("visual", "proprio")
    VISUAL_FIELD_NUMBER: _ClassVar[int]
    PROPRIO_FIELD_NUMBER: _ClassVar[int]
    visual: Tensor
    proprio: Tensor
    def __init__(self, visual: _Optional[_Union[Tensor, _Mapping]] = ..., proprio: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class PlanningContext(_message.Message):
    __slots__ = ("observation", "goal", "action_history")
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    GOAL_FIELD_NUMBER: _ClassVar[int]
    ACTION_HISTORY_FIELD_NUMBER: _ClassVar[int]
    observation: Observation
    goal: Observation
    action_history: Tensor
    def __init__(self, observation: _Optional[_Union[Observation, _Mapping]] = ..., goal: _Optional[_Union[Observation, _Mapping]] = ..., action_history: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class ScoreOptions(_message.Message):
    __slots__ = ("objective", "proprio_weight", "actions_are_normalized")
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    PROPRIO_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_ARE_NORMALIZED_FIELD_NUMBER: _ClassVar[int]
    objective: Objective
    proprio_weight: float
    actions_are_normalized: bool
    def __init__(self, objective: _Optional[_Union[Objective, str]] = ..., proprio_weight: _Optional[float] = ..., actions_are_normalized: bool = ...) -> None: ...

class ScoreRequest(_message.Message):
    __slots__ = ("model", "context", "context_id", "action_candidates", "options", "extra_info")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_INFO_FIELD_NUMBER: _ClassVar[int]
    model: str
    context: PlanningContext
    context_id: str
    action_candidates: Tensor
    options: ScoreOptions
    extra_info: _struct_pb2.Struct
    def __init__(self, model: _Optional[str] = ..., context: _Optional[_Union[PlanningContext, _Mapping]] = ..., context_id: _Optional[str] = ..., action_candidates: _Optional[_Union[Tensor, _Mapping]] = ..., options: _Optional[_Union[ScoreOptions, _Mapping]] = ..., extra_info: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ScoreResponse(_message.Message):
    __slots__ = ("scores", "best_index", "lower_is_better", "metadata", "timing")
    SCORES_FIELD_NUMBER: _ClassVar[int]
    BEST_INDEX_FIELD_NUMBER: _ClassVar[int]
    LOWER_IS_BETTER_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedScalarFieldContainer[float]
    best_index: int
    lower_is_better: bool
    metadata: _struct_pb2.Struct
    timing: Timing
    def __init__(self, scores: _Optional[_Iterable[float]] = ..., best_index: _Optional[int] = ..., lower_is_better: bool = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class ScoreStreamRequest(_message.Message):
    __slots__ = ("model", "context", "action_candidates", "options", "extra_info")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ACTION_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    EXTRA_INFO_FIELD_NUMBER: _ClassVar[int]
    model: str
    context: PlanningContext
    action_candidates: Tensor
    options: ScoreOptions
    extra_info: _struct_pb2.Struct
    def __init__(self, model: _Optional[str] = ..., context: _Optional[_Union[PlanningContext, _Mapping]] = ..., action_candidates: _Optional[_Union[Tensor, _Mapping]] = ..., options: _Optional[_Union[ScoreOptions, _Mapping]] = ..., extra_info: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ScoreStreamResponse(_message.Message):
    __slots__ = ("score", "error")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    score: ScoreResponse
    error: Error
    def __init__(self, score: _Optional[_Union[ScoreResponse, _Mapping]] = ..., error: _Optional[_Union[Error, _Mapping]] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("code", "message", "reason", "field", "retry_delay")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    reason: str
    field: str
    retry_delay: _duration_pb2.Duration
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., reason: _Optional[str] = ..., field: _Optional[str] = ..., retry_delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CreateContextRequest(_message.Message):
    __slots__ = ("model", "context")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    model: str
    context: PlanningContext
    def __init__(self, model: _Optional[str] = ..., context: _Optional[_Union[PlanningContext, _Mapping]] = ...) -> None: ...

class CreateContextResponse(_message.Message):
    __slots__ = ("context_id", "expire_time", "timing")
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    context_id: str
    expire_time: _timestamp_pb2.Timestamp
    timing: Timing
    def __init__(self, context_id: _Optional[str] = ..., expire_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class DeleteContextRequest(_message.Message):
    __slots__ = ("context_id",)
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    context_id: str
    def __init__(self, context_id: _Optional[str] = ...) -> None: ...

class DeleteContextResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EncodeRequest(_message.Message):
    __slots__ = ("model", "observation", "dtype")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    OBSERVATION_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    model: str
    observation: Observation
    dtype: DataType
    def __init__(self, model: _Optional[str] = ..., observation: _Optional[_Union[Observation, _Mapping]] = ..., dtype: _Optional[_Union[DataType, str]] = ...) -> None: ...

class EncodeResponse(_message.Message):
    __slots__ = ("latents", "timing")
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    latents: Latents
    timing: Timing
    def __init__(self, latents: _Optional[_Union[Latents, _Mapping]] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Latents(_message.Message):
    __slots__ = ("visual", "proprio")
    VISUAL_FIELD_NUMBER: _ClassVar[int]
    PROPRIO_FIELD_NUMBER: _ClassVar[int]
    visual: Tensor
    proprio: Tensor
    def __init__(self, visual: _Optional[_Union[Tensor, _Mapping]] = ..., proprio: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class UnrollRequest(_message.Message):
    __slots__ = ("model", "context", "context_id", "action_candidates", "actions_are_normalized", "steps", "samples", "dtype")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    ACTION_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_ARE_NORMALIZED_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    model: str
    context: PlanningContext
    context_id: str
    action_candidates: Tensor
    actions_are_normalized: bool
    steps: _containers.RepeatedScalarFieldContainer[int]
    samples: _containers.RepeatedScalarFieldContainer[int]
    dtype: DataType
    def __init__(self, model: _Optional[str] = ..., context: _Optional[_Union[PlanningContext, _Mapping]] = ..., context_id: _Optional[str] = ..., action_candidates: _Optional[_Union[Tensor, _Mapping]] = ..., actions_are_normalized: bool = ..., steps: _Optional[_Iterable[int]] = ..., samples: _Optional[_Iterable[int]] = ..., dtype: _Optional[_Union[DataType, str]] = ...) -> None: ...

class UnrollResponse(_message.Message):
    __slots__ = ("step", "latents")
    STEP_FIELD_NUMBER: _ClassVar[int]
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    step: int
    latents: Latents
    def __init__(self, step: _Optional[int] = ..., latents: _Optional[_Union[Latents, _Mapping]] = ...) -> None: ...

class PlanRequest(_message.Message):
    __slots__ = ("model", "context", "context_id", "options", "method", "planner", "initial_mean", "seed", "on_device")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_ID_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PLANNER_FIELD_NUMBER: _ClassVar[int]
    INITIAL_MEAN_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    ON_DEVICE_FIELD_NUMBER: _ClassVar[int]
    model: str
    context: PlanningContext
    context_id: str
    options: ScoreOptions
    method: PlanMethod
    planner: PlannerOptions
    initial_mean: Tensor
    seed: int
    on_device: bool
    def __init__(self, model: _Optional[str] = ..., context: _Optional[_Union[PlanningContext, _Mapping]] = ..., context_id: _Optional[str] = ..., options: _Optional[_Union[ScoreOptions, _Mapping]] = ..., method: _Optional[_Union[PlanMethod, str]] = ..., planner: _Optional[_Union[PlannerOptions, _Mapping]] = ..., initial_mean: _Optional[_Union[Tensor, _Mapping]] = ..., seed: _Optional[int] = ..., on_device: bool = ...) -> None: ...

class PlannerOptions(_message.Message):
    __slots__ = ("horizon", "samples", "iterations", "elites", "initial_std", "min_std", "low", "high", "momentum", "temperature", "prior_fraction", "keep_best")
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    ELITES_FIELD_NUMBER: _ClassVar[int]
    INITIAL_STD_FIELD_NUMBER: _ClassVar[int]
    MIN_STD_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    MOMENTUM_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    PRIOR_FRACTION_FIELD_NUMBER: _ClassVar[int]
    KEEP_BEST_FIELD_NUMBER: _ClassVar[int]
    horizon: int
    samples: int
    iterations: int
    elites: int
    initial_std: _containers.RepeatedScalarFieldContainer[float]
    min_std: _containers.RepeatedScalarFieldContainer[float]
    low: _containers.RepeatedScalarFieldContainer[float]
    high: _containers.RepeatedScalarFieldContainer[float]
    momentum: float
    temperature: float
    prior_fraction: float
    keep_best: bool
    def __init__(self, horizon: _Optional[int] = ..., samples: _Optional[int] = ..., iterations: _Optional[int] = ..., elites: _Optional[int] = ..., initial_std: _Optional[_Iterable[float]] = ..., min_std: _Optional[_Iterable[float]] = ..., low: _Optional[_Iterable[float]] = ..., high: _Optional[_Iterable[float]] = ..., momentum: _Optional[float] = ..., temperature: _Optional[float] = ..., prior_fraction: _Optional[float] = ..., keep_best: bool = ...) -> None: ...

class PlanResponse(_message.Message):
    __slots__ = ("iteration", "iterations", "mean", "best_actions", "best_score", "mean_score", "spread", "timing")
    ITERATION_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    BEST_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    BEST_SCORE_FIELD_NUMBER: _ClassVar[int]
    MEAN_SCORE_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    iteration: int
    iterations: int
    mean: Tensor
    best_actions: Tensor
    best_score: float
    mean_score: float
    spread: float
    timing: Timing
    def __init__(self, iteration: _Optional[int] = ..., iterations: _Optional[int] = ..., mean: _Optional[_Union[Tensor, _Mapping]] = ..., best_actions: _Optional[_Union[Tensor, _Mapping]] = ..., best_score: _Optional[float] = ..., mean_score: _Optional[float] = ..., spread: _Optional[float] = ..., timing: _Optional[_Union[Timing, _Mapping]] = ...) -> None: ...

class Timing(_message.Message):
    __slots__ = ("queue_us", "decode_us", "encode_us", "unroll_us", "distance_us", "total_us")
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    ENCODE_US_FIELD_NUMBER: _ClassVar[int]
    UNROLL_US_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    queue_us: int
    decode_us: int
    encode_us: int
    unroll_us: int
    distance_us: int
    total_us: int
    def __init__(self, queue_us: _Optional[int] = ..., decode_us: _Optional[int] = ..., encode_us: _Optional[int] = ..., unroll_us: _Optional[int] = ..., distance_us: _Optional[int] = ..., total_us: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...

class TensorSpec(_message.Message):
    __slots__ = ("shape", "dtypes", "value_range")
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DTYPES_FIELD_NUMBER: _ClassVar[int]
    VALUE_RANGE_FIELD_NUMBER: _ClassVar[int]
    shape: _containers.RepeatedScalarFieldContainer[int]
    dtypes: _containers.RepeatedScalarFieldContainer[DataType]
    value_range: ValueRange
    def __init__(self, shape: _Optional[_Iterable[int]] = ..., dtypes: _Optional[_Iterable[_Union[DataType, str]]] = ..., value_range: _Optional[_Union[ValueRange, _Mapping]] = ...) -> None: ...

class ValueRange(_message.Message):
    __slots__ = ("low", "high")
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    low: float
    high: float
    def __init__(self, low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Normalization(_message.Message):
    __slots__ = ("action_mean", "action_std", "proprio_mean", "proprio_std")
    ACTION_MEAN_FIELD_NUMBER: _ClassVar[int]
    ACTION_STD_FIELD_NUMBER: _ClassVar[int]
    PROPRIO_MEAN_FIELD_NUMBER: _ClassVar[int]
    PROPRIO_STD_FIELD_NUMBER: _ClassVar[int]
    action_mean: _containers.RepeatedScalarFieldContainer[float]
    action_std: _containers.RepeatedScalarFieldContainer[float]
    proprio_mean: _containers.RepeatedScalarFieldContainer[float]
    proprio_std: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, action_mean: _Optional[_Iterable[float]] = ..., action_std: _Optional[_Iterable[float]] = ..., proprio_mean: _Optional[_Iterable[float]] = ..., proprio_std: _Optional[_Iterable[float]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_samples", "max_horizon", "max_context_frames", "max_message_bytes", "max_candidate_steps")
    MAX_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    MAX_HORIZON_FIELD_NUMBER: _ClassVar[int]
    MAX_CONTEXT_FRAMES_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CANDIDATE_STEPS_FIELD_NUMBER: _ClassVar[int]
    max_samples: int
    max_horizon: int
    max_context_frames: int
    max_message_bytes: int
    max_candidate_steps: int
    def __init__(self, max_samples: _Optional[int] = ..., max_horizon: _Optional[int] = ..., max_context_frames: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_candidate_steps: _Optional[int] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "source", "visual", "proprio", "action_candidates", "action_history", "raw_action_dim", "frameskip", "action_dim", "proprio_dim", "context_window", "default_objective", "default_proprio_weight", "normalization", "limits", "device", "dtype", "parameter_count", "checkpoint_digest", "family", "environment", "encoder", "planner", "memory", "image_size", "compiled", "reads_extra_info", "identity", "normalizes_actions")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    VISUAL_FIELD_NUMBER: _ClassVar[int]
    PROPRIO_FIELD_NUMBER: _ClassVar[int]
    ACTION_CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    ACTION_HISTORY_FIELD_NUMBER: _ClassVar[int]
    RAW_ACTION_DIM_FIELD_NUMBER: _ClassVar[int]
    FRAMESKIP_FIELD_NUMBER: _ClassVar[int]
    ACTION_DIM_FIELD_NUMBER: _ClassVar[int]
    PROPRIO_DIM_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_WINDOW_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_PROPRIO_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    NORMALIZATION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FAMILY_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    ENCODER_FIELD_NUMBER: _ClassVar[int]
    PLANNER_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    COMPILED_FIELD_NUMBER: _ClassVar[int]
    READS_EXTRA_INFO_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    NORMALIZES_ACTIONS_FIELD_NUMBER: _ClassVar[int]
    name: str
    source: str
    visual: TensorSpec
    proprio: TensorSpec
    action_candidates: TensorSpec
    action_history: TensorSpec
    raw_action_dim: int
    frameskip: int
    action_dim: int
    proprio_dim: int
    context_window: int
    default_objective: Objective
    default_proprio_weight: float
    normalization: Normalization
    limits: Limits
    device: str
    dtype: str
    parameter_count: int
    checkpoint_digest: str
    family: str
    environment: str
    encoder: str
    planner: PlannerDefaults
    memory: MemoryUse
    image_size: int
    compiled: bool
    reads_extra_info: bool
    identity: Identity
    normalizes_actions: bool
    def __init__(self, name: _Optional[str] = ..., source: _Optional[str] = ..., visual: _Optional[_Union[TensorSpec, _Mapping]] = ..., proprio: _Optional[_Union[TensorSpec, _Mapping]] = ..., action_candidates: _Optional[_Union[TensorSpec, _Mapping]] = ..., action_history: _Optional[_Union[TensorSpec, _Mapping]] = ..., raw_action_dim: _Optional[int] = ..., frameskip: _Optional[int] = ..., action_dim: _Optional[int] = ..., proprio_dim: _Optional[int] = ..., context_window: _Optional[int] = ..., default_objective: _Optional[_Union[Objective, str]] = ..., default_proprio_weight: _Optional[float] = ..., normalization: _Optional[_Union[Normalization, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., device: _Optional[str] = ..., dtype: _Optional[str] = ..., parameter_count: _Optional[int] = ..., checkpoint_digest: _Optional[str] = ..., family: _Optional[str] = ..., environment: _Optional[str] = ..., encoder: _Optional[str] = ..., planner: _Optional[_Union[PlannerDefaults, _Mapping]] = ..., memory: _Optional[_Union[MemoryUse, _Mapping]] = ..., image_size: _Optional[int] = ..., compiled: bool = ..., reads_extra_info: bool = ..., identity: _Optional[_Union[Identity, _Mapping]] = ..., normalizes_actions: bool = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("repository", "revision", "pretrained", "weights_digest", "model_class", "model_module", "torch")
    REPOSITORY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    PRETRAINED_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_CLASS_FIELD_NUMBER: _ClassVar[int]
    MODEL_MODULE_FIELD_NUMBER: _ClassVar[int]
    TORCH_FIELD_NUMBER: _ClassVar[int]
    repository: str
    revision: str
    pretrained: bool
    weights_digest: str
    model_class: str
    model_module: str
    torch: str
    def __init__(self, repository: _Optional[str] = ..., revision: _Optional[str] = ..., pretrained: bool = ..., weights_digest: _Optional[str] = ..., model_class: _Optional[str] = ..., model_module: _Optional[str] = ..., torch: _Optional[str] = ...) -> None: ...

class PlannerDefaults(_message.Message):
    __slots__ = ("samples", "elites", "iterations", "horizon", "executed_steps", "std", "clip_low", "clip_high")
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    ELITES_FIELD_NUMBER: _ClassVar[int]
    ITERATIONS_FIELD_NUMBER: _ClassVar[int]
    HORIZON_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_STEPS_FIELD_NUMBER: _ClassVar[int]
    STD_FIELD_NUMBER: _ClassVar[int]
    CLIP_LOW_FIELD_NUMBER: _ClassVar[int]
    CLIP_HIGH_FIELD_NUMBER: _ClassVar[int]
    samples: int
    elites: int
    iterations: int
    horizon: int
    executed_steps: int
    std: float
    clip_low: _containers.RepeatedScalarFieldContainer[float]
    clip_high: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, samples: _Optional[int] = ..., elites: _Optional[int] = ..., iterations: _Optional[int] = ..., horizon: _Optional[int] = ..., executed_steps: _Optional[int] = ..., std: _Optional[float] = ..., clip_low: _Optional[_Iterable[float]] = ..., clip_high: _Optional[_Iterable[float]] = ...) -> None: ...

class MemoryUse(_message.Message):
    __slots__ = ("weights_bytes", "bytes_per_sample")
    WEIGHTS_BYTES_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    weights_bytes: int
    bytes_per_sample: int
    def __init__(self, weights_bytes: _Optional[int] = ..., bytes_per_sample: _Optional[int] = ...) -> None: ...
