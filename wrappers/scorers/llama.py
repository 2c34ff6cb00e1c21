"""A small Llama in torch from a GGUF file: dequantised here, so that it loads in seconds and can be trained."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .weights import checked

_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@functools.cache
def load(path: str, digest: str) -> Llama:
    """The model of a GGUF file with this sha256, once a process; some seconds, bf16.

    Raises:
        ValueError: another file, or another architecture than Llama.
    """
    checked(Path(path), digest)
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    reader = GGUFReader(path)

    def said(name: str) -> Any:
        return reader.fields[name].contents()

    if said("general.architecture") != "llama":
        raise ValueError(f"{path} holds a {said('general.architecture')}; allowed: a llama")
    tensors = {t.name: t for t in reader.tensors}
    heads = {"attn_q": said("llama.attention.head_count"), "attn_k": said("llama.attention.head_count_kv")}
    config = LlamaConfig(
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=said("llama.embedding_length"),
        intermediate_size=said("llama.feed_forward_length"),
        num_hidden_layers=said("llama.block_count"),
        num_attention_heads=heads["attn_q"],
        num_key_value_heads=heads["attn_k"],
        rms_norm_eps=said("llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={"rope_type": "default", "rope_theta": said("llama.rope.freq_base")},
        max_position_embeddings=said("llama.context_length"),
        tie_word_embeddings="output.weight" not in tensors,
    )
    weights: dict[str, torch.Tensor] = {}
    for name, t in tensors.items():
        w = torch.from_numpy(np.array(dequantize(t.data, t.tensor_type)))
        part = name.split(".")
        if part[0] == "blk":
            if n := heads.get(part[2]):  # llama.cpp interleaves the two halves of a rotary pair
                w = w.reshape(n, w.shape[0] // n // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
            weights[f"model.layers.{part[1]}.{_PARTS[part[2]]}.weight"] = w.to(torch.bfloat16)
        else:
            weights[f"{_WHOLE[part[0]]}.weight"] = w.to(torch.bfloat16)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    model.load_state_dict(weights, strict=False, assign=True)
    model.tie_weights()
    # what is no weight was made on "meta" as well
    model.model.rotary_emb = type(model.model.rotary_emb)(config)
    if left := [n for n, p in (*model.named_parameters(), *model.named_buffers()) if p.is_meta]:
        raise ValueError(f"{path} lacks {left[0]}")
    tokenizer = AutoTokenizer.from_pretrained(str(Path(path).parent), gguf_file=Path(path).name)
    model.train(False)
    return Llama(model, tokenizer)


class Llama:
    """Log-probabilities of the next token after many texts that begin alike, and greedy lines.

    Args:
        model: ``LlamaForCausalLM``.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._lock = threading.Lock()
        # transformers 5.2x renamed it
        self._word = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        self._prefixes: dict[str, tuple[list[int], Any]] = {}

    def tokens(self, text: str) -> list[int]:
        """Their numbers, without special ones."""
        with self._lock:  # a tokenizer is not for two threads at once
            return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def cut(self, text: str, most: int) -> tuple[str, int]:
        """The first ``most`` tokens of a text, as text, and how many there are then."""
        ids = self.tokens(text)
        return (text, len(ids)) if len(ids) <= most else (str(self.tokenizer.decode(ids[:most])), most)

    def _kept(self, prefix: str) -> tuple[list[int], Any]:
        """Tokens, keys and values of a text that many begin with; computed once."""
        if prefix not in self._prefixes:
            ids = self.tokens(prefix)
            cache = self.model(input_ids=torch.tensor([ids]), use_cache=True, logits_to_keep=1).past_key_values
            if len(self._prefixes) >= 8:
                self._prefixes.pop(next(iter(self._prefixes)))
            self._prefixes[prefix] = ids, [(layer.keys, layer.values) for layer in cache.layers]
        return self._prefixes[prefix]

    def _cache(self, kept: Any, n: int) -> Any:
        from transformers import DynamicCache

        cache = DynamicCache()
        for i, (k, v) in enumerate(kept):  # views: what is appended is copied, what is there is not
            cache.update(k.expand(n, -1, -1, -1), v.expand(n, -1, -1, -1), i)
        return cache

    @torch.inference_mode()
    def next(self, prefix: str, suffixes: Sequence[str], words: Sequence[str], batch: int = 16) -> np.ndarray[Any, Any]:
        """``(n, len(words))`` float64 logits of the one-token continuations ``words`` after ``prefix + suffix``.

        Differences between them are differences of log-probabilities.
        """
        heads = torch.tensor([self.tokens(w)[-1] for w in words])
        _, kept = self._kept(prefix)
        rows = [self.tokens(s) for s in suffixes]
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        out = np.zeros((len(rows), len(words)))
        for k in range(0, len(order), batch):
            part = order[k : k + batch]
            longest = max(len(rows[i]) for i in part)
            # padded on the right, where no real token looks
            ids = torch.tensor([rows[i] + [0] * (longest - len(rows[i])) for i in part])
            hidden = self.model.model(input_ids=ids, **{self._word: self._cache(kept, len(part))}).last_hidden_state
            last = hidden[torch.arange(len(part)), torch.tensor([len(rows[i]) - 1 for i in part])]
            # of 49,152 words only a few are asked for
            out[part] = (last.float() @ self.model.lm_head.weight[heads].float().T).double().numpy()
        return out

    @torch.inference_mode()
    def lines(self, prefix: str, suffix: str, bullet: str, most: int) -> str:
        """Greedy lines that begin with ``bullet``, which ends the prompt; ``most`` tokens, up to a line without."""
        _, kept = self._kept(prefix)
        cache = self._cache(kept, 1)
        now, text = self.tokens(suffix + bullet), bullet
        for _ in range(most):
            logits = self.model(input_ids=torch.tensor([now]), logits_to_keep=1, **{self._word: cache}).logits
            now = [int(logits[0, -1].argmax())]
            if now[0] == self.tokenizer.eos_token_id:
                break
            text += str(self.tokenizer.decode(now))
            if not all(line.startswith(bullet) for line in text.split("\n") if line):
                text = text.rpartition("\n")[0]
                break
            if "\n\n" in text:
                break
        return text
