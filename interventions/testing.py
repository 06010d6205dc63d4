"""The contract every edit keeps, for this project's edits and for your own: `check_edit(edit, model,
texts)`.
"""

from collections.abc import Sequence

import torch

from interventions.writes.edited import applied, edited
from interventions.writes.lowrank import Edit
from probes.models.model import Model
from probes.models.writes import everywhere
from probes.reading.capture import capture


def check_edit(edit: Edit, model: Model, texts: Sequence[str]) -> None:
    """Every law an edit keeps on a model; failures raise AssertionError saying which law broke."""
    plain = capture(model, texts, "resid_post", "all", progress=False)
    base_logits = model.logits(texts)
    keys = list(model.hf.state_dict())
    changed = edited(model, edit)
    changes = edit.compile(model)
    assert changes, "an edit must act somewhere"
    first = changes[0].site

    after = capture(changed, texts, "resid_post", "all", progress=False)
    for site in plain.sites:
        if site.order < first.order:
            assert torch.equal(after[site].x, plain[site].x), f"{site} lies before the edit but changed"
    single = [c for c in changes if c.site == first and not c.needs_prompts]
    if first in plain.sites and len(single) == 1:
        h = plain[first].x[0]
        kept = h.clone()
        act = everywhere(single[0])
        expected = act(h[None])[0]
        assert torch.equal(h, kept), "the edit changed its input in place"
        assert torch.allclose(after[first].x[0], expected, atol=1e-5), (
            "reading at the edited site must give h'"
        )
        half = act(h.to(torch.bfloat16)[None])[0]
        assert half.dtype == torch.bfloat16, "the edit changed the precision of h"

    assert torch.equal(model.logits(texts), base_logits), "the base model changed while an edited one exists"
    if any(c.needs_prompts for c in changes):
        try:
            with applied(model.hf, edit):
                raise AssertionError("applied took an edit that needs to know the prompts")
        except ValueError:
            pass
    else:
        with applied(model.hf, edit):
            under = model.logits(texts)
        assert torch.allclose(under, changed.logits(texts), atol=1e-6), "applied and edited disagree"
    assert torch.equal(model.logits(texts), base_logits), "leaving the edit did not restore bit-equal logits"
    assert list(model.hf.state_dict()) == keys, "the model object was changed"
    cached, whole = (changed.generate(texts, 6, use_cache=flag) for flag in (True, False))
    assert cached == whole, "generation with and without the key-value cache differs"
    assert changed.generate(list(texts)[:1], 6) == cached[:1], (
        "batched generation differs from one prompt alone"
    )
    assert repr(edit), "an edit must print"
