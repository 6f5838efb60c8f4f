"""The formats of a user's own data by name. Another one is a module here with an `OwnFormat`, and its line below."""

from __future__ import annotations

from converters.own_data.description import Format
from converters.own_data.formats.box_files import DOTA_FORMAT, VOC_FORMAT, YOLO_FORMAT
from converters.own_data.formats.class_folders import FOLDERS_FORMAT
from converters.own_data.formats.coco import COCO_CAPTIONS_FORMAT, COCO_FORMAT
from converters.own_data.formats.csv_table import CSV_FORMAT
from converters.own_data.formats.cvat import CVAT_FORMAT
from converters.own_data.formats.geojson import GEOJSON_FORMAT
from converters.own_data.formats.labelme import LABELME_FORMAT
from converters.own_data.formats.llava import LLAVA_FORMAT
from converters.own_data.formats.masks import MASKS_FORMAT
from converters.own_data.formats.parquet import PARQUET_FORMAT
from converters.own_data.formats.supervisely import SUPERVISELY_FORMAT
from converters.own_data.items import OwnFormat

OWN_FORMATS: dict[Format, OwnFormat] = {
    "coco": COCO_FORMAT,
    "coco-captions": COCO_CAPTIONS_FORMAT,
    "voc": VOC_FORMAT,
    "dota": DOTA_FORMAT,
    "yolo": YOLO_FORMAT,
    "yolo-obb": YOLO_FORMAT,
    "folders": FOLDERS_FORMAT,
    "llava": LLAVA_FORMAT,
    "csv": CSV_FORMAT,
    "parquet": PARQUET_FORMAT,
    "labelme": LABELME_FORMAT,
    "cvat": CVAT_FORMAT,
    "supervisely": SUPERVISELY_FORMAT,
    "masks": MASKS_FORMAT,
    "geojson": GEOJSON_FORMAT,
}
# Their files may turn boxes, or draw outlines; `find` says whether those of a split do.
TURNABLE_FORMATS: frozenset[Format] = frozenset({"coco", "voc", "labelme", "cvat"})
