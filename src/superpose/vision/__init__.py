"""Vision models on timm. Importing this package registers them, so that `timm.create_model` finds them by name."""

from superpose.vision import kernel_vit as kernel_vit
from superpose.vision.backbone import create_backbone as create_backbone
from superpose.vision.conversion import kat_from_vit as kat_from_vit
from superpose.vision.detection import mask_rcnn as mask_rcnn
from superpose.vision.detection import retinanet as retinanet
from superpose.vision.kat import KAT as KAT
from superpose.vision.pyramid import MultiLevelNeck as MultiLevelNeck
from superpose.vision.pyramid import SimpleFeaturePyramid as SimpleFeaturePyramid
from superpose.vision.segmentation import UPerNet as UPerNet
from superpose.vision.sliding import slide as slide
from superpose.vision.windows import WindowedViT as WindowedViT
