"""What the service's requests and answers look like, for OpenAPI. Never imports torch."""

from typing import Any

from pydantic import BaseModel, Field

DIGEST = "Digest of classifier, defence and gate; of an exported model, of its graphs, too."


class ClassName(BaseModel):
    """A class of the classifier."""

    label: int = Field(description="Its number.", examples=[281])
    name: str | None = Field(description="Null where the classifier does not name it.", examples=["tabby"])


class Guess(ClassName):
    """A class, and how probable it is."""

    probability: float = Field(description="Averaged over the draws.", examples=[0.71])


class Prediction(BaseModel):
    """What is said of one picture."""

    file: str = Field(description="As the request calls it.", examples=["cat.jpg"])
    label: int = Field(description="The class that is likeliest.", examples=[281])
    name: str | None = Field(description="Null where the classifier does not name it.", examples=["tabby"])
    probability: float = Field(description="Averaged over the draws.", examples=[0.71])
    agreement: float = Field(description="The share of draws that alone say the same.", examples=[0.875])
    top: list[Guess] = Field(description="The likeliest classes.")
    flagged: bool | None = Field(
        None,
        description="With a gate: whether the defence overruled the classifier. With a detector: an alarm.",
    )
    suspicion: float | None = Field(None, description="With a gate: how far the two answers differ.")
    bare: ClassName | None = Field(None, description="With a gate: what the classifier alone says.")


class Predictions(BaseModel):
    """The answer to a request."""

    model: str = Field(description=DIGEST, examples=["a6f1-22c0-91be-07d3-5b1e"])
    draws: int = Field(description="That are averaged.", examples=[8])
    predictions: list[Prediction] = Field(description="One for each picture, in the order of the request.")


class About(BaseModel):
    """What is served."""

    classifier: str = Field(examples=["efficientnet_lite0"])
    defense: str = Field(examples=["rain"])
    gate: float | None = Field(description="Share of clean pictures that may be overruled.", examples=[0.02])
    digest: str = Field(description=DIGEST, examples=["a6f1-22c0-91be-07d3-5b1e"])
    draws: int = Field(examples=[8])
    size: int | None = Field(
        description="Side of the pictures, in pixels; null for their own.", examples=[224]
    )
    classes: int | None = Field(examples=[1000])
    device: str = Field(examples=["cpu"])
    version: str = Field(examples=["0.2.0"])


class Fault(BaseModel):
    """What was wrong."""

    detail: str


SEED = {
    "type": "integer",
    "minimum": 0,
    "maximum": 2**63 - 1,
    "description": "Of the draws; only where the service takes seeds.",
}
TOP = {
    "type": "integer",
    "minimum": 1,
    "maximum": 1000,
    "default": 5,
    "description": "Classes that are told.",
}
FILES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
TEXTS = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "byte"}}

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAEElEQVR4nGNoaGhgYGCAUAAaBAMBv6iYhgAAAABJRU5ErkJggg=="
"""A picture of four pixels, as an example."""

REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {"files": FILES, "top": TOP, "seed": SEED},
                },
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["images"],
                    "properties": {"images": TEXTS, "top": TOP, "seed": SEED},
                },
                "example": {"images": [PIXEL], "top": 3},
            },
        },
    }
}

FAULTS: dict[int | str, dict[str, Any]] = {
    401: {"model": Fault, "description": "The secret is missing, or another one."},
    403: {"model": Fault, "description": "A seed was given, and none is taken."},
    408: {"model": Fault, "description": "The request arrived too slowly."},
    413: {"model": Fault, "description": "The request is too large, or holds too many files."},
    415: {"model": Fault, "description": "The body is neither a form nor JSON."},
    422: {"model": Fault, "description": "A picture cannot be read or taken, or a value is out of range."},
    500: {"model": Fault, "description": "The model failed; the server's log says why."},
    503: {"model": Fault, "description": "Too many pictures wait: come again."},
}
