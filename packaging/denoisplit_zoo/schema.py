"""Entries that the description of a package may have: those that `denoisplit export` writes.

Programs that read a description import, run, install or download what other entries name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from denoisplit.config.groups import Frozen, NetworkSettings
from denoisplit.config.seeds import SEEDS
from denoisplit_zoo.exporting.about import Maintainer, Person

PLAIN_NAME = r"[A-Za-z0-9][A-Za-z0-9 _+().-]{0,120}"  # of a file in the package

LARGEST_SIDE = 8192  # px, of test images
MOST_SAMPLES = 256
MOST_STRUCTURES = 1024  # of a graph, and groups, coverages and filters of its error map

Text = Annotated[str, Field(max_length=10_000)]
Word = Annotated[str, Field(max_length=200)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Release = Annotated[str, Field(pattern=r"^[0-9][0-9A-Za-z.+-]{0,40}$")]
Count = Annotated[int, Field(gt=0, le=MOST_STRUCTURES)]
# operations of bioimageio.core that are neither code nor files of the package
OPERATIONS = (
    "binarize|clip|ensure_dtype|fixed_zero_mean_unit_variance|scale_linear|scale_mean_variance"
    "|scale_range|sigmoid|softmax|zero_mean_unit_variance"
)
Operation = Annotated[str, Field(pattern=f"^({OPERATIONS})$")]
# names of files in the package: no folders, no addresses
Name = Annotated[str, Field(pattern=rf"^{PLAIN_NAME}$")]
Npy = Annotated[str, Field(pattern=rf"^{PLAIN_NAME}\.npy$")]
Tif = Annotated[str, Field(pattern=rf"^{PLAIN_NAME}\.tif$")]
Png = Annotated[str, Field(pattern=rf"^{PLAIN_NAME}\.png$")]
Markdown = Annotated[str, Field(pattern=rf"^{PLAIN_NAME}\.md$")]
Python = Annotated[str, Field(pattern=rf"^{PLAIN_NAME}\.py$")]
Torch = Annotated[str, Field(pattern=rf"^{PLAIN_NAME}\.pt$")]
OnnxFile = Annotated[str, Field(pattern=rf"^{PLAIN_NAME}\.onnx$")]


class _File(Frozen):
    source: Name
    sha256: Hash | None = None


class _Array(_File):
    source: Npy


class _Image(_File):
    source: Tif


class _Cover(_File):
    source: Png


class _Card(_File):
    source: Markdown


def _as_entry(value: Any) -> Any:
    """Return the entry that stands for a plain file name."""
    return {"source": value} if isinstance(value, str) else value


def _as_entries(values: Any) -> Any:
    return [_as_entry(value) for value in values] if isinstance(values, list) else values


def _size(value: Any) -> Any:
    """Check the size of an axis: a number, a range of numbers, or that of another axis."""
    if value is None or (isinstance(value, int) and 0 < value <= LARGEST_SIDE):
        return value
    if isinstance(value, dict) and set(value) in ({"min", "step"}, {"tensor_id", "axis_id"}):
        kind = int if "min" in value else str
        if all(isinstance(v, kind) for v in value.values()):
            return value
    shown = str(value)[:60]
    raise ValueError(
        f"the size of an axis must be a number of at most {LARGEST_SIDE} px, `min` and `step`, or "
        f"`tensor_id` and `axis_id`, not {shown}"
    )


class _Citation(Frozen):
    text: Text
    doi: Word


class _Axis(Frozen):
    type: Literal["batch", "channel", "space", "time", "index"]
    id: Word = ""
    description: Text = ""
    size: Annotated[Any, AfterValidator(_size)] = None
    halo: Annotated[int, Field(ge=0, le=LARGEST_SIDE)] = 0
    channel_names: tuple[Word, ...] = ()
    unit: Word | None = None
    scale: float = 1.0
    concatenable: bool = False


class _Data(Frozen):
    type: Word


class _Processing(Frozen):
    id: Operation
    kwargs: dict[str, Any] = Field(default_factory=dict)


class _Tensor(Frozen):
    id: Word
    description: Text = ""
    axes: tuple[_Axis, ...]
    data: _Data = _Data(type="float32")
    test_tensor: _Array | None = None
    sample_tensor: _Image | None = None
    preprocessing: tuple[_Processing, ...] = ()
    postprocessing: tuple[_Processing, ...] = ()


class _Uploader(Frozen):
    email: Word
    name: Word | None = None


class _Architecture(Frozen):
    source: Python = ""  # an entry without it has another one, which the error names
    sha256: Hash | None = None
    callable: Annotated[str, Field(pattern=r"^[A-Za-z]\w{0,60}$")]
    kwargs: dict[str, Any] = Field(default_factory=dict)


class _Weights(_File):
    source: Torch
    parent: Literal["pytorch_state_dict"] | None = None
    pytorch_version: Release


class _StateDict(_Weights):
    architecture: _Architecture


class _Onnx(_File):
    source: OnnxFile
    parent: Literal["pytorch_state_dict"] | None = None
    opset_version: Annotated[int, Field(ge=7, le=100)]


class _Formats(Frozen):
    pytorch_state_dict: _StateDict | None = None
    torchscript: _Weights | None = None
    onnx: _Onnx | None = None


class _Tolerance(Frozen):
    relative_tolerance: float = 1e-3
    absolute_tolerance: float = 1e-3
    mismatched_elements_per_million: float = 100


class _Bioimageio(Frozen):
    nickname: Word | None = None
    reproducibility_tolerance: tuple[_Tolerance, ...] = ()


class _Config(Frozen):
    bioimageio: _Bioimageio = _Bioimageio()
    denoisplit: dict[str, Any]  # plain values that only this project reads


class Description(Frozen):
    """The description of a package; absent entries are reported by the rules of its consumers."""

    format_version: Annotated[str, Field(pattern=r"^0\.5\.[0-9]{1,2}$")]
    type: Literal["model"]
    name: Word = ""
    description: Text = ""
    authors: tuple[Person, ...] = ()
    maintainers: tuple[Maintainer, ...] = ()
    packaged_by: tuple[Person, ...] = ()
    license: Word = ""
    version: Word | int | float = ""
    timestamp: Word = ""
    git_repo: Word = ""
    documentation: Annotated[_Card | None, BeforeValidator(_as_entry)] = None
    covers: Annotated[tuple[_Cover, ...], BeforeValidator(_as_entries)] = ()
    tags: tuple[Word, ...] = ()
    cite: tuple[_Citation, ...] = ()
    inputs: tuple[_Tensor, ...] = ()
    outputs: tuple[_Tensor, ...] = ()
    weights: _Formats = _Formats()
    attachments: tuple[_File, ...] = ()
    config: _Config
    # added by the zoo
    id: Word = ""
    id_emoji: Word = ""
    uploader: _Uploader | None = None
    version_comment: Text | None = None


class GraphArguments(NetworkSettings):
    """Arguments of the graphs of packages, within the bounds of the settings."""

    structures: Count
    log_variance: bool
    samples: Annotated[int, Field(gt=0, le=MOST_SAMPLES)] = 1
    seed: Annotated[int, Field(ge=0, lt=SEEDS)] = 0
    antithetic: bool = False
    quantum: Annotated[float, Field(gt=0)] = 1.0
    error_groups: Count | Literal[0] = 0
    error_coverages: Annotated[int, Field(ge=0, le=MOST_STRUCTURES)] = 0
    error_filters: Count | Literal[0] = 0
    mean_filters: Annotated[int, Field(ge=0, le=MOST_STRUCTURES)] = 0
    number: Annotated[int, Field(ge=0, lt=MOST_STRUCTURES)] = 0
