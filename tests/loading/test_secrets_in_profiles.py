"""What a cluster profile may not hold, since it stands in plan.json and in job scripts: keys and passwords."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.errors import UserError
from launcher.loading.resolve import load_cluster


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("env: {GITHUB_PAT: hidden-word}", "env.GITHUB_PAT"),
        ("env: {https_proxy: 'http://me:hidden-word@proxy:3128'}", "env.https_proxy"),
        ("setup: [module purge, export WANDB_API_KEY=hidden-word]", "setup"),
        ("setup: ['curl https://me:hidden-word@site/env.sh']", "setup"),
    ],
)
def test_a_secret_is_refused_and_not_printed(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "site.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_cluster("site.yaml", cwd=tmp_path)
    assert str(caught.value).startswith(
        f"site.yaml:1: {place}: looks like a secret, which a profile must not hold"
    )
    assert "hidden-word" not in str(caught.value)


def test_what_only_sounds_like_a_secret_is_none(tmp_path: Path) -> None:
    """A switch of the tokenizers, the partition key of InfiniBand, and where a key can be found."""
    (tmp_path / "site.yaml").write_text(
        "env: {TOKENIZERS_PARALLELISM: 'false', NCCL_IB_PKEY: '1'}\n"
        "setup: ['export HF_TOKEN_PATH=/home/me/token', 'export WANDB_API_KEY=$(cat ~/.key)']\n"
    )
    assert load_cluster("site.yaml", cwd=tmp_path).env["NCCL_IB_PKEY"] == "1"
