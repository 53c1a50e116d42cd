"""Settings of the preprocess stage."""

from __future__ import annotations

from msgspec import Struct

from pipeline.messages import SourceId
from pipeline.preprocess.ego_motion import EgoMotionConfig


class PreprocessConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Measurements on a frame before it reaches the network.

    Attributes:
        ego_motion: estimation of the camera motion.
        black_hot: whether hot objects are dark in the first frame of a source: in all sources or none, or the names of
            the sources. Later frames follow the camera when its polarity is switched.
        replace_graphics: whether the networks see burnt-in graphics, such as a reticle, replaced by their surroundings.
    """

    ego_motion: EgoMotionConfig = EgoMotionConfig()
    black_hot: bool | list[SourceId] = False
    replace_graphics: bool = True

    def is_black_hot(self, source: str) -> bool:
        """Return whether hot objects are dark in the first frame of a source."""
        return self.black_hot if isinstance(self.black_hot, bool) else source in self.black_hot
