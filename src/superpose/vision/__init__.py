"""Vision models on timm. Importing this package registers them, so that `timm.create_model` finds them by name."""

from superpose.vision import kernel_vit as kernel_vit
from superpose.vision.conversion import kat_from_vit as kat_from_vit
from superpose.vision.kat import KAT as KAT
