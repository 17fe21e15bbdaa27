"""Networks for images, on timm."""
