"""Networks for images, on timm."""

from superpose.vision import kernel_vit as kernel_vit
