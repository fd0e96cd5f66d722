"""études: landmark experiments of deep learning, as studies that test the claims of their papers.

import etudes
study = etudes.study("mixup")
report = etudes.run(study, scale="smoke")
report = etudes.report(study, "laptop")
replication = etudes.replicate(study, "laptop")
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["replicate", "report", "run", "study"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: `etudes list` must not wait for torch.
    if name in __all__:
        from etudes import api

        return getattr(api, name)
    raise AttributeError(f"module 'etudes' has no attribute '{name}'")
