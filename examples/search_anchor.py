"""Search λ for an anchor from Python: the command line's `run`, with the result as an object.

    python examples/search_anchor.py

runs on the bundled miniature world; with a `lamsearch.toml` of your own in the working directory it
runs on your models.
"""

from __future__ import annotations

import lamsearch


def main(
    anchor: str = "beta500", reward: str = "pickscore", **options: object
) -> lamsearch.Summary:
    result = lamsearch.run(anchor, reward, **{"budget": 12, **options})
    low, high = result.lam_interval
    print(f"λ* = {result.lam:.3f} (95 % interval {low:.3f} to {high:.3f})")
    print(f"β/λ* = {result.effective_beta:.4g}")
    print(f"mean {reward} = {result.value:.4f} ± {result.value_stderr:.4f}")
    for evaluation in result.evaluations:
        print(f"  λ {evaluation.lam:.3f}  {evaluation.value:.4f}  stderr {evaluation.stderr}")
    return result


if __name__ == "__main__":
    main()
